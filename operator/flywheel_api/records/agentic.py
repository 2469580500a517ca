"""Records of the agentic flywheel: seeds, behaviour trees that grow from them, and the tasks made of their branches.

A task says where its world comes from (package, seed, patches) and who wants what; the right behaviour is computed from
that by `flywheel_domains` wherever it is needed. What a record says of it is a copy for people, reports and checks.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from flywheel_api.base import StatusModel
from flywheel_api.records.base import PassRate, Record, content_digest
from flywheel_api.records.reasoning import Persona

BranchId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Sentence = Annotated[str, Field(min_length=1, max_length=400)]
Json = dict[str, Any]


class Call(StatusModel):
    """A tool call."""

    name: str = Field(description="Name of the tool.")
    arguments: dict[str, Any] = Field(description="Its arguments, by the tool's own schema.")


class LoggedCall(Call):
    """A call as the environment carried it out."""

    turn: int = Field(description="Turn in which it was made, from 0.")
    status: str = Field(description="ok, refused, bad-arguments, unknown-tool or closed.")
    output: str = Field(description="What the agent was answered.")
    writes: bool = Field(description="Whether the tool may change tables.")
    before: str = Field(description="Digest of the tables before it.")
    after: str = Field(description="Digest of the tables after it.")


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


class Depth(StatusModel):
    """How deep a task is, by what a right agent must take into account."""

    branch: int = Field(description="Branches from the root of its tree to it.")
    cells: int = Field(description="Cells that the right verdicts rest on.")
    steps: int = Field(description="Calls of the right path, look-ups among them.")
    rules: int = Field(description="Rules of the policy document.")


class RightBehaviour(StatusModel):
    """What a right agent does: computed from package and case."""

    calls: list[Call] = Field(default_factory=list, description="Look-ups and writes, in order.")
    endings: list[str] = Field(default_factory=list, description="How each wish ends: done, denied, handed_over ...")
    rules: list[str] = Field(default_factory=list, description="Rules that have the last word.")
    proof: list[str] = Field(default_factory=list, description="Cells that the verdicts rest on, table/row/column.")
    tell: list[str] = Field(default_factory=list, description="Names of facts that the caller is to be told.")
    traps: list[Call] = Field(default_factory=list, description="Calls that look right and are not.")
    state: str = Field(default="", description="Digest of the tables afterwards.")


class Branch(BaseModel):
    """A branch: what it changes of its parent, and the condition that this makes true."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: BranchId = Field(description="Id, unique among its siblings.")
    kind: BranchKind = Field(description="What makes it differ from the ordinary case.")
    condition: Sentence = Field(description="When it applies.")
    patch: Json = Field(default={}, description="Change of the parent's case, as flywheel_domains reads it.")


class User(StatusModel):
    """The simulated user of a task: all that a model or a program needs to play it."""

    task: str = Field(default="", description="The first message.")
    background: str = Field(default="", description="Who the user is, and what they know.")
    facts: dict[str, str] = Field(default_factory=dict, description="What they tell when they are asked, by its name.")
    again: dict[str, list[str]] = Field(
        default_factory=dict, description="Other values that they have, told when another one is asked for."
    )
    later: list[str] = Field(default_factory=list, description="What they say when a wish is settled or refused.")
    pushes: int = Field(default=0, description="How often they insist after a refusal.")
    claims: list[str] = Field(
        default_factory=list, description="What they then say, right or wrong, one after another."
    )
    tone: str = Field(default="", description="How they speak.")
    replies: int = Field(default=0, description="How many times the user answers at most.")

    @property
    def push(self) -> bool:
        """Whether they insist on what they wished."""
        return self.pushes > 0


class Task(Record):
    """A task (docs/method.md, "Inversion"): package, world and wishes, from which the right behaviour is computed.

    Required is what an episode and its reward need, so that tasks which others wrote can be trained on.
    """

    schema_: Literal["agentic-task/v2"] = Field(
        default="agentic-task/v2", alias="schema", description="Kind and version of the record."
    )
    domain: str = Field(description="Domain whose tools and rules apply.")
    package: str = Field(description="sha256:<hex> of its package.")
    case: Json = Field(description="World seed, patches, caller and wishes, as flywheel_domains reads them.")
    messages: list[dict[str, Any]] = Field(description="Prompt: system message and the user's first one.")
    right: RightBehaviour = Field(default=RightBehaviour(), description="What a right agent does.")
    outcome: str = Field(default="", description="What the right behaviour ends in: the write's name, denied ...")
    kind: str = Field(default="", description="Kind of the branch.")
    legal: bool = Field(default=True, description="Whether the policy of the domain allows the request.")
    sop: str = Field(default="", description="The domain's policy as the agent reads it.")
    rule_ids: list[str] = Field(default_factory=list, description="Rules of that text.")
    user: User = Field(default=User(), description="The simulated user.")
    settle_after: int | None = Field(default=None, description="Writes after which the conversation is over.")
    depth: Depth | None = Field(default=None, description="How deep it is.")
    policy_pass: PassRate | None = Field(default=None, description="How the policy did when it was measured.")
    solver_pass: PassRate | None = Field(default=None, description="How the solver did.")
    chain: list[Branch] = Field(default_factory=list, description="Branches from the tree's root to this task's.")

    @property
    def content(self) -> str:
        """Digest of package, case, prompt and user."""
        said = self.dump()
        return content_digest(*(said.get(name) for name in ("package", "case", "messages", "user")))

    @property
    def world_seed(self) -> object:
        """What the world of its case is drawn by: tasks that share it play in one world."""
        return self.case.get("seed")

    @property
    def single_turn(self) -> bool:
        """One user message is enough."""
        return self.user.replies == 0


class Seed(Record):
    """What a tree grows from: a new workflow and its task, or a task of the round before."""

    schema_: Literal["agentic-seed/v2"] = Field(
        default="agentic-seed/v2", alias="schema", description="Kind and version of the record."
    )
    persona: Persona = Field(description="Persona of the user.")
    task: Task = Field(description="The task that the tree starts from.")
    fresh: bool = Field(default=True, description="Whether this round made it; else it was trained on before.")

    @property
    def path(self) -> tuple[str, ...]:
        """Ids of the branches from the root to the one that the seed follows."""
        return tuple(b.id for b in self.task.chain)


class Grown(StatusModel):
    """A branch that was accepted, with the case that it makes."""

    branch: Branch = Field(description="The branch.")
    case: Json = Field(description="The parent's case with the branch's patch.")
    level: int = Field(
        ge=1,
        description="Its depth: one more than its parent's where more must be found out, its parent's where as much, "
        "and 1 where less is: something that its ancestors demand is lost.",
    )
    near: str = Field(default="", description="Digest of what it asks: equal ones are one task.")
    steps: int = Field(default=0, description="Steps of its right way: look-ups, questions and writes.")
    legal: bool = Field(default=False, description="Whether what is wished in it is allowed.")


class TreeRecord(Record):
    """A behaviour tree: the branches below a seed, and the observations that they grew from."""

    schema_: Literal["behaviour-tree/v3"] = Field(
        default="behaviour-tree/v3", alias="schema", description="Kind and version of the record."
    )
    seed: Seed = Field(description="What it grew from.")
    observed: dict[str, int] = Field(description="Observed episodes by how they ended.")
    branches: list[Grown] = Field(description="Branches below the seed's, each with another right behaviour.")
    spare: list[Grown] = Field(
        default_factory=list, description="Other branches that the domain offered: they fill what repeats leave open."
    )
    refused: dict[str, int] = Field(default_factory=dict, description="Proposed branches that were not taken, by why.")


class Fingerprint(Record):
    """What a task asks, without its words: a later round of the campaign asks nothing that is the same."""

    schema_: Literal["task-fingerprint/v1"] = Field(
        default="task-fingerprint/v1", alias="schema", description="Kind and version of the record."
    )
    near: str = Field(
        description="Digest of package, wishes and the state that decides, whoever asks in whichever words."
    )
