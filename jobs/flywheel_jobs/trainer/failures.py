"""Why a verl run ended, from its exit code and last lines (law 7). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.causes import Cause, ExitCode, FlywheelError
from flywheel_jobs.core.errors import InfraError, ValidationFailure

TAIL_LINES = 40
TAIL_CHARACTERS = 600  # of the 1,024 that a condition's message holds
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class TrainingFailed(FlywheelError):
    """The training program itself failed."""

    default_reason = "TrainingFailed"


class OutOfMemory(TrainingFailed):
    """A worker needed more memory than it may have; the same settings would do it again."""

    default_reason = "OutOfMemory"


class NodeLost(InfraError):
    """A Ray node or its pod went away under the run."""

    exit_code = ExitCode.APP
    default_reason = "WorkerNodeLost"


class BadSettings(ValidationFailure):
    """verl refused the configuration."""

    default_reason = "InvalidOverride"


class Terminated(FlywheelError):
    """The pod was asked to stop."""

    cause = Cause.PREEMPTED
    default_reason = "Terminated"


@dataclass(frozen=True)
class _Sign:
    pattern: re.Pattern[str]
    error: type[FlywheelError]
    reason: str
    advice: str


_MEMORY = "lower algorithm.microBatchSize, maxPromptTokens or maxResponseTokens, or give the pods more memory"
_SIGNS = (
    _Sign(
        re.compile(
            r"its node has died|node (?:was|is) (?:marked )?dead|The node .* died|NodeDiedError|node failure", re.I
        ),
        NodeLost,
        "WorkerNodeLost",
        "a Ray node died under the run; the next attempt resumes from the last committed checkpoint",
    ),
    _Sign(
        re.compile(r"running low on memory|killed due to memory pressure|ray\.exceptions\.OutOfMemoryError", re.I),
        OutOfMemory,
        "OutOfMemory",
        f"Ray's memory monitor ended a worker: {_MEMORY}",
    ),
    _Sign(
        re.compile(r"CUDA out of memory|torch\.(?:cuda\.)?OutOfMemoryError|DefaultCPUAllocator: can't allocate", re.I),
        OutOfMemory,
        "DeviceOutOfMemory",
        f"an allocation failed: {_MEMORY}",
    ),
    _Sign(
        re.compile(r"killed by SIGKILL by OOM killer|Worker unexpectedly exits with a connection error code 2", re.I),
        OutOfMemory,
        "WorkerKilled",
        f"a worker process was killed, most likely for its memory: {_MEMORY}",
    ),
    _Sign(
        re.compile(
            r"ConfigCompositionException|ConfigAttributeError|ConfigKeyError|is not in struct|Could not override|"
            r"LexerNoViableAltException|OverrideParseException|InstantiationException"
        ),
        BadSettings,
        "InvalidOverride",
        "verl refused a setting: correct spec.overrides",
    ),
    _Sign(
        re.compile(
            r"Failed to connect to GCS|GCS .*(?:unavailable|failed)|RaySystemError|node timed out during startup", re.I
        ),
        NodeLost,
        "RayUnavailable",
        "the Ray cluster stopped answering; the next attempt resumes from the last committed checkpoint",
    ),
)


def diagnose(exit_code: int, lines: Sequence[str]) -> FlywheelError:
    """The error that an ended run stands for: its exit code as subprocess reports it, its last lines oldest first."""
    text = "\n".join(lines)
    for sign in _SIGNS:
        if sign.pattern.search(text):
            return sign.error(f"{sign.advice}; {excerpt(lines)}", sign.reason)
    if exit_code == -9:
        return OutOfMemory(f"the training process was killed, most likely for its memory: {_MEMORY}", "WorkerKilled")
    ended = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return TrainingFailed(f"verl ended with {ended}; {excerpt(lines)}")


def excerpt(lines: Sequence[str]) -> str:
    """The lines that say most: the last exception if there is one, else the end of the log."""
    clean = [c for line in lines[-TAIL_LINES:] if (c := _ANSI.sub("", line).strip())]
    raised = [line for line in clean if re.search(r"\b\w*(?:Error|Exception)\b:", line)]
    tail = raised[-1] if raised else " | ".join(clean[-5:])
    return f"last: {tail[-TAIL_CHARACTERS:]}" if tail else "it wrote nothing"
