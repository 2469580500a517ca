"""Who may start: dependencies, back-off, suspension, and one model at a time where memory is short."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from flywheel_api.base import parse_time
from flywheel_api.round import StageState, StageStatus
from flywheel_api.stages import Runs, Stage, StageDef
from flywheel_operator.plan import graph
from flywheel_operator.plan.seen import RoundSeen
from flywheel_operator.plan.types import Record, RunState

POOL = "RolloutPool"
Stages = Mapping[Stage, StageStatus]


def may_start(definition: StageDef, stages: Stages, seen: RoundSeen, suspended: bool, now: datetime) -> bool:
    """Whether the next attempt of a stage may begin now."""
    status = stages[definition.stage]
    if suspended or not graph.ready(definition, stages):
        return False
    if status.not_before is not None and now < parse_time(status.not_before):
        return False
    if definition.runs is Runs.POOL:
        return not seen.training_holds and not _other_pool(definition.stage, seen)
    if definition.runs is Runs.RLJOB:
        return not seen.training_holds and not pools_exist(seen)
    if definition.pool is None or stages[definition.pool].state is StageState.SKIPPED:
        return True
    run = seen.runs.get(definition.pool)
    serving = run is not None and run.state is RunState.RUNNING and not run.child.deleting
    return serving and stages[definition.pool].state is StageState.SUCCEEDED


def pools_exist(seen: RoundSeen) -> bool:
    """Whether any pool of the round, or a pod of one, is still there."""
    pools = any(run.child.kind == POOL for run in seen.runs.values())
    return pools or seen.pool_pods > 0 or any(c.kind == POOL for c in seen.strays)


def _other_pool(stage: Stage, seen: RoundSeen) -> bool:
    """One model at a time needs memory: another pool, or leavings of one, must be gone first."""
    others = any(run.child.kind == POOL for s, run in seen.runs.items() if s is not stage)
    strays = any(c.kind == POOL for c in seen.strays)
    return others or strays or (stage not in seen.runs and seen.pool_pods > 0)


def pool_needed_again(definition: StageDef, stages: Stages, seen: RoundSeen, suspended: bool, now: datetime) -> bool:
    """A pool that somebody deleted, or that a suspension released, while stages still need it."""
    wanted = any(stages[s].state not in graph.DONE for s in graph.users_of(definition.stage))
    gone = definition.stage not in seen.runs
    return wanted and gone and may_start(definition, stages, seen, suspended, now)


def pool_idle(stage: Stage, stages: Stages, suspended: bool) -> bool:
    """Whether a pool may go: no stage needs it any more, or a suspension has reached its stage boundary."""
    users = [stages[s].state for s in graph.users_of(stage)]
    return all(s in graph.DONE for s in users) or (suspended and StageState.RUNNING not in users)


def no_data(definition: StageDef, seen: RoundSeen) -> bool:
    """Whether a track's training has nothing to train on, because Package left the track out."""
    if definition.runs is not Runs.RLJOB or definition.track is None:
        return False
    package = seen.manifests.get(Stage.PACKAGE) or seen.records.get(Stage.PACKAGE, Record()).manifest
    datasets = package.details.get("datasets", {}) if package else {}
    return package is not None and not (datasets.get(definition.track) or {}).get("train")
