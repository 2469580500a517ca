"""Behaviour trees as a teacher writes them (docs/method.md): their vocabulary and their shape.

Next to the words of the published schema each branch carries what a machine can check: the state of the row that the
request is about, the right path and the tempting wrong one as tool names, and the rules that it touches.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

BranchId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Sentence = Annotated[str, Field(min_length=1, max_length=400)]
MAX_BRANCHES = 64


class Kind(StrEnum):
    """Branch vocabulary (docs/method.md)."""

    NORMAL = "normal"
    MISSING_DATA = "missing-data"
    PRECONDITION = "precondition"
    VALIDATION = "validation"
    VARIATION = "variation"
    PROHIBITED = "prohibited"
    OUT_OF_WINDOW = "out-of-window"
    UNAUTHORISED = "unauthorised"
    CONFLICTING = "conflicting"
    TRAP = "trap"
    MIXED = "mixed"
    ESCALATION = "escalation"


class Action(StrEnum):
    """What the agent should end up doing."""

    PROCEED = "proceed"
    CLARIFY = "clarify"
    REFUSE = "refuse"
    TRANSFER = "transfer"


class Branch(BaseModel):
    """A branch. `state` holds columns of the row in question; `path` and `trap` are tool names called on its key.

    `trap` is empty when what the user wishes is allowed; `withheld` says that the user names the key only when asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: BranchId
    kind: Kind
    condition: Sentence
    validation_step: Sentence | None = None
    action: Action
    state: Annotated[dict[str, str], Field(max_length=16)]
    path: Annotated[list[str], Field(min_length=1, max_length=8)]
    trap: Annotated[list[str], Field(max_length=8)] = []
    withheld: bool = False
    rules: Annotated[list[str], Field(min_length=1, max_length=8)]
    next: Annotated[list[Branch], Field(max_length=MAX_BRANCHES)] = []

    @property
    def legal(self) -> bool:
        """What the user wishes is allowed."""
        return not self.trap


class Tree(BaseModel):
    """A behaviour tree."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    root_condition: Sentence
    workflow_steps: Annotated[list[Sentence], Field(min_length=1, max_length=12)]
    allowed_actions: Annotated[list[Sentence], Field(max_length=16)]
    disallowed_actions: Annotated[list[Sentence], Field(max_length=16)]
    refusal_conditions: Annotated[list[Sentence], Field(max_length=16)]
    transfer_conditions: Annotated[list[Sentence], Field(max_length=16)]
    branches: Annotated[list[Branch], Field(min_length=1, max_length=MAX_BRANCHES)]
