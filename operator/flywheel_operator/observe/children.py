"""A round's children as listed, mapped to runs by stage: which is current, which is a stray, what they have spent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flywheel_api.base import parse_time
from flywheel_api.causes import Cause
from flywheel_api.common import ModelStatus
from flywheel_api.conditions import Condition, ConditionType, Reason, find_condition
from flywheel_api.names import LABEL_ATTEMPT, LABEL_POOL, LABEL_STAGE
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.rljob import RLJobSpec, RLJobStatus
from flywheel_api.round import FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import Runs, Stage
from flywheel_operator.observe import jobs as jobfacts
from flywheel_operator.observe.rayjobs import child_of
from flywheel_operator.plan import graph
from flywheel_operator.plan.types import Child, Ended, Meta, Run, RunState
from flywheel_operator.ports.kinds import labels_of, owner_uid

__all__ = ["LABEL_POOL", "Family", "Listed", "family", "job_ended", "job_failed"]

_WIND_UP_SECONDS = 60
Object = dict[str, Any]
Pool = tuple[Object, RolloutPoolSpec, RolloutPoolStatus]
RLJob = tuple[Object, RLJobSpec, RLJobStatus]


@dataclass(frozen=True)
class Listed:
    """What was listed by the owner label."""

    jobs: list[Object]
    pods: list[Object]
    pools: list[Pool]
    rljobs: list[RLJob]
    pool_pods: int = 0


@dataclass(frozen=True)
class Family:
    """The children of a round. `trained` names the verified checkpoints of finished RLJobs."""

    runs: dict[Stage, Run] = field(default_factory=dict)
    strays: tuple[Child, ...] = ()
    trained: dict[Stage, str] = field(default_factory=dict)
    models: dict[Stage, ModelStatus] = field(default_factory=dict)
    gpu_seconds: dict[Stage, float] = field(default_factory=dict)
    pool_pods: int = 0
    training_holds: bool = False


def job_ended(job: Object) -> bool:
    """Whether a Job is over, one way or the other."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in conditions)


def job_failed(job: Object) -> bool:
    """Whether a Job failed."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c["type"] == "Failed" and c["status"] == "True" for c in conditions)


def family(meta: Meta, status: FlywheelRoundStatus, listed: Listed, now: datetime) -> Family:
    """Sorts children of this very round (by uid) into current ones and strays."""
    current = {
        graph.child_name_of(meta, Stage(s.name), s.attempt): s
        for s in status.stages
        if s.attempt and graph.BY_STAGE[Stage(s.name)].runs is not Runs.OPERATOR
    }
    found = Family(pool_pods=listed.pool_pods)
    strays: list[Child] = []
    for job in (j for j in listed.jobs if owner_uid(j) == meta.uid):
        entry = current.get(job["metadata"]["name"])
        if entry is not None and entry.state is StageState.RUNNING:
            found.runs[Stage(entry.name)] = jobfacts.run_of(job, _pods_of(job, listed.pods))
        elif not job_ended(job) and not _winding_up(entry, now):
            strays.append(child_of(job))
    for pool in (p for p in listed.pools if owner_uid(p[0]) == meta.uid):
        entry = current.get(pool[0]["metadata"]["name"])
        if entry is None or entry.state in (StageState.WAITING, StageState.FAILED):
            strays.append(child_of(pool[0]))
        else:
            found.runs[Stage(entry.name)] = _pool_run(pool)
            if entry.child is not None or entry.state is StageState.RUNNING:
                found.gpu_seconds[Stage(entry.name)] = _pool_seconds(entry, pool[1], now)
    holds = [_add_rljob(found, strays, current, job, now) for job in listed.rljobs if owner_uid(job[0]) == meta.uid]
    return Family(**{**found.__dict__, "strays": tuple(strays), "training_holds": any(holds)})


def _add_rljob(found: Family, strays: list[Child], current: dict[str, StageStatus], job: RLJob, now: datetime) -> bool:
    """Puts an RLJob in its place; whether it holds hardware, or will."""
    obj, spec, status = job
    entry = current.get(obj["metadata"]["name"])
    finished = status.finished_at is not None
    if entry is None or (entry.state is not StageState.RUNNING and not finished):
        strays.append(child_of(obj))
    if entry is not None:
        stage = Stage(entry.name)
        if status.model is not None:
            found.models[stage] = status.model
        if entry.state is StageState.RUNNING:
            found.runs[stage] = _rljob_run(obj, status)
            found.gpu_seconds[stage] = _rljob_seconds(spec, status, now)
            if status.manifest is not None:
                found.trained[stage] = status.manifest
    return not finished or status.child is not None


def _winding_up(entry: StageStatus | None, now: datetime) -> bool:
    """A stage is over when its manifest is committed; its pod gets a moment to end by itself and keep its log."""
    if entry is None or entry.state is not StageState.SUCCEEDED or entry.finished_at is None:
        return False
    return (now - parse_time(entry.finished_at)).total_seconds() < _WIND_UP_SECONDS


def _pods_of(job: Object, pods: list[Object]) -> list[Object]:
    """Pods of a Job by our own labels: stage and attempt."""
    wanted = {k: labels_of(job).get(k) for k in (LABEL_STAGE, LABEL_ATTEMPT)}
    return [p for p in pods if all(labels_of(p).get(k) == v for k, v in wanted.items())]


def _pool_run(pool: Pool) -> Run:
    obj, _, status = pool
    child = child_of(obj)
    fresh = status.observed_generation == obj["metadata"].get("generation", status.observed_generation)
    if status.phase == "Running" and fresh:
        return Run(child, RunState.RUNNING)
    if status.phase == "Failed":
        return Run(child, RunState.ENDED, ended=Ended(Cause.APP, "PoolFailed", status.progress or "the pool failed"))
    return Run(child, RunState.STARTING, status.progress or "the pool is starting", _stalled(status.conditions))


def _rljob_run(obj: Object, status: RLJobStatus) -> Run:
    child = child_of(obj)
    if status.finished_at is None:
        text = status.progress or "starting"
        return Run(child, RunState.RUNNING, text, _stalled(status.conditions))
    if status.manifest is not None:
        return Run(child, RunState.SUCCEEDED)
    last = status.attempts[-1] if status.attempts else None
    said = find_condition(status.conditions, ConditionType.READY)
    cause = last.cause if last else Cause.APP
    return Run(child, RunState.ENDED, ended=Ended(cause, "RLJobFailed", said.message if said else "the RLJob failed"))


def _stalled(conditions: list[Condition]) -> bool:
    found = find_condition(conditions, ConditionType.STALLED)
    return found is not None and found.status == "True" and found.reason != Reason.FAILED


def _pool_seconds(entry: StageStatus, spec: RolloutPoolSpec, now: datetime) -> float:
    if spec.gpus_per_replica == 0 or entry.attempt_started_at is None:
        return 0.0
    return (now - parse_time(entry.attempt_started_at)).total_seconds() * spec.gpus_per_replica * spec.replicas


def _rljob_seconds(spec: RLJobSpec, status: RLJobStatus, now: datetime) -> float:
    gpus = spec.nodes * spec.gpus_per_node
    spent = float(status.gpu_seconds or 0)
    if gpus and status.running_since is not None:
        spent += (now - parse_time(status.running_since)).total_seconds() * gpus
    return spent
