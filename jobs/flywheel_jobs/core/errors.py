"""The closed set of ways in which an entry point ends early; each knows its cause class and its exit code (law 7).

Anything else that escapes a stage is a bug of the program: cause `App`, exit code 1.
"""

from __future__ import annotations

from flywheel_api.causes import Cause, ExitCode
from flywheel_api.causes import FlywheelError as FlywheelError
from flywheel_store.errors import CorruptArtifact as CorruptArtifact
from flywheel_store.errors import StoreProblem as StoreProblem
from flywheel_store.errors import StoreUnavailable as StoreUnavailable


class InfraError(FlywheelError):
    """Infrastructure failed; never a reward (law 6). Retried by the operator without using up retries."""

    cause = Cause.INFRA
    exit_code = ExitCode.STORE
    default_reason = "InfrastructureLost"


class HeadLost(InfraError):
    """This attempt was already claimed: its Ray head died and KubeRay started the entry point again (law 10)."""

    exit_code = ExitCode.HEAD_LOST
    default_reason = "HeadLost"


class EndpointUnavailable(FlywheelError):
    """A model endpoint stayed away for longer than the stage's patience; finished items are in the journal."""

    cause = Cause.ENDPOINT
    exit_code = ExitCode.ENDPOINT
    default_reason = "EndpointUnavailable"


class BudgetExceeded(FlywheelError):
    """A role's token budget is used up; no retry can help."""

    cause = Cause.BUDGET
    exit_code = ExitCode.BUDGET
    default_reason = "TokenBudgetExceeded"


class ValidationFailure(FlywheelError):
    """The same input would fail again: bad configuration, corrupt data, too little data."""

    cause = Cause.VALIDATION
    exit_code = ExitCode.VALIDATION
    default_reason = "InvalidInput"


class Superseded(FlywheelError):
    """Another incarnation has already committed something else under this attempt."""

    cause = Cause.SUPERSEDED
    exit_code = ExitCode.SUPERSEDED
    default_reason = "Superseded"


class ItemDropped(Exception):
    """Raised by an item's work to drop it; `reason` is a short kebab-case word that is counted in the manifest."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
