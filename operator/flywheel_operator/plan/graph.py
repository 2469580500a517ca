"""The pipeline as the planner asks about it: which stages apply, what is done, what a stage waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flywheel_api.content import ROLES
from flywheel_api.names import CHILD_NAME_LIMIT, OWN_NAME_LIMIT, child_name
from flywheel_api.results import Track
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role, StageState, StageStatus
from flywheel_api.stages import PIPELINE, Runs, Stage, StageDef, serves_base
from flywheel_operator.model import Meta

DIGEST = "sha256:"  # how a reference begins that names its content
DONE = frozenset({StageState.SUCCEEDED, StageState.SKIPPED})
OVER = DONE | {StageState.FAILED}
BY_STAGE: Mapping[Stage, StageDef] = {definition.stage: definition for definition in PIPELINE}
LAST = frozenset({Stage.EXPORT, Stage.REPORT})  # they come after the verdict, and take it away from nobody
POOLS = tuple(d.stage for d in PIPELINE if d.runs is Runs.POOL)
TRAININGS: Mapping[Stage, Track] = {d.stage: d.track for d in PIPELINE if d.runs is Runs.RLJOB and d.track}
CHILD_KIND = {Runs.JOB: "Job", Runs.POOL: "RolloutPool", Runs.RLJOB: "RLJob"}


def child_of(meta: Meta, stage: Stage, attempt: int) -> str:
    """Name of what carries a stage's attempt out: one that the CRD of its kind takes, however long the round's is."""
    own = BY_STAGE[stage].runs in (Runs.POOL, Runs.RLJOB)
    return child_name(meta.name, meta.uid, stage, attempt, OWN_NAME_LIMIT if own else CHILD_NAME_LIMIT)


def endpoint_of(spec: FlywheelRoundSpec, role: Role) -> Endpoint | None:
    """The endpoint that is named for a role, without fallback."""
    return next((e for e in spec.endpoints if e.role is role), None)


def applies(definition: StageDef, spec: FlywheelRoundSpec) -> bool:
    """Whether a stage is part of this round."""
    if definition.track is not None and getattr(spec, definition.track) is None:
        return False
    if definition.stage is Stage.IMPORT_MODEL:
        return spec.base.model is not None and not spec.base.model.startswith(DIGEST)
    if definition.stage is Stage.EXPORT:
        return spec.export is not None
    return definition.stage is not Stage.SERVE_BASE or serves_base(spec)


def stages_of(
    spec: FlywheelRoundSpec, known: Iterable[StageStatus], base: str | None = None
) -> dict[Stage, StageStatus]:
    """All stages in the order of the pipeline, as status has them; a status may be of an older or newer release.

    `base` is the base model's digest, once it is known: what lies in the store is not imported.
    """
    found = {s.name: s for s in known}
    stages = {d.stage: found.get(d.stage) or _fresh(d, spec) for d in PIPELINE}
    if base is not None and base.startswith(DIGEST) and stages[Stage.IMPORT_MODEL].state is StageState.PENDING:
        skipped = {"state": StageState.SKIPPED, "progress": "the base model is in the store"}
        stages[Stage.IMPORT_MODEL] = stages[Stage.IMPORT_MODEL].model_copy(update=skipped)
    return stages


def _fresh(definition: StageDef, spec: FlywheelRoundSpec) -> StageStatus:
    state = StageState.PENDING if applies(definition, spec) else StageState.SKIPPED
    return StageStatus(name=definition.stage, state=state)


def ready(definition: StageDef, stages: Mapping[Stage, StageStatus]) -> bool:
    """Whether everything before a stage is done."""
    return all(stages[stage].state in DONE for stage in definition.after)


def users_of(pool: Stage) -> tuple[Stage, ...]:
    """Stages that need a pool."""
    return tuple(d.stage for d in PIPELINE if d.pool is pool)


def unasked(spec: FlywheelRoundSpec) -> frozenset[Stage]:
    """Stages that name a pool and do not ask it in this round: solving asks the policy only to measure with it."""
    measures = spec.agentic is not None and spec.agentic.difficulty.samples > 0
    return frozenset() if measures else frozenset({Stage.SOLVE_AGENTIC})


def asks(definition: StageDef) -> bool:
    """Whether starting a stage means that somebody will be asked: by it, or by those that its pool is made for."""
    return definition.runs is Runs.POOL or bool(ROLES.get(definition.stage))


def before(stage: Stage) -> frozenset[Stage]:
    """All stages that a stage waits for, directly or not."""
    direct = BY_STAGE[stage].after
    return frozenset(direct).union(*(before(s) for s in direct))


def inputs_of(stage: Stage, digests: Mapping[Stage, str]) -> dict[str, str]:
    """Digests of the manifests that a stage reads, by stage."""
    return {s.value: digests[s] for s in BY_STAGE[stage].inputs if s in digests}


def digests_of(stages: Mapping[Stage, StageStatus]) -> dict[Stage, str]:
    """Digests of the manifests that are there."""
    return {stage: status.manifest for stage, status in stages.items() if status.manifest}


def candidate(digests: Mapping[Stage, str]) -> str | None:
    """Digest of the newest trained checkpoint."""
    return digests.get(Stage.TRAIN_AGENTIC) or digests.get(Stage.TRAIN_REASONING)
