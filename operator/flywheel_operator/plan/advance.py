"""One stage, one step: from what is seen of its child and its attempt to its next state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel_api.base import format_time, parse_time
from flywheel_api.causes import Cause
from flywheel_api.common import ChildRef
from flywheel_api.conditions import Reason
from flywheel_api.round import StageState, StageStatus
from flywheel_api.stages import Runs, StageDef
from flywheel_operator.plan import outcome, texts
from flywheel_operator.plan.graph import CHILD_KIND, child_name_of
from flywheel_operator.plan.retry import back_off, judge
from flywheel_operator.plan.types import Act, Action, Ended, Meta, Record, Run, RunState, Timings, delete


@dataclass(frozen=True)
class Step:
    """The next state of a stage. `ended` is set when an attempt ended; `final` when the stage has failed for good."""

    status: StageStatus
    actions: tuple[Action, ...] = ()
    ended: Ended | None = None
    final: str = ""
    blocked: bool = False


@dataclass(frozen=True)
class View:
    """What a step may look at."""

    meta: Meta
    now: datetime
    times: Timings
    run: Run | None
    record: Record
    gpus: int = 0


def start(definition: StageDef, status: StageStatus, view: View) -> Step:
    """The next attempt: the number goes to status before the child exists."""
    attempt = status.attempt + 1
    moment = format_time(view.now)
    new = status.model_copy(
        update={
            "state": StageState.RUNNING,
            "attempt": attempt,
            "started_at": status.started_at or moment,
            "attempt_started_at": moment,
            "finished_at": None,
            "not_before": None,
            "child": None,
            "progress": f"{definition.stage} starting",
        }
    )
    return Step(new, (create(definition, view.meta, attempt),))


def create(definition: StageDef, meta: Meta, attempt: int) -> Action:
    """Creation of a stage's child."""
    name = child_name_of(meta, definition.stage, attempt)
    return Action(Act.CREATE, CHILD_KIND[definition.runs], name, definition.stage, attempt)


def advance(definition: StageDef, status: StageStatus, view: View) -> Step:
    """One step of a running attempt."""
    run, record = view.run, view.record
    if record.progress is not None:
        status = status.model_copy(update={"tokens": outcome.spent(status.tokens, record.progress.tokens)})
    if definition.runs is not Runs.POOL and record.manifest is not None and record.digest is not None:
        return _succeed(status, view)
    if (
        definition.runs is Runs.JOB
        and record.failure is not None
        and (run is None or run.state is not RunState.RUNNING)
    ):
        # the pod writes its cause just before it ends; while it runs, a shard's failure is not yet the Job's
        failure = record.failure
        return close(definition, status, view, Ended(failure.cause, failure.reason, failure.message))
    if record.problem is not None:
        return close(definition, status, view, Ended(Cause.APP, Reason.MANIFEST_INVALID, record.problem))
    if run is None:
        if status.child is None:
            return Step(status, (create(definition, view.meta, status.attempt),))
        lost = f"{status.child.kind} {status.child.name} was deleted by somebody else"
        return close(definition, status, view, Ended(Cause.INFRA, "ChildLost", lost))
    status = status.model_copy(update={"child": ChildRef(kind=run.child.kind, name=run.child.name)})
    if run.ended is not None:
        return close(definition, status, view, run.ended)
    if definition.runs is Runs.POOL:
        return _pool(status, run)
    if run.state is RunState.SUCCEEDED:
        return _without_manifest(definition, status, view)
    if run.state is RunState.STARTING:
        return _starting(definition, status, view, run)
    return _running(definition, status, view, run)


def _pool(status: StageStatus, run: Run) -> Step:
    if run.state is RunState.RUNNING:
        done = {"state": StageState.SUCCEEDED, "finished_at": None, "progress": run.waiting or "serving"}
        return Step(status.model_copy(update=done))
    return Step(status.model_copy(update={"progress": f"{status.name}: {run.waiting}"[:256]}), blocked=run.refused)


def _succeed(status: StageStatus, view: View) -> Step:
    manifest = view.record.manifest
    assert manifest is not None
    tokens = {u.role: u.prompt_tokens + u.completion_tokens for u in manifest.usage.roles}
    changes = outcome.counted(manifest) | {
        "tokens": outcome.spent(status.tokens, tokens),
        "state": StageState.SUCCEEDED,
        "finished_at": format_time(view.now),
        "manifest": view.record.digest,
        "progress": None,
        "progress_at": None,
    }
    return Step(status.model_copy(update=changes))


def _without_manifest(definition: StageDef, status: StageStatus, view: View) -> Step:
    """The pod ended well and no manifest is there: wait a little, since a store may show it late."""
    since = parse_time(status.progress_at) if status.progress == _AWAITED and status.progress_at else None
    if since is None:
        waiting = {"progress": _AWAITED, "progress_at": format_time(view.now)}
        return Step(status.model_copy(update=waiting))
    if view.now - since < timedelta(seconds=view.times.manifest_grace):
        return Step(status)
    text = f"the child of {status.name} ended well but committed no manifest to the store"
    return close(definition, status, view, Ended(Cause.APP, "ManifestMissing", text))


_AWAITED = "ended; its manifest is awaited"


def _starting(definition: StageDef, status: StageStatus, view: View, run: Run) -> Step:
    began = parse_time(status.attempt_started_at or format_time(view.now))
    if definition.runs is Runs.JOB and view.now - began > timedelta(seconds=view.times.stage_startup):
        text = f"not running {view.times.stage_startup:.0f} s after its start: {run.waiting or 'no reason was given'}"
        return close(definition, status, view, Ended(Cause.CAPACITY, "StartupTimeout", text))
    text = f"{status.name}: {run.waiting}" if run.waiting else f"{status.name} starting"
    return Step(status.model_copy(update={"progress": text[:256]}), blocked=run.refused)


def _running(definition: StageDef, status: StageStatus, view: View, run: Run) -> Step:
    progress = view.record.progress
    if definition.runs is Runs.RLJOB:
        return Step(status.model_copy(update={"progress": run.waiting[:256]}))
    began = parse_time(status.attempt_started_at or format_time(view.now))
    last = max(began, parse_time(progress.updated_at)) if progress else began
    if view.now - last > timedelta(seconds=view.times.stage_stall):
        text = f"no progress since {format_time(last)}, longer than {view.times.stage_stall:.0f} s"
        return close(definition, status, view, Ended(Cause.STALLED, "NoProgress", text))
    return Step(status.model_copy(update={"progress": texts.stage(status.name, progress)[:256]}))


def close(definition: StageDef, status: StageStatus, view: View, ended: Ended) -> Step:
    """An attempt ended without a result. RLJobs have retried by themselves: their failure is the stage's."""
    limit = view.times.stage_retries
    verdict = judge(ended, status.failures, status.attempt, limit)
    final = verdict.why
    if definition.runs is Runs.RLJOB and ended.reason != "ChildLost":
        final = final or "the RLJob has used its own retries"
    actions = (delete(view.run.child),) if view.run is not None and _still_runs(definition, view.run) else ()
    changes: dict[str, object] = {"failures": verdict.failures, "child": None}
    if final:
        changes |= {"state": StageState.FAILED, "finished_at": format_time(view.now), "progress": ended.message[:256]}
        return Step(status.model_copy(update=changes), actions, ended, final)
    due = format_time(view.now + back_off(view.meta.uid, status.name, status.attempt, ended, view.times))
    text = f"{status.name}: attempt {status.attempt} ended by {ended.cause.value}, the next starts at {due}"
    changes |= {"state": StageState.WAITING, "not_before": due, "progress": text[:256]}
    return Step(status.model_copy(update=changes), actions, ended)


def _still_runs(definition: StageDef, run: Run) -> bool:
    """What ended by itself stays, with its logs; a pool, or what we end, goes."""
    return not run.child.deleting and (definition.runs is Runs.POOL or run.ended is None)
