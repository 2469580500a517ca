"""Records of the agentic flywheel: behaviour trees, the seeds they grow from, and the tasks made of their branches."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flywheel_api.base import StatusModel
from flywheel_api.records.base import PassRate, Record, content_digest
from flywheel_api.records.reasoning import Persona

BranchId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Sentence = Annotated[str, Field(min_length=1, max_length=400)]
MAX_BRANCHES = 64


class Call(StatusModel):
    """A tool call."""

    name: str = Field(description="Name of the tool.")
    arguments: dict[str, Any] = Field(description="Its arguments, by the tool's own schema.")


class LoggedCall(Call):
    """A call as the environment carried it out."""

    turn: int = Field(description="Turn in which it was made, from 0.")
    status: str = Field(description="ok, not-found, refused, bad-arguments, unknown-tool or closed.")
    output: str = Field(description="What the agent was answered.")
    writes: bool = Field(description="Whether the tool changes tables.")
    before: str = Field(description="Hash of the tables before it.")
    after: str = Field(description="Hash of the tables after it.")


class BranchKind(StrEnum):
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
    id: BranchId = Field(description="Id, unique among its siblings.")
    kind: BranchKind = Field(description="What makes it differ from the ordinary case.")
    condition: Sentence = Field(description="When it applies.")
    validation_step: Sentence | None = Field(default=None, description="How the agent finds out that it applies.")
    action: Action = Field(description="What the agent should end up doing.")
    state: Annotated[dict[str, str], Field(max_length=16)] = Field(description="Columns of the row in question.")
    path: Annotated[list[str], Field(min_length=1, max_length=8)] = Field(description="Tools of the right behaviour.")
    trap: Annotated[list[str], Field(max_length=8)] = Field(default=[], description="Tools of the wrong behaviour.")
    withheld: bool = Field(default=False, description="Whether the user names the key only when asked.")
    rules: Annotated[list[str], Field(min_length=1, max_length=8)] = Field(description="Ids of the rules it touches.")
    next: Annotated[list[Branch], Field(max_length=MAX_BRANCHES)] = Field(default=[], description="Branches below it.")

    @property
    def legal(self) -> bool:
        """What the user wishes is allowed."""
        return not self.trap


class Tree(BaseModel):
    """A behaviour tree."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    root_condition: Sentence = Field(description="The request that every branch starts from.")
    workflow_steps: Annotated[list[Sentence], Field(min_length=1, max_length=12)] = Field(
        description="Steps of the ordinary case."
    )
    allowed_actions: Annotated[list[Sentence], Field(max_length=16)] = Field(description="What the agent may do.")
    disallowed_actions: Annotated[list[Sentence], Field(max_length=16)] = Field(description="What it must not do.")
    refusal_conditions: Annotated[list[Sentence], Field(max_length=16)] = Field(description="When it must refuse.")
    transfer_conditions: Annotated[list[Sentence], Field(max_length=16)] = Field(
        description="When it must hand over to a human."
    )
    branches: Annotated[list[Branch], Field(min_length=1, max_length=MAX_BRANCHES)] = Field(
        description="Branches at the root."
    )


class User(StatusModel):
    """The simulated user of a task."""

    task: str = Field(default="", description="What the user wants.")
    background: str = Field(default="", description="Who the user is.")
    hack_background: str = Field(default="", description="Wording that makes the trap look right.")
    escape_strategy: str = Field(default="", description="What the user does when the agent refuses.")
    test_policy: str = Field(default="", description="Which rule the user tests.")
    replies: int = Field(default=0, description="How many times the user answers at most.")
    push: bool = Field(default=False, description="Whether the user words the request so that the trap looks right.")


class Task(Record):
    """A task (docs/method.md, "Inversion"): state, user and policy for which one branch is the right one.

    Required is what an episode and its reward need, so that tasks which others wrote can be trained on.
    """

    schema_: Literal["agentic-task/v1"] = Field(
        default="agentic-task/v1", alias="schema", description="Kind and version of the record."
    )
    domain: str = Field(description="Domain whose tools and rules apply.")
    db: dict[str, Any] = Field(description="Database before the episode.")
    expected: dict[str, Any] = Field(description="Database after the right behaviour.")
    messages: list[dict[str, Any]] = Field(description="Prompt: system message and the user's first one.")
    normal_path: list[Call] = Field(default_factory=list, description="Calls of the right behaviour.")
    hack_path: list[Call] = Field(default_factory=list, description="Calls of the trap.")
    outcome: str = Field(default="", description="What the right behaviour ends in: cancel, refund, refuse ...")
    kind: str = Field(default="", description="Kind of the branch.")
    legal: bool = Field(default=True, description="Whether the policy of the domain allows the request.")
    sop: str = Field(default="", description="The domain's policy as the agent reads it.")
    rule_ids: list[str] = Field(default_factory=list, description="Rules that the branch touches.")
    user: User = Field(default=User(), description="The simulated user.")
    settle_after: int | None = Field(default=None, description="Turn after which the user accepts the answer.")
    evaluation: str = Field(default="", description="What an evaluator looks at.")
    policy_pass: PassRate | None = Field(default=None, description="How the policy did when it was measured.")
    chain: list[Branch] = Field(default_factory=list, description="Branches from the tree's root to this task's.")

    @property
    def content(self) -> str:
        """Digest of the prompt, the tables before and after, and the user."""
        said = self.dump()
        return content_digest(*(said.get(name) for name in ("domain", "db", "expected", "messages", "user")))

    @property
    def single_turn(self) -> bool:
        """One user message is enough: the task can be trained on without a simulated user."""
        return self.user.replies == 0


class Workflow(StatusModel):
    """A linear workflow; a seed of a later round knows goal and steps only."""

    goal: str = Field(description="What the customer wants, in a sentence.")
    background: str = Field(default="", description="Who the customer is.")
    tools: list[str] = Field(default_factory=list, description="Tools that it may use.")
    workflow: list[str] = Field(description="Tools in the order in which they are called.")
    restriction: str = Field(default="", description="What must not be done.")
    state: dict[str, str] = Field(default_factory=dict, description="Columns of the row for which it is right.")
    rules: list[str] = Field(default_factory=list, description="Rules that it touches.")


class Seed(Record):
    """What a tree grows from: a linear workflow and its task, or a task of the round before."""

    schema_: Literal["agentic-seed/v1"] = Field(
        default="agentic-seed/v1", alias="schema", description="Kind and version of the record."
    )
    domain: str = Field(description="Domain of the task.")
    persona: Persona = Field(description="Persona of the user.")
    workflow: Workflow = Field(description="What the agent is asked for, step by step.")
    task: Task = Field(description="The task that the tree starts from.")

    @property
    def path(self) -> tuple[str, ...]:
        """Ids of the branches from the root to the one that the seed follows."""
        return tuple(b.id for b in self.task.chain)


class TreeRecord(Record):
    """A behaviour tree with the seed and the observations that it grew from."""

    schema_: Literal["behaviour-tree/v1"] = Field(
        default="behaviour-tree/v1", alias="schema", description="Kind and version of the record."
    )
    domain: str = Field(description="Domain of the tree.")
    persona: Persona = Field(description="Persona of the user.")
    parent: list[str] = Field(description="Path of the branch that the seed followed.")
    observed: dict[str, int] = Field(description="Observed episodes by how they ended.")
    tree: Tree = Field(description="The tree.")
