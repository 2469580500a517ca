"""The three kinds: names, printer columns, spec and status. What the CRD generator and the operator read."""

from __future__ import annotations

from dataclasses import dataclass

from flywheel_api.base import ApiModel, StatusModel
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus


@dataclass(frozen=True)
class Column:
    """A printer column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True)
class Kind:
    """A custom resource."""

    kind: str
    plural: str
    singular: str
    short: str
    spec: type[ApiModel]
    status: type[StatusModel]
    columns: tuple[Column, ...]
    scale: tuple[str, str, str] | None = None
    description: str = ""


READY_REASON = '.status.conditions[?(@.type=="Ready")].reason'
AGE = Column("Age", ".metadata.creationTimestamp", "date")

ROUND = Kind(
    kind="FlywheelRound",
    plural="flywheelrounds",
    singular="flywheelround",
    short="fwr",
    spec=FlywheelRoundSpec,
    status=FlywheelRoundStatus,
    description="One turn of both data flywheels: mine, synthesise, verify, train, evaluate, gate, promote.",
    columns=(
        Column("Campaign", ".spec.campaign"),
        Column("Base", ".status.base"),
        Column("Stage", ".status.stage"),
        Column("Progress", ".status.progress"),
        Column("Score", ".status.score"),
        Column("Verdict", ".status.verdict"),
        Column("Reason", READY_REASON, priority=1),
        Column("Model", ".status.model.digest", priority=1),
        AGE,
    ),
)
POOL = Kind(
    kind="RolloutPool",
    plural="rolloutpools",
    singular="rolloutpool",
    short="rlp",
    spec=RolloutPoolSpec,
    status=RolloutPoolStatus,
    description="vLLM servers on KubeRay behind one stable OpenAI-compatible Service.",
    columns=(
        Column("Phase", ".status.phase"),
        Column("Ready", ".status.readyReplicas", "integer"),
        Column("Desired", ".spec.replicas", "integer"),
        Column("Lagging", ".status.laggingReplicas", "integer"),
        Column("Endpoint", ".status.endpoint"),
        Column("Reason", READY_REASON, priority=1),
        AGE,
    ),
    scale=(".spec.replicas", ".status.replicas", ".status.selector"),
)
RLJOB = Kind(
    kind="RLJob",
    plural="rljobs",
    singular="rljob",
    short="rlj",
    spec=RLJobSpec,
    status=RLJobStatus,
    description="One verl run on KubeRay, with committed checkpoints and retries by cause class.",
    columns=(
        Column("Algorithm", ".spec.algorithm.type"),
        Column("Phase", ".status.phase"),
        Column("Step", ".status.step", "integer"),
        Column("Total", ".status.totalSteps", "integer"),
        Column("Reward", ".status.reward"),
        Column("Checkpoint", ".status.checkpoint.step", "integer"),
        Column("Attempt", ".status.attempt", "integer"),
        Column("Reason", READY_REASON, priority=1),
        AGE,
    ),
)
KINDS = (ROUND, POOL, RLJOB)
