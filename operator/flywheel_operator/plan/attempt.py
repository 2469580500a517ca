"""One attempt's life, the same for a stage's Job and an RLJob's RayJob: what is seen of it, and so where it stands.

    Missing -> Queued <-> Starting -> Running -> Awaiting -> Committed
                   \\________\\_________\\___ Over

A commit ends an attempt well whatever its child says (law 5); what the program itself wrote counts before what its pods
show, and that before what was inferred from their silence (law 7). While somebody holds the child back no clock runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel_api.artifacts import Failure
from flywheel_api.base import format_duration, format_time
from flywheel_api.causes import Cause
from flywheel_api.common import ChildRef
from flywheel_api.conditions import Reason
from flywheel_api.ends import End
from flywheel_operator.model import Ended, Problem, Record, Run, RunState


@dataclass(frozen=True)
class Attempt:
    """What status says of the current attempt.

    `started`: since when its pods may start. `awaited_since`: the child had ended well, its manifest was missing.
    `refusal`: why the API server does not take the child. `queued`: so it was held back at the last look. `seen`: what
    a pod showed of its end while the program still ran; the pod may be gone by now.
    """

    started: datetime
    child: ChildRef | None = None
    running_since: datetime | None = None
    awaited_since: datetime | None = None
    refusal: Problem | None = None
    queued: bool = False
    seen: Ended | None = None


@dataclass(frozen=True)
class Limits:
    """How long what may take; `creation` is the time from the intent to a child that the API server takes."""

    creation: timedelta
    startup: timedelta
    stall: timedelta
    manifest_grace: timedelta


@dataclass(frozen=True)
class Missing:
    """The child is not there yet: the intent was written, the effect has to follow.

    `queued`: a quota keeps it out. It is tried again and again, and its clock begins when it gets in.
    """

    queued: bool = False


@dataclass(frozen=True)
class Queued:
    """Somebody holds the child back: it keeps its place, and its clocks begin anew when it is let go."""

    run: Run


@dataclass(frozen=True)
class Starting:
    """The child is there, its pods do not run yet."""

    run: Run


@dataclass(frozen=True)
class Running:
    """The program runs and makes progress."""

    run: Run


@dataclass(frozen=True)
class Awaiting:
    """The child has ended well; a store may show the manifest a little later."""

    run: Run
    since: datetime


@dataclass(frozen=True)
class Committed:
    """The result is there and verified."""


@dataclass(frozen=True)
class Over:
    """The attempt has ended without a result."""

    ended: Ended


Standing = Missing | Queued | Starting | Running | Awaiting | Committed | Over
LONGEST_PAUSE = 30.0  # seconds between two looks, where a watch tells of all that hurries


def pause(moved: datetime, now: datetime, poll: float) -> float:
    """Seconds until the next look at progress that last moved at `moved`: no watch tells of what is in the store.

    Half of the time that it stands still, so that a move or a stall is seen late by no more than half of what it took.
    """
    return max(poll, min(LONGEST_PAUSE, (now - moved).total_seconds() / 2))


def begins(run: Run, started: datetime, now: datetime, poll: float) -> bool:
    """Whether a child has only just been made and nothing is wrong: what it says now, it says for a moment."""
    return run.reason is Reason.STARTING and not run.refused and (now - started).total_seconds() < poll


def stand(attempt: Attempt, run: Run | None, record: Record, limits: Limits, now: datetime) -> Standing:
    """Where the attempt stands."""
    if record.manifest is not None:
        return Committed()
    if record.failure is not None and not _of_before(record.failure, run):
        return Over(_told(record.failure, run, attempt.seen))
    if record.problem is not None:
        return Over(Ended(Cause.APP, Reason.MANIFEST_INVALID, record.problem))
    if run is None:
        return _without_child(attempt, limits, now)
    if run.ended is not None:
        return Over(_known(run.ended, run, attempt.seen))
    match run.state:
        case RunState.QUEUED:
            return Queued(run)
        case RunState.SUCCEEDED:
            return _without_manifest(attempt, run, limits, now)
        case RunState.STARTING:
            return _starting(attempt, run, record, limits, now)
    return _running(attempt, run, record, limits, now)


def _of_before(failure: Failure, run: Run | None) -> bool:
    """Whether pods that a queue took away told it: they were asked to stop, and will run again."""
    waits = run is not None and run.state in (RunState.QUEUED, RunState.STARTING)
    return waits and failure.cause is Cause.PREEMPTED


def _told(failure: Failure, run: Run | None, seen: Ended | None) -> Ended:
    """What the program told."""
    return _known(Ended(failure.cause, failure.reason, failure.message, failure.node), run, seen)


def _known(ended: Ended, run: Run | None, seen: Ended | None) -> Ended:
    """That a head or a worker was lost is a symptom: where the pods know why, or knew before they went, they count."""
    if ended.reason not in (End.HEAD_LOST, End.NODE_LOST):
        return ended
    facts = (run.evidence, run.ended, seen) if run is not None else (seen,)
    return next((e for e in facts if e is not None and e.cause is not Cause.INFRA), ended)


def _without_child(attempt: Attempt, limits: Limits, now: datetime) -> Standing:
    if attempt.child is not None:
        text = f"{attempt.child.kind} {attempt.child.name} was deleted by somebody else"
        return Over(Ended(Cause.INFRA, "ChildLost", text))
    if attempt.refusal.queued if attempt.refusal else attempt.queued:
        return Missing(queued=True)
    if attempt.refusal and now - attempt.started > limits.creation:
        return Over(not_created(attempt.refusal, limits.creation))
    return Missing()


def not_created(refusal: Problem, limit: timedelta) -> Ended:
    """The API server has not taken a child for so long: whoever is to blame, this attempt is over."""
    text = f"the API server did not take it for {format_duration(limit)}: {refusal.message}"
    return Ended(Cause.CAPACITY, "NotCreated", text)


def _without_manifest(attempt: Attempt, run: Run, limits: Limits, now: datetime) -> Standing:
    since = attempt.awaited_since or now
    if now - since <= limits.manifest_grace:
        return Awaiting(run, since)
    text = f"{run.child.kind} {run.child.name} ended well but committed nothing to the store"
    return Over(Ended(Cause.APP, "ManifestMissing", text))


def _starting(attempt: Attempt, run: Run, record: Record, limits: Limits, now: datetime) -> Standing:
    if attempt.running_since is not None:
        return Over(_lost_head(run))
    alive = max(attempt.started, record.advanced_at or attempt.started)  # bytes of a model that is fetched
    if now - alive <= limits.startup:
        return Starting(run)
    why = run.text or "no reason was given"
    text = f"not running {format_duration(limits.startup)} after its start: {why}"
    return Over(_shown(run) or Ended(run.late, End.STARTUP_TIMEOUT, text))


def _lost_head(run: Run) -> Ended:
    """It ran, and it starts again: not by us. Waiting for a node is what follows from a loss, never its cause."""
    if run.evidence is not None and run.evidence.cause is not Cause.CAPACITY:
        return run.evidence
    why = f": {run.text}" if run.text else ""
    text = f"the head of {run.child.kind} {run.child.name} was lost, a new one starts{why}"
    return Ended(Cause.INFRA, End.HEAD_LOST, text)


def _running(attempt: Attempt, run: Run, record: Record, limits: Limits, now: datetime) -> Standing:
    last = max(attempt.running_since or attempt.started, record.advanced_at or attempt.started)
    if now - last <= limits.stall:
        return Running(run)
    text = f"no progress since {format_time(last)}, longer than {format_duration(limits.stall)}"
    return Over(_shown(run) or Ended(Cause.STALLED, "NoProgress", text))


def _shown(run: Run) -> Ended | None:
    """A GPU that fails explains why nothing moves: what pods show counts before what their silence is taken for."""
    return run.evidence if run.evidence is not None and run.evidence.reason == End.GPU_FAULT else None
