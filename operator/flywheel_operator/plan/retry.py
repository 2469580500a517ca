"""Retries by cause class (law 7): what counts, what is final, how long to wait."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel_api.base import format_time
from flywheel_api.causes import FINAL_CAUSES, FREE_RETRIES, Cause
from flywheel_api.common import ATTEMPTS_KEPT, AttemptStatus
from flywheel_api.conditions import truncate
from flywheel_operator.model import Ended, Timings

FREE_LIMIT = 50
"""Attempts in all, free retries included: at full back-off about four hours of outage; then a person should look."""


@dataclass(frozen=True)
class Verdict:
    """What follows from an ended attempt."""

    again: bool
    failures: int
    why: str = ""


def judge(ended: Ended, failures: int, attempt: int, limit: int) -> Verdict:
    """Whether to try again. `failures` counts the attempts before this one that used up a retry."""
    if ended.cause in FINAL_CAUSES:
        return Verdict(False, failures + 1, f"{ended.cause.value} cannot be mended by another attempt")
    if ended.cause in FREE_RETRIES:
        if attempt >= FREE_LIMIT:
            return Verdict(False, failures, f"{attempt} attempts were made, the last ended by {ended.cause.value}")
        return Verdict(True, failures)
    used = failures + 1
    if used > limit:
        return Verdict(False, used, f"retries.limit {limit} is used up")
    return Verdict(True, used)


def back_off(uid: str, stage: str, attempt: int, ended: Ended, times: Timings) -> timedelta:
    """Exponential with jitter of ±20 %, a function of facts so that the plan stays pure.

    The first retry after lost infrastructure comes at once: nothing was wrong with the program.
    """
    if ended.cause in (Cause.PREEMPTED, Cause.INFRA) and attempt <= 1:
        return timedelta(0)
    seconds = min(times.back_off_limit, times.back_off * 2 ** min(attempt - 1, 16))
    draw = hashlib.sha256(f"{uid}/{stage}/{attempt}".encode()).digest()[0] / 255
    return timedelta(seconds=seconds * (0.8 + 0.4 * draw))


def remember(
    attempts: list[AttemptStatus],
    stage: str | None,
    attempt: int,
    ended: Ended,
    started_at: str | None,
    resumed_from_step: int | None,
    now: datetime,
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
    )
    return [*attempts, entry][-ATTEMPTS_KEPT:]
