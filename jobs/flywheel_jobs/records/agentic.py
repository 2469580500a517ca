"""Records of the agentic track: camelCase JSON lines, with schema and lineage (see flywheel_jobs.records)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from flywheel_jobs import records
from flywheel_jobs.records import Part, PassRate, Persona
from flywheel_jobs.records.tree import Branch, Tree

SEED_SCHEMA: Literal["agentic-seed/v1"] = "agentic-seed/v1"
TREE_SCHEMA: Literal["behaviour-tree/v1"] = "behaviour-tree/v1"
TASK_SCHEMA: Literal["agentic-task/v1"] = "agentic-task/v1"
TRAJECTORY_SCHEMA: Literal["trajectory/v1"] = "trajectory/v1"

Call = dict[str, Any]
"""{"name": tool, "arguments": {...}}"""


class Lineage(records.Lineage):
    """Where a record of this track comes from; `branch_path` are ids of branches from the tree's root."""

    persona_id: str = ""
    branch_path: list[str] = Field(default_factory=list)
    template: str = ""
    standin: bool = False


class Record(Part):
    """Base of this track's records."""

    id: str
    lineage: Lineage


class User(Part):
    """The simulated user: it answers at most `replies` times; `push` says that it words its request so that the trap
    looks right.
    """

    task: str
    background: str
    hack_background: str = ""
    escape_strategy: str = ""
    test_policy: str = ""
    replies: int = 0
    push: bool = False


class Task(Record):
    """A task (docs/method.md, "Inversion"): state, user and policy for which one branch is the right one."""

    schema_: Literal["agentic-task/v1"] = Field(default=TASK_SCHEMA, alias="schema")
    domain: str
    db: dict[str, Any]
    expected: dict[str, Any]
    messages: list[dict[str, Any]]
    normal_path: list[Call]
    hack_path: list[Call] = Field(default_factory=list)
    outcome: str
    kind: str
    legal: bool
    sop: str
    rule_ids: list[str]
    user: User
    settle_after: int | None = None
    evaluation: str = ""
    policy_pass: PassRate | None = None
    chain: list[Branch] = Field(default_factory=list, description="Branches from the tree's root to this task's.")

    @property
    def single_turn(self) -> bool:
        """One user message is enough: the task can be trained on without a simulated user."""
        return self.user.replies == 0


class Seed(Record):
    """What a tree grows from: a linear workflow and its task, or a task of the round before."""

    schema_: Literal["agentic-seed/v1"] = Field(default=SEED_SCHEMA, alias="schema")
    domain: str
    persona: Persona
    workflow: dict[str, Any]
    task: Task

    @property
    def path(self) -> tuple[str, ...]:
        """Ids of the branches from the root to the one that the seed follows."""
        return tuple(b.id for b in self.task.chain)


class TreeRecord(Record):
    """A behaviour tree with the seed and the observations that it grew from."""

    schema_: Literal["behaviour-tree/v1"] = Field(default=TREE_SCHEMA, alias="schema")
    domain: str
    persona: Persona
    parent: list[str]
    observed: dict[str, int]
    tree: Tree


class Trajectory(Record):
    """What was said and done in one episode, and how it was scored."""

    schema_: Literal["trajectory/v1"] = Field(default=TRAJECTORY_SCHEMA, alias="schema")
    task_id: str
    role: str
    attempt: int
    messages: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    closed: str
    score: float
    outcome: str
    details: dict[str, float] = Field(default_factory=dict)
    verdict: str = ""
    advice: list[str] = Field(default_factory=list, description="Advisory acceptance checks that failed.")
