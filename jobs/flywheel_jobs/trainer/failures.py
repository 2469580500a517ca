"""The error that an ended verl run stands for (law 7). What its lines mean is in `flywheel_api.signs`."""

from __future__ import annotations

from collections.abc import Sequence

from flywheel_api import signs
from flywheel_api.causes import Cause, FlywheelError
from flywheel_api.signs import excerpt as excerpt
from flywheel_jobs.core.errors import InfraError, ValidationFailure


class TrainingFailed(FlywheelError):
    """The training program itself failed."""

    default_reason = "TrainingFailed"


class Terminated(FlywheelError):
    """The pod was asked to stop."""

    cause = Cause.PREEMPTED
    default_reason = "Terminated"


class NoCapacity(FlywheelError):
    """There is less hardware than was asked for."""

    cause = Cause.CAPACITY


_ERRORS: dict[Cause, type[FlywheelError]] = {
    Cause.APP: TrainingFailed,
    Cause.INFRA: InfraError,
    Cause.VALIDATION: ValidationFailure,
    Cause.PREEMPTED: Terminated,
    Cause.CAPACITY: NoCapacity,
}


def diagnose(exit_code: int, lines: Sequence[str], trained: bool = False) -> FlywheelError:
    """The error of an ended run: its exit code as subprocess reports it, its last lines oldest first."""
    reading = signs.read(exit_code, lines, trained)
    error = _ERRORS[reading.cause](reading.text, reading.reason)
    error.node = reading.address
    return error
