"""The operator's vocabulary: what is seen, what is to be done, and the plan in between. Frozen values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from flywheel_api.artifacts import Failure, Manifest, Progress
from flywheel_api.base import StatusModel
from flywheel_api.causes import Cause
from flywheel_api.common import ModelStatus, ReusedFrom
from flywheel_api.conditions import Reason
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round_status import ChildAccount, EstimateStatus
from flywheel_api.stages import Stage

Object = dict[str, Any]
S = TypeVar("S", bound=StatusModel)


@dataclass(frozen=True)
class Meta:
    """Identity of the object under reconciliation; `page`: what draws the page of the round that made it."""

    name: str
    namespace: str
    uid: str
    generation: int
    page: str = ""


@dataclass(frozen=True)
class Problem:
    """Something that a person (or time) must mend; the message names the fix.

    `queued`: it holds back what is to be made (a quota, a LimitRange), so that no clock runs meanwhile (law 8).
    """

    reason: Reason
    message: str
    queued: bool = False


@dataclass(frozen=True)
class Timings:
    """The planner's share of the configuration, in seconds."""

    poll: float = 2.5
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
    """Why an attempt ended, as its pods or its child tell it. `node` is set where the node itself is at fault."""

    cause: Cause
    reason: str
    message: str = ""
    node: str | None = None


class RunState(StrEnum):
    """Where a child stands. QUEUED: somebody holds it back (suspended, gated, no quota); no clock runs (law 8)."""

    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    ENDED = "Ended"


@dataclass(frozen=True)
class Run:
    """A child that runs an attempt: a Job, a RayJob, an RLJob or a pool, mapped to one shape.

    `text` says in plain words where it stands or what it waits for, `reason` in a condition's word. `refused` says that
    a person must act. `ended` is set with state Ended only; `evidence` is what the pods tell of an end that the child
    does not show: it speaks where the child has only a symptom. `late` is the class of an attempt whose start takes too
    long because of what `text` says. `holds` says that it has, or will have, pods.
    """

    child: Child
    state: RunState
    text: str = ""
    refused: bool = False
    reason: Reason = Reason.STARTING
    ended: Ended | None = None
    evidence: Ended | None = None
    late: Cause = Cause.INFRA
    holds: bool = True


@dataclass(frozen=True)
class Record:
    """What the store says of one attempt, or of a result that is there already; see `observe.attempts`.

    `advanced_at` is when progress was last seen to move, by the operator's own clock: pods' clocks may be wrong.
    """

    digest: str | None = None
    manifest: Manifest | None = None
    problem: str | None = None
    progress: Progress | None = None
    advanced_at: datetime | None = None
    failure: Failure | None = None


@dataclass(frozen=True)
class Content:
    """What a stage or training is made of, and the key of that."""

    key: str
    made_of: Mapping[str, str]


@dataclass(frozen=True)
class Training:
    """A live RLJob of a round: what it was created with, and whether its current attempt runs."""

    spec: RLJobSpec
    running: bool


@dataclass(frozen=True)
class NodesSeen:
    """Whether the cluster's nodes can hold what will be made; None: nobody could look. `refused`: nothing starts."""

    fit: bool | None
    text: str = ""
    refused: bool = False

    @property
    def problem(self) -> Problem | None:
        """What a person must mend before anything starts."""
        return Problem(Reason.NO_NODE_FITS, self.text) if self.refused else None


@dataclass(frozen=True)
class Found:
    """What a round's preflight found; `base` is set when everything is there.

    `number` is the round's in its campaign, `held` its base round where that was held, and `base` is what that trained
    from. `store_note`: see StoreBook.note.
    """

    problem: Problem | None = None
    store_problem: Problem | None = None
    waits_for: str | None = None
    base: ModelStatus | None = None
    rollouts: tuple[str, ...] = ()
    held: str | None = None
    earlier: tuple[str, ...] = ()
    number: int = 1
    estimate: EstimateStatus | None = None
    nodes: NodesSeen | None = None
    store_note: str = ""


@dataclass(frozen=True)
class RoundSeen(Found):
    """A round as it was observed: what its preflight found, or what there is since. Maps are by stage.

    `records` are of attempts that run and of results that are there already, `manifests` of finished stages, `content`
    of stages that run or could start. `strays` are live children that no current attempt accounts for. `accounts` say
    what the children that carry attempts out have spent. `champion` is the campaign's promoted verdict before this
    round, `model_uri` where the candidate is in the store. `refused` is what the API server said to the last effects.
    """

    runs: Mapping[Stage, Run] = field(default_factory=dict)
    records: Mapping[Stage, Record] = field(default_factory=dict)
    manifests: Mapping[Stage, Manifest] = field(default_factory=dict)
    content: Mapping[Stage, Content] = field(default_factory=dict)
    trainings: Mapping[Stage, Training] = field(default_factory=dict)
    strays: tuple[Child, ...] = ()
    accounts: Mapping[Stage, ChildAccount] = field(default_factory=dict)
    pool_pods: int = 0
    stuck: str = ""
    champion: str | None = None
    model_uri: str = ""
    refused: Problem | None = None


@dataclass(frozen=True)
class RLJobSeen:
    """An RLJob as it was observed. `run` is the RayJob of the current attempt; `others` are RayJobs of ours beside it.

    `reusable` names who made the checkpoint that a first attempt will go on from; `twin` an RLJob that trains the same.
    `stuck` says which of its pods should have ended long ago.
    `checkpoint_bytes`: of a whole checkpoint, where the model's shape is known. `gpus`: held by its pods.
    """

    problem: Problem | None = None
    store_problem: Problem | None = None
    run: Run | None = None
    others: tuple[Child, ...] = ()
    pods: int = 0
    stuck: str = ""
    record: Record = field(default_factory=Record)
    model: str | None = None
    model_uri: str = ""
    content: Content | None = None
    reusable: ReusedFrom | None = None
    checkpoint_bytes: float | None = None
    gpus: int = 0
    nodes: NodesSeen | None = None
    store_note: str = ""
    twin: str | None = None
    refused: Problem | None = None


@dataclass(frozen=True)
class Revision:
    """A RayService of ours and the revision it serves. `ready_on`: nodes whose servers are ready, whatever Serve says.

    Evidence of its run is a GPU's failure, which Serve may still take for one that passes.
    """

    revision: str
    run: Run
    ready_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoolSeen:
    """A pool as it was observed. `serving` is the revision that the stable Service selects, if the Service exists.

    `gpus`: held by its pods. `advanced_at`: when bytes of the wanted revision's model were last seen to come.
    """

    problem: Problem | None = None
    store_problem: Problem | None = None
    digest: str | None = None
    wanted: str = ""
    revisions: tuple[Revision, ...] = ()
    serving: str | None = None
    service_conflict: str | None = None
    advanced_at: datetime | None = None
    pods: int = 0
    gpus: int = 0
    nodes: NodesSeen | None = None
    store_note: str = ""
    refused: Problem | None = None


class Act(StrEnum):
    """What the executor can do."""

    CREATE = "Create"
    DELETE = "Delete"
    APPLY = "Apply"


@dataclass(frozen=True)
class Action:
    """One effect as it is planned. CREATE and APPLY name what is to be rendered, DELETE exactly one incarnation."""

    act: Act
    kind: str
    name: str
    stage: str = ""
    attempt: int = 0
    uid: str = ""
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> ActionId:
        """See ActionId."""
        return self.act, self.kind, self.name


ActionId = tuple[Act, str, str]
"""What is done to which object of which kind: the same effect in the plan of a later look (names are facts)."""


@dataclass(frozen=True)
class Effect:
    """One effect, ready to be carried out: an Action with its body, rendered before the intent is written."""

    action: Action
    body: Object | None = None


@dataclass(frozen=True)
class Note:
    """An Event: one line of the story, posted after the status has landed.

    One that `follows` from good news before it in the same look is told with it, in one Event.
    """

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"
    follows: bool = False


@dataclass(frozen=True)
class Plan(Generic[S]):
    """The answer: the whole next status, then effects, then events; look again after `requeue` seconds.

    `more`: what the status says now may let another decision follow at once.
    """

    status: S
    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    requeue: float | None = None
    more: bool = False


def delete(child: Child) -> Action:
    """Deletion of exactly that incarnation."""
    return Action(Act.DELETE, child.kind, child.name, uid=child.uid)
