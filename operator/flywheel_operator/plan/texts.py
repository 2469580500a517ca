"""Progress in plain words. Numbers are rounded so that a text changes only when something happened (law 11)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from flywheel_api.artifacts import Progress
from flywheel_api.base import format_duration
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus
from flywheel_api.resources import RLJOB
from flywheel_api.round import BaseSpec, StageState, StageStatus
from flywheel_api.stages import Stage
from flywheel_operator.model import Note, Record

COLUMN = 160  # characters of a text in a table of kubectl


def number(value: float, digits: int = 3) -> str:
    """A figure for status: three significant digits, never in exponent form for ordinary sizes."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e" in text and abs(value) < 1e15 else text


def base(spec: BaseSpec) -> str:
    """`support-r0`, or the last part of a model's address: `hf://Qwen/Qwen3-8B` is `Qwen3-8B`."""
    if spec.round is not None:
        return spec.round
    model = spec.model or ""
    return model[:19] if model.startswith("sha256:") else model.rstrip("/").rpartition("/")[2]


def eta(seconds: float | None) -> str | None:
    """`about 2m left` rounded to the minute above two minutes, to ten seconds below."""
    if seconds is None or seconds < 0:
        return None
    unit = 60 if seconds > 120 else 10
    return format_duration(timedelta(seconds=max(unit, round(seconds / unit) * unit)))


def line(text: str) -> str:
    """The text as a column of `kubectl get` can hold it; the condition says it whole."""
    return text if len(text) <= COLUMN else text[: COLUMN - 2].rpartition(" ")[0] + " …"


def training(progress: Progress) -> str:
    """`step 3 of 10, reward 0.46, about 2m left`."""
    parts = [f"step {progress.step} of {progress.total}" if progress.total else f"step {progress.step}"]
    if progress.reward is not None:
        parts.append(f"reward {number(progress.reward, 2)}")
    left = eta(progress.eta_seconds)
    if left and progress.step != progress.total:
        parts.append(f"about {left} left")
    return ", ".join(parts)


def stage(name: str, progress: Progress | None) -> str:
    """`EvaluateBase 34/96 items`, or what the stage itself says it is doing; a wait takes no finished item back."""
    if progress is None:
        return f"{name} starting"
    items = f" {progress.done}/{progress.total} items" if progress.total else ""
    if progress.waiting_for:
        return f"{name}{items} waiting for {progress.waiting_for}"
    if items:
        return f"{name}{items}"
    return f"{name} {progress.text}".strip() if progress.text else f"{name} running"


def with_child(status: StageStatus) -> str:
    """A stage's progress for the condition's message; a training's with its RLJob, which tells more."""
    child, text = status.child, status.progress or ""
    return f"{child.kind} {child.name}: {text}" if text and child is not None and child.kind == RLJOB.kind else text


def succeeded(status: StageStatus) -> Note:
    """The Event of a stage that is done."""
    text = f"{status.name} done"
    if status.counts is not None and status.counts.in_ != "0":
        text = f"{status.name}: {status.counts.in_} in, {status.counts.out} out, {status.counts.dropped} dropped"
    if status.reused_from is None:
        return Note("StageSucceeded", text)
    maker = status.reused_from
    return Note("StageReused", f"{text}; taken over from {maker.kind} {maker.name}, which made the same")


def waiting_for_endpoints(
    running: Iterable[StageStatus], records: Mapping[Stage, Record], attempts: Sequence[AttemptStatus]
) -> str:
    """Which stages wait for a model endpoint; empty when none does. Nothing is lost while they wait."""
    waiting = []
    for status in running:
        progress = records.get(Stage(status.name), Record()).progress
        last = next((a for a in reversed(attempts) if a.stage == status.name), None)
        if status.state is StageState.RUNNING and progress is not None and progress.waiting_for:
            waiting.append(f"{status.name} waits for {progress.waiting_for}")
        elif status.state is StageState.WAITING and last is not None and last.cause is Cause.ENDPOINT:
            waiting.append(f"{status.name}: {last.message}")
    if not waiting:
        return ""
    return "; ".join(waiting) + "; finished items are kept, only missing ones run again"
