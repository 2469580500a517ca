"""A round's children as they are: current ones by stage, strays, and what they have spent so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from flywheel_api.base import ApiModel, StatusModel, parse_time
from flywheel_api.causes import Cause
from flywheel_api.common import GpuAccount
from flywheel_api.conditions import Condition, ConditionType, Reason, find_condition
from flywheel_api.names import LABEL_ATTEMPT, LABEL_POOL, LABEL_STAGE
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import StageState, StageStatus
from flywheel_api.round_status import ChildAccount
from flywheel_api.stages import Runs, Stage
from flywheel_operator.model import Child, Ended, Meta, Object, Run, RunState, Training
from flywheel_operator.observe import jobs as jobfacts
from flywheel_operator.observe.base import Context
from flywheel_operator.observe.rayjobs import child_of
from flywheel_operator.plan import graph
from flywheel_operator.plan.conditions import REFUSALS
from flywheel_operator.ports.kinds import JOBS, PODS, POOLS, RLJOBS, Resource, labels_of, owner_uid

_WIND_UP_SECONDS = 60
_RESOURCES: dict[Runs, Resource] = {Runs.JOB: JOBS, Runs.POOL: POOLS, Runs.RLJOB: RLJOBS}


@dataclass
class Family:
    """The children of a round as they are sorted: current ones by stage, and the rest."""

    runs: dict[Stage, Run] = field(default_factory=dict)
    strays: list[Child] = field(default_factory=list)
    trained: dict[Stage, str] = field(default_factory=dict)
    trainings: dict[Stage, Training] = field(default_factory=dict)
    accounts: dict[Stage, ChildAccount] = field(default_factory=dict)


async def family_of(context: Context, meta: Meta, stages: dict[Stage, StageStatus], now: datetime) -> Family:
    """Children of this very round (by uid), sorted into current ones and strays."""
    current = {
        graph.child_of(meta, stage, entry.attempt): (stage, entry)
        for stage, entry in stages.items()
        if entry.attempt and graph.BY_STAGE[stage].runs is not Runs.OPERATOR
    }
    jobs, pools, rljobs = [await _children(context, meta, runs, current) for runs in _RESOURCES]
    live = any("Complete" not in jobfacts.conditions_of(job) for job in jobs)
    pods = await context.words.with_kubelet(context.kube, await context.owned(PODS, meta), now) if live else []
    family = Family()
    for job in jobs:
        mine = _pods_of(job, pods)
        refusal = await context.words.of(context.kube, job) if jobfacts.lacks_pods(job, mine, now) else ""
        _add_job(family, job, jobfacts.run_of(job, mine, refusal), current.get(job["metadata"]["name"]), now)
    for pool in pools:
        _add_pool(family, pool, current.get(pool["metadata"]["name"]))
    for rljob in rljobs:
        _add_rljob(family, rljob, current.get(rljob["metadata"]["name"]))
    return family


async def _children(
    context: Context, meta: Meta, runs: Runs, current: dict[str, tuple[Stage, StageStatus]]
) -> list[Object]:
    """Objects of a kind that this round owns: by label, and by name where somebody took the label off."""
    resource = _RESOURCES[runs]
    found = {o["metadata"]["name"]: o for o in await context.owned(resource, meta)}
    for name, (stage, entry) in current.items():
        known = entry.child is not None and entry.state is StageState.RUNNING
        if known and graph.BY_STAGE[stage].runs is runs and name not in found:
            lost = await context.kube.refresh(resource, meta.namespace, name)
            if lost is not None:
                found[name] = lost
    return [o for o in found.values() if owner_uid(o) == meta.uid]


async def pool_pods(context: Context, meta: Meta, stages: dict[Stage, StageStatus]) -> list[Object]:
    """Pods of the round's pools, the last but one attempt's included: they hold memory until they are gone."""
    found: list[Object] = []
    for stage in graph.POOLS:
        attempt = stages[stage].attempt
        for number in range(max(1, attempt - 1), attempt + 1):
            labels = {LABEL_POOL: graph.child_of(meta, stage, number)}
            found += await context.kube.list(PODS, meta.namespace, labels)
    return found


Place = tuple[Stage, StageStatus] | None


def _add_job(family: Family, job: Object, run: Run, place: Place, now: datetime) -> None:
    if place is not None and place[1].state is StageState.RUNNING:
        family.runs[place[0]] = run
    elif not _ended(job) and not _winding_up(place, now):
        family.strays.append(child_of(job))


def _ended(job: Object) -> bool:
    return not jobfacts.conditions_of(job).keys().isdisjoint(("Complete", "Failed"))


def _winding_up(place: Place, now: datetime) -> bool:
    """A stage is over when its manifest is committed; its pod gets a moment to end by itself and keep its log."""
    entry = place[1] if place is not None else None
    if entry is None or entry.state is not StageState.SUCCEEDED or entry.finished_at is None:
        return False
    return (now - parse_time(entry.finished_at)).total_seconds() < _WIND_UP_SECONDS


def _pods_of(job: Object, pods: list[Object]) -> list[Object]:
    """Pods of a Job by our own labels: stage and attempt."""
    wanted = {k: labels_of(job).get(k) for k in (LABEL_STAGE, LABEL_ATTEMPT)}
    return [p for p in pods if all(labels_of(p).get(k) == v for k, v in wanted.items())]


def _add_pool(family: Family, pool: Object, place: Place) -> None:
    if place is None or place[1].state in (StageState.WAITING, StageState.FAILED, StageState.SKIPPED):
        family.strays.append(child_of(pool))
        return
    stage, entry = place
    parsed = _parsed(pool, RolloutPoolSpec, RolloutPoolStatus)
    if entry.child is not None or entry.state is StageState.RUNNING:  # not of one that was let go
        _add_account(family, stage, entry, pool, parsed[1] if parsed else None)
    if parsed is None:
        family.runs[stage] = Run(child_of(pool), RunState.STARTING, "its status was written by another release", True)
        return
    family.runs[stage] = pool_run(pool, parsed[1])


def _add_rljob(family: Family, rljob: Object, place: Place) -> None:
    parsed = _parsed(rljob, RLJobSpec, RLJobStatus)
    finished = parsed is not None and parsed[1].finished_at is not None
    if place is None or (place[1].state is not StageState.RUNNING and not finished):
        family.strays.append(child_of(rljob))
        return
    stage, entry = place
    if entry.state is StageState.RUNNING:
        _add_account(family, stage, entry, rljob, parsed[1] if parsed else None)
    if parsed is None:
        family.runs[stage] = Run(child_of(rljob), RunState.RUNNING, "its status was written by another release", True)
        return
    spec, status = parsed
    family.runs[stage] = rljob_run(rljob, status)
    if entry.state is StageState.RUNNING:
        family.trainings[stage] = Training(spec, status.running_since is not None)
        if status.manifest is not None:
            family.trained[stage] = status.manifest


def _add_account(family: Family, stage: Stage, entry: StageStatus, child: Object, found: GpuAccount | None) -> None:
    """What a child has spent; as it was seen last where another release wrote it. Nothing of one without GPUs."""
    uid = child["metadata"]["uid"]
    if found is None and entry.held is not None and entry.held.uid == uid:
        family.accounts[stage] = entry.held
    elif found is not None and (found.held_gpus or found.gpu_seconds is not None):
        family.accounts[stage] = ChildAccount(
            uid=uid, gpu_seconds=found.gpu_seconds, held_gpus=found.held_gpus, held_since=found.held_since
        )


Sp = TypeVar("Sp", bound=ApiModel)
St = TypeVar("St", bound=StatusModel)


def _parsed(obj: Object, spec: type[Sp], status: type[St]) -> tuple[Sp, St] | None:
    """Spec and status of one of our own kinds; None where another release, or a stranger, wrote them."""
    try:
        return spec.model_validate(obj["spec"]), status.model_validate(obj.get("status") or {})
    except ValidationError:
        return None


def pool_run(pool: Object, status: RolloutPoolStatus) -> Run:
    """A pool by its conditions, once they answer its newest spec."""
    child = child_of(pool)
    fresh = status.observed_generation == pool["metadata"].get("generation", status.observed_generation)
    if fresh and _is_true(status.conditions, ConditionType.READY):
        return Run(child, RunState.RUNNING)
    text, reason = _said(status.conditions, status.progress or "the pool is starting")
    stalled = _is_true(status.conditions, ConditionType.STALLED)
    if fresh and stalled and reason is Reason.FAILED:
        return Run(child, RunState.ENDED, ended=Ended(status.cause or Cause.APP, "PoolFailed", text))
    state = RunState.QUEUED if fresh and status.queued_since is not None else RunState.STARTING
    return Run(child, state, text, stalled, reason)


def rljob_run(rljob: Object, status: RLJobStatus) -> Run:
    """An RLJob, which watches over its own attempts."""
    child, holds = child_of(rljob), status.finished_at is None or status.child is not None
    if status.finished_at is None:
        text, reason = _said(status.conditions, status.progress or "starting")
        stalled = _is_true(status.conditions, ConditionType.STALLED)
        return Run(child, RunState.RUNNING, text, stalled, reason, holds=holds)
    if status.manifest is not None:
        return Run(child, RunState.SUCCEEDED, holds=holds)
    last = status.attempts[-1] if status.attempts else None
    said = find_condition(status.conditions, ConditionType.READY)
    ended = Ended(last.cause if last else Cause.APP, "RLJobFailed", said.message if said else "the RLJob failed")
    return Run(child, RunState.ENDED, ended=ended, holds=holds)


def _said(conditions: list[Condition], progress: str) -> tuple[str, Reason]:
    """What one of our own kinds says of itself, and in which word: refusals stand in conditions only."""
    ready = find_condition(conditions, ConditionType.READY)
    if ready is None or ready.reason not in set(Reason):
        return progress, Reason.STARTING
    return ready.message if ready.reason in REFUSALS else progress, Reason(ready.reason)


def _is_true(conditions: list[Condition], kind: ConditionType) -> bool:
    found = find_condition(conditions, kind)
    return found is not None and found.status == "True"
