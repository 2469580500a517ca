"""What planners read and what they answer: frozen values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, Literal, TypeVar

from flywheel_api.artifacts import Failure, Manifest, Progress
from flywheel_api.base import StatusModel
from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason

S = TypeVar("S", bound=StatusModel)


@dataclass(frozen=True)
class Meta:
    """Identity of the object under reconciliation."""

    name: str
    namespace: str
    uid: str
    generation: int


@dataclass(frozen=True)
class Problem:
    """Something that a person (or time) must mend; the message names the fix."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Timings:
    """The planner's share of the configuration, in seconds."""

    poll: float = 1.5
    preflight: float = 10
    back_off: float = 10
    back_off_limit: float = 300
    manifest_grace: float = 30
    stage_stall: float = 900
    stage_startup: float = 900
    stage_retries: int = 3


@dataclass(frozen=True)
class Child:
    """An object of ours as it exists in the cluster."""

    kind: str
    name: str
    uid: str
    deleting: bool = False


@dataclass(frozen=True)
class Ended:
    """Why an attempt ended, as its pods or its child tell it."""

    cause: Cause
    reason: str
    message: str = ""


class RunState(StrEnum):
    """Where a child stands."""

    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    ENDED = "Ended"


@dataclass(frozen=True)
class Run:
    """A child that runs an attempt: a Job, a RayJob, an RLJob or a pool, mapped to one shape.

    `waiting` says in plain words what it waits for while it starts. `ended` is set with state Ended only. `finished` is
    when the child itself says it ended, if it does.
    """

    child: Child
    state: RunState
    waiting: str = ""
    refused: bool = False
    ended: Ended | None = None
    finished: datetime | None = None


@dataclass(frozen=True)
class Record:
    """What the store says of one attempt; see `observe.artifacts`."""

    digest: str | None = None
    manifest: Manifest | None = None
    problem: str | None = None
    progress: Progress | None = None
    failure: Failure | None = None


class Act(StrEnum):
    """What the executor can do."""

    CREATE = "Create"
    DELETE = "Delete"
    APPLY_SERVICE = "ApplyService"


@dataclass(frozen=True)
class Action:
    """One effect, carried out after the status has landed (law 3).

    CREATE names the child, its stage and attempt; the renderer makes the body. DELETE names exactly one incarnation.
    """

    act: Act
    kind: str
    name: str
    stage: str = ""
    attempt: int = 0
    uid: str = ""
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """An Event: one line of the story, posted after the status has landed."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


@dataclass(frozen=True)
class Plan(Generic[S]):
    """The answer: the whole next status, then effects, then events; look again after `requeue` seconds."""

    status: S
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    requeue: float | None = None


def delete(child: Child) -> Action:
    """Deletion of exactly that incarnation."""
    return Action(Act.DELETE, child.kind, child.name, uid=child.uid)
