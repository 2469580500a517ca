"""Retries by cause class (law 7): what counts, what is final, how long to wait.

A failure of the program uses up a retry. Free attempts are bounded by what they bring: five in a row that commit
nothing new are the same failure five times, whoever is to blame; an attempt that got further is never counted out. Who
waits for hardware or for an endpoint is bounded by the wall clock alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel_api.base import format_time
from flywheel_api.causes import FINAL_CAUSES, FREE_RETRIES, Cause
from flywheel_api.common import ATTEMPTS_KEPT, AttemptStatus
from flywheel_api.conditions import Reason, truncate
from flywheel_api.ends import End
from flywheel_operator.model import Ended, Timings

FRUITLESS_LIMIT = 5
SHAPE_CHANGED = "ShapeChanged"
_NO_ROOM = frozenset({End.STARTUP_TIMEOUT, End.NOT_ENOUGH_GPUS})
"""Of Capacity, what says that the nodes had no room; an attempt that was never made has asked none."""
_WAITS = frozenset({Cause.CAPACITY, Cause.ENDPOINT})


@dataclass(frozen=True)
class Tries:
    """What lies behind: `failures` used up a retry; `fruitless` free attempts in a row brought nothing new."""

    failures: int = 0
    fruitless: int = 0


@dataclass(frozen=True)
class Verdict:
    """What follows from an ended attempt: another one, or the end for `reason`."""

    again: bool
    tries: Tries
    why: str = ""
    reason: Reason = Reason.RETRIES_EXHAUSTED


def judge(ended: Ended, before: Tries, progressed: bool, limit: int) -> Verdict:
    """Whether to try again. `progressed`: the attempt committed what was not there before."""
    fruitless = 0 if progressed else before.fruitless
    if ended.cause in FINAL_CAUSES:
        reason = Reason.BUDGET_EXHAUSTED if ended.cause is Cause.BUDGET else Reason.FAILED
        why = f"{ended.cause.value} cannot be mended by another attempt"
        return Verdict(False, Tries(before.failures + 1, fruitless), why, reason)
    if ended.cause not in FREE_RETRIES:
        used = before.failures + 1
        why = f"retries.limit {limit} is used up" if used > limit else ""
        return Verdict(not why, Tries(used, fruitless), why)
    if progressed or ended.cause in _WAITS or ended.reason == SHAPE_CHANGED:
        return Verdict(True, Tries(before.failures, fruitless))
    tries = Tries(before.failures, fruitless + 1)
    if tries.fruitless < FRUITLESS_LIMIT:
        return Verdict(True, tries)
    why = f"{tries.fruitless} attempts in a row that used up no retry brought nothing new: mend what ended them first"
    return Verdict(False, tries, why, Reason.NO_PROGRESS)


def back_off(uid: str, stage: str, attempt: int, ended: Ended, tries: Tries, times: Timings) -> timedelta:
    """Exponential with jitter of ±20 %, a function of facts so that the plan stays pure.

    It grows with what lies behind, so that whoever gets further does not wait. The first retry after lost
    infrastructure comes at once: nothing was wrong with the program.
    """
    behind = attempt if ended.cause in _WAITS else tries.failures + tries.fruitless
    if ended.cause in (Cause.PREEMPTED, Cause.INFRA) and behind <= 1:
        return timedelta(0)
    seconds = min(times.back_off_limit, times.back_off * 2 ** min(max(behind - 1, 0), 16))
    draw = hashlib.sha256(f"{uid}/{stage}/{attempt}".encode()).digest()[0] / 255
    return timedelta(seconds=seconds * (0.8 + 0.4 * draw))


def remember(
    attempts: Sequence[AttemptStatus],
    stage: str | None,
    attempt: int,
    ended: Ended,
    started_at: str | None,
    resumed_from_step: int | None,
    now: datetime,
    log: str | None,
) -> list[AttemptStatus]:
    """The last few attempts with this one added."""
    entry = AttemptStatus(
        stage=stage,
        attempt=attempt,
        cause=ended.cause,
        reason=ended.reason,
        message=truncate(ended.message, 512),
        node=ended.node,
        started_at=started_at,
        finished_at=format_time(now),
        resumed_from_step=resumed_from_step,
        log=log,
    )
    return [*attempts, entry][-ATTEMPTS_KEPT:]


def bad_nodes(attempts: Sequence[AttemptStatus]) -> tuple[str, ...]:
    """Nodes that the next attempt avoids. Where the others had no room, all are taken again."""
    found: dict[str, None] = {}
    for entry in reversed(attempts):
        if entry.cause is Cause.CAPACITY and entry.reason in _NO_ROOM:
            break
        if entry.node:
            found[entry.node] = None
    return tuple(found)
