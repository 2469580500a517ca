"""The pipeline as the planner asks about it: which stages apply, what is done, what a stage waits for."""

from __future__ import annotations

from collections.abc import Mapping

from flywheel_api.names import child_name
from flywheel_api.pool import PoolTemplate
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role, StageState, StageStatus
from flywheel_api.stages import PIPELINE, Runs, Stage, StageDef
from flywheel_operator.plan.types import Meta

DONE = frozenset({StageState.SUCCEEDED, StageState.SKIPPED})
BY_STAGE: Mapping[Stage, StageDef] = {definition.stage: definition for definition in PIPELINE}
CHILD_KIND = {Runs.JOB: "Job", Runs.POOL: "RolloutPool", Runs.RLJOB: "RLJob"}


def endpoint_of(spec: FlywheelRoundSpec, role: Role) -> Endpoint | None:
    """The endpoint that is named for a role, without fallback."""
    return next((e for e in spec.endpoints if e.role is role), None)


def pool_template(spec: FlywheelRoundSpec) -> PoolTemplate:
    """Shape of the round's pools: the Policy's, else one replica that fits the training hardware."""
    policy = endpoint_of(spec, Role.POLICY)
    if policy is not None and policy.pool is not None:
        return policy.pool
    return PoolTemplate(gpus_per_replica=0 if spec.training.gpus_per_node == 0 else 1)


def serves_base(spec: FlywheelRoundSpec) -> bool:
    """Whether the round makes a pool for the base model; not so when the Policy is a URL or an existing pool."""
    policy = endpoint_of(spec, Role.POLICY)
    return policy is None or (policy.url is None and policy.pool_ref is None)


def applies(definition: StageDef, spec: FlywheelRoundSpec) -> bool:
    """Whether a stage is part of this round."""
    if definition.track is not None and getattr(spec, definition.track) is None:
        return False
    return definition.stage is not Stage.SERVE_BASE or serves_base(spec)


def initial(spec: FlywheelRoundSpec) -> list[StageStatus]:
    """All stages, in the order of the pipeline."""
    return [
        StageStatus(name=d.stage, state=StageState.PENDING if applies(d, spec) else StageState.SKIPPED)
        for d in PIPELINE
    ]


def ready(definition: StageDef, stages: Mapping[Stage, StageStatus]) -> bool:
    """Whether everything before a stage is done."""
    return all(stages[stage].state in DONE for stage in definition.after)


def users_of(pool: Stage) -> tuple[Stage, ...]:
    """Stages that need a pool."""
    return tuple(d.stage for d in PIPELINE if d.pool is pool)


def child_name_of(meta: Meta, stage: Stage, attempt: int) -> str:
    """Name of a stage's child."""
    return child_name(meta.name, meta.uid, stage, attempt)


def candidate(stages: Mapping[Stage, StageStatus]) -> str | None:
    """Digest of the newest trained checkpoint."""
    return stages[Stage.TRAIN_AGENTIC].manifest or stages[Stage.TRAIN_REASONING].manifest
