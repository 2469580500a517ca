"""One attempt's life, the same for a stage's Job and an RLJob's RayJob: what is seen of it, and so where it stands.

    Missing -> Starting -> Running -> Awaiting -> Committed
                    \\________\\_________\\___ Over

A commit ends an attempt well whatever its child says (law 5); what the program itself wrote counts before what its pods
show, and that before what was inferred from their silence (law 7).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.common import ChildRef
from flywheel_api.conditions import Reason
from flywheel_api.ends import End
from flywheel_operator.model import Ended, Record, Run, RunState


@dataclass(frozen=True)
class Attempt:
    """What status says of the current attempt. `awaited_since`: the child had ended well, its manifest was missing."""

    started: datetime
    child: ChildRef | None = None
    running_since: datetime | None = None
    awaited_since: datetime | None = None


@dataclass(frozen=True)
class Limits:
    """How long what may take."""

    startup: timedelta
    stall: timedelta
    manifest_grace: timedelta


@dataclass(frozen=True)
class Missing:
    """The child is not there yet: the intent was written, the effect has to follow."""


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


Standing = Missing | Starting | Running | Awaiting | Committed | Over


def stand(attempt: Attempt, run: Run | None, record: Record, limits: Limits, now: datetime) -> Standing:
    """Where the attempt stands."""
    if record.manifest is not None:
        return Committed()
    if record.failure is not None:
        failure = record.failure
        return Over(Ended(failure.cause, failure.reason, failure.message, failure.node))
    if record.problem is not None:
        return Over(Ended(Cause.APP, Reason.MANIFEST_INVALID, record.problem))
    if run is None:
        return _without_child(attempt)
    if run.ended is not None:
        return Over(run.ended)
    if run.state is RunState.SUCCEEDED:
        return _without_manifest(attempt, run, limits, now)
    if run.state is RunState.QUEUED:
        return Starting(run)  # whoever holds it back may take their time: no clock runs (law 8)
    if run.state is RunState.STARTING:
        return _starting(attempt, run, record, limits, now)
    return _running(attempt, run, record, limits, now)


def _without_child(attempt: Attempt) -> Standing:
    if attempt.child is None:
        return Missing()
    return Over(
        Ended(Cause.INFRA, "ChildLost", f"{attempt.child.kind} {attempt.child.name} was deleted by somebody else")
    )


def _without_manifest(attempt: Attempt, run: Run, limits: Limits, now: datetime) -> Standing:
    since = attempt.awaited_since or now
    if now - since <= limits.manifest_grace:
        return Awaiting(run, since)
    text = f"{run.child.kind} {run.child.name} ended well but committed nothing to the store"
    return Over(Ended(Cause.APP, "ManifestMissing", text))


def _starting(attempt: Attempt, run: Run, record: Record, limits: Limits, now: datetime) -> Standing:
    alive = max(attempt.started, record.advanced_at or attempt.started)  # bytes of a model that is fetched
    if now - alive <= limits.startup:
        return Starting(run)
    why = run.text or "no reason was given"
    text = f"not running {limits.startup.total_seconds():.0f} s after its start: {why}"
    return Over(Ended(run.late, End.STARTUP_TIMEOUT, text))


def _running(attempt: Attempt, run: Run, record: Record, limits: Limits, now: datetime) -> Standing:
    last = max(attempt.running_since or attempt.started, record.advanced_at or attempt.started)
    if now - last <= limits.stall:
        return Running(run)
    text = f"no progress since {format_time(last)}, longer than {limits.stall.total_seconds():.0f} s"
    return Over(Ended(Cause.STALLED, "NoProgress", text))
