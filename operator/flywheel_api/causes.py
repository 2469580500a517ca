"""Why an attempt ended: one class for every attempt (law 7), and how a pod tells it.

A container tells its cause in two places, so that one of them survives whatever happened: the exit code and
`failure.json` under its attempt in the store (see `artifacts.failure_key`). The operator falls back on facts of pods
and nodes.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import ClassVar


class Cause(StrEnum):
    """Cause classes; FREE_RETRIES and FINAL_CAUSES below say what each means for retries."""

    SUCCEEDED = "Succeeded"
    APP = "App"
    INFRA = "Infra"
    PREEMPTED = "Preempted"
    CAPACITY = "Capacity"
    VALIDATION = "Validation"
    BUDGET = "Budget"
    STALLED = "Stalled"
    SUPERSEDED = "Superseded"
    ENDPOINT = "Endpoint"
    CANCELLED = "Cancelled"


class ExitCode(IntEnum):
    """Exit codes of every Flywheel entry point; 1 and anything unlisted is `Cause.APP`."""

    OK = 0
    APP = 1
    VALIDATION = 64  # EX_USAGE: the same input would fail again
    SUPERSEDED = 65  # another attempt has already committed
    HEAD_LOST = 66  # resubmitted by KubeRay after its head died (law 10)
    BUDGET = 67  # a token budget is used up
    STORE = 74  # EX_IOERR: the object store stayed away
    ENDPOINT = 75  # EX_TEMPFAIL: a model endpoint stayed away; finished items are journaled


CAUSE_OF_EXIT: dict[int, Cause] = {
    ExitCode.OK: Cause.SUCCEEDED,
    ExitCode.APP: Cause.APP,
    ExitCode.VALIDATION: Cause.VALIDATION,
    ExitCode.SUPERSEDED: Cause.SUPERSEDED,
    ExitCode.HEAD_LOST: Cause.INFRA,
    ExitCode.BUDGET: Cause.BUDGET,
    ExitCode.STORE: Cause.INFRA,
    ExitCode.ENDPOINT: Cause.ENDPOINT,
}

FREE_RETRIES = frozenset({Cause.PREEMPTED, Cause.CAPACITY, Cause.ENDPOINT, Cause.INFRA, Cause.SUPERSEDED})
"""Causes that do not use up `retries.limit`; back-off and the round's wall clock bound them instead."""

FINAL_CAUSES = frozenset({Cause.VALIDATION, Cause.BUDGET, Cause.CANCELLED})
"""Causes that no retry can change."""


class FlywheelError(Exception):
    """Base: an end with a cause. `reason` is a CamelCase word for machines, the message says what to do next.

    `node` is the address of the pod whose hardware failed, where that is known.
    """

    cause: ClassVar[Cause] = Cause.APP
    exit_code: ClassVar[int] = ExitCode.APP
    default_reason: ClassVar[str] = "Failed"

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason
        self.node: str | None = None
