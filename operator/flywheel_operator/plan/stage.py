"""One stage, one step: its next attempt, what its running attempt came to, or a result that is there already."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flywheel_api.artifacts import Manifest
from flywheel_api.base import format_time, parse_time
from flywheel_api.causes import Cause
from flywheel_api.common import ChildRef, ReusedFrom
from flywheel_api.conditions import Reason
from flywheel_api.round import StageState, StageStatus
from flywheel_api.stages import Runs, Stage, StageDef
from flywheel_operator.model import (
    Act,
    Action,
    Content,
    Ended,
    Meta,
    Problem,
    Record,
    Run,
    RunState,
    Timings,
    Training,
    delete,
)
from flywheel_operator.plan import attempt, graph, results, texts
from flywheel_operator.plan.retry import SHAPE_CHANGED, Tries, back_off, judge

_OWN_LIMITS = timedelta(days=36500)  # an RLJob watches over its own attempts
_SUPERSEDED = "training's shape was changed: the next attempt takes it and goes on from the last checkpoint"


@dataclass(frozen=True)
class Step:
    """The next state of a stage. `ended` is set when an attempt ended; `final` when the stage has failed for good.

    `said` is the reason of a condition where it is another one than that the stage runs.
    """

    status: StageStatus
    actions: tuple[Action, ...] = ()
    ended: Ended | None = None
    final: str = ""
    reason: Reason = Reason.FAILED
    said: Reason | None = None


@dataclass(frozen=True)
class View:
    """What a step may look at. `wanted` is the RLJob that would be created now, `refusal` why no child is taken."""

    meta: Meta
    now: datetime
    times: Timings
    run: Run | None
    record: Record
    content: Content | None = None
    training: Training | None = None
    wanted: Training | None = None
    refusal: Problem | None = None


def start(definition: StageDef, status: StageStatus, view: View) -> Step:
    """The next attempt: its number and what it is made of go to status before the child exists."""
    return resume(definition, status.model_copy(update={"attempt": status.attempt + 1}), view)


def resume(definition: StageDef, status: StageStatus, view: View) -> Step:
    """The same attempt from its beginning: a pool that was let go comes back under its name."""
    moment = format_time(view.now)
    new = status.model_copy(
        update={
            "state": StageState.RUNNING,
            "started_at": status.started_at or moment,
            "attempt_started_at": moment,
            "starting_since": moment,
            "queued_since": None,
            "finished_at": None,
            "not_before": None,
            "awaited_since": None,
            "child": None,
            "content_key": view.content.key if view.content else None,
            "progress": f"{definition.stage} starting",
        }
    )
    return Step(new, (create(definition, view.meta, new.attempt),))


def create(definition: StageDef, meta: Meta, number: int) -> Action:
    """Creation of a stage's child."""
    name = graph.child_of(meta, definition.stage, number)
    return Action(Act.CREATE, graph.CHILD_KIND[definition.runs], name, definition.stage, number)


def reuse(status: StageStatus, view: View) -> Step:
    """Takes over a result that is in the store already. What it cost was spent by its maker."""
    assert view.record.manifest is not None and view.content is not None
    moment = format_time(view.now)
    taken = status.model_copy(update={"started_at": status.started_at or moment, "content_key": view.content.key})
    return Step(_committed(taken, view, view.record.manifest))


def to_greet(status: StageStatus, view: View) -> bool:
    """Whether a Prepare that others made has yet to ask this round's endpoints: its Job does, and then names it."""
    manifest, progress = view.record.manifest, view.record.progress
    if status.name != Stage.PREPARE or manifest is None or results.made_by(manifest, view.meta, status):
        return False
    asked = progress is not None and progress.manifest is not None
    return not asked and not (view.run is not None and view.run.state is RunState.SUCCEEDED)


def advance(definition: StageDef, status: StageStatus, view: View) -> Step:
    """One step of a running attempt."""
    current = attempt.Attempt(
        started=parse_time(status.starting_since) if status.starting_since else view.now,
        child=status.child,
        awaited_since=parse_time(status.awaited_since) if status.awaited_since else None,
        refusal=view.refusal,
        queued=status.queued_since is not None,
    )
    began = status.starting_since or format_time(view.now)
    record = replace(view.record, manifest=None) if to_greet(status, view) else view.record
    match attempt.stand(current, view.run, record, _limits(definition, view.times), view.now):
        case attempt.Committed():
            assert view.record.manifest is not None
            return Step(_committed(status, view, view.record.manifest))
        case attempt.Over(ended):
            return close(definition, status, view, ended)
        case attempt.Missing(queued):
            step = _kept_out(status, view) if queued else Step(_clocks(status, starting_since=began))
            return replace(step, actions=(create(definition, view.meta, status.attempt),))
        case attempt.Awaiting(run, since):
            changes = {"awaited_since": format_time(since), "progress": "ended; its manifest is awaited"}
            return Step(_with_child(status, run, **changes))
        case attempt.Queued(run):
            held = status.queued_since or format_time(view.now)
            return _waits(status, run, starting_since=None, queued_since=held)
        case attempt.Starting(run) if definition.runs is Runs.JOB and attempt.begins(
            run, current.started, view.now, view.times.poll
        ):  # what holds hardware is written down as soon as it is seen: one that is lost is never made again unseen
            return Step(_clocks(status, starting_since=began))
        case attempt.Starting(run):
            return _waits(status, run, starting_since=began, queued_since=None)
        case attempt.Running(run):
            clocks = {"starting_since": began, "queued_since": None}
            return _running(definition, status.model_copy(update=clocks), view, run)


def _clocks(status: StageStatus, starting_since: str | None = None, queued_since: str | None = None) -> StageStatus:
    return status.model_copy(update={"starting_since": starting_since, "queued_since": queued_since})


def _kept_out(status: StageStatus, view: View) -> Step:
    """A quota does not let the child in: it is queued as if its pods were."""
    held = _clocks(status, queued_since=status.queued_since or format_time(view.now))
    if view.refusal is None:  # not tried yet since the operator's start
        return Step(held, said=Reason.QUEUED)
    text = f"{status.name}: {view.refusal.message}"
    return Step(held.model_copy(update={"progress": text[:256]}), said=view.refusal.reason)


def _waits(status: StageStatus, run: Run, **clocks: str | None) -> Step:
    """The child's pods do not run: they start, or somebody holds them back."""
    text = f"{status.name}: {run.text}" if run.text else f"{status.name} starting"
    return Step(_with_child(status, run, progress=text[:256], **clocks), said=_said(run))


def _said(run: Run) -> Reason | None:
    if run.refused:
        return Reason.POD_REFUSED
    if run.reason is Reason.API_REFUSES:
        return Reason.API_REFUSES
    return Reason.QUEUED if run.state is RunState.QUEUED or run.reason is Reason.QUEUED else None


def _limits(definition: StageDef, times: Timings) -> attempt.Limits:
    grace, startup = timedelta(seconds=times.manifest_grace), timedelta(seconds=times.stage_startup)
    if definition.runs is not Runs.JOB:
        return attempt.Limits(startup, _OWN_LIMITS, _OWN_LIMITS, grace)
    return attempt.Limits(startup, startup, timedelta(seconds=times.stage_stall), grace)


def _running(definition: StageDef, status: StageStatus, view: View, run: Run) -> Step:
    if definition.runs is Runs.POOL:
        serving = {"state": StageState.SUCCEEDED, "finished_at": None, "progress": run.text or "serving"}
        return Step(_with_child(status, run, **serving))
    if definition.runs is Runs.JOB:
        return Step(_with_child(status, run, progress=texts.stage(status.name, view.record.progress)[:256]))
    if _outdated(view.training, view.wanted):
        return close(definition, status, view, Ended(Cause.SUPERSEDED, SHAPE_CHANGED, _SUPERSEDED))
    return Step(_with_child(status, run, progress=run.text[:256]), said=_said(run))


def _outdated(live: Training | None, wanted: Training | None) -> bool:
    """Whether an RLJob that is between attempts was made with another shape than it would be made with now."""
    return live is not None and wanted is not None and not live.running and _shape(live) != _shape(wanted)


def _shape(training: Training) -> dict[str, object]:
    """What a round may change of a live RLJob; all else of it is as it was made, whatever this release would make."""
    may_change = ("pod_template", "head_template", "retries", "stall_after", "startup_timeout", "tracking")
    return {name: getattr(training.spec, name) for name in may_change}


def _with_child(status: StageStatus, run: Run, **changes: object) -> StageStatus:
    child = ChildRef(kind=run.child.kind, name=run.child.name)
    return status.model_copy(update={"awaited_since": None, "child": child, **changes})


def _committed(status: StageStatus, view: View, manifest: Manifest) -> StageStatus:
    """The stage with its result. Whoever else made it is named, and what that cost is not this round's."""
    made_here = results.made_by(manifest, view.meta, status)
    spent = {u.role: u.prompt_tokens + u.completion_tokens for u in manifest.usage.roles} if made_here else {}
    maker = None if made_here else ReusedFrom(
        kind=manifest.owner.kind, name=manifest.owner.name, attempt=manifest.attempt
    )  # fmt: skip
    changes = results.counted(manifest) | {
        "tokens": results.tokens(status.tokens, spent),
        "state": StageState.SUCCEEDED,
        "finished_at": format_time(view.now),
        "manifest": view.record.digest,
        "reused_from": maker,
        "progress": None,
        "awaited_since": None,
    }
    return status.model_copy(update=changes)


def close(definition: StageDef, status: StageStatus, view: View, ended: Ended) -> Step:
    """An attempt ended without a result. RLJobs have retried by themselves: their failure is the stage's."""
    items = view.record.progress.items if view.record.progress else 0
    verdict = judge(ended, Tries(status.failures, status.fruitless), items > status.items, view.times.stage_retries)
    final = verdict.why
    if definition.runs is Runs.RLJOB and ended.reason not in ("ChildLost", "NotCreated", SHAPE_CHANGED):
        final = final or "the RLJob has used its own retries"
    actions = (delete(view.run.child),) if view.run is not None and _still_runs(definition, view.run) else ()
    changes: dict[str, object] = {
        "failures": verdict.tries.failures,
        "fruitless": verdict.tries.fruitless,
        "items": max(items, status.items),
        "child": None,
        "awaited_since": None,
    }
    if final:
        changes |= {"state": StageState.FAILED, "finished_at": format_time(view.now), "progress": ended.message[:256]}
        reason = verdict.reason if verdict.reason is Reason.NO_PROGRESS else Reason.FAILED
        return Step(status.model_copy(update=changes), actions, ended, final, reason)
    wait = back_off(view.meta.uid, status.name, status.attempt, ended, verdict.tries, view.times)
    due = format_time(view.now + wait)
    text = f"{status.name}: attempt {status.attempt} ended by {ended.cause.value}, the next starts at {due}"
    changes |= {"state": StageState.WAITING, "not_before": due, "progress": text[:256]}
    return Step(status.model_copy(update=changes), actions, ended)


def _still_runs(definition: StageDef, run: Run) -> bool:
    """What ended by itself stays, with its logs; a pool, or what we end, goes."""
    return not run.child.deleting and (definition.runs is Runs.POOL or run.state is not RunState.ENDED)
