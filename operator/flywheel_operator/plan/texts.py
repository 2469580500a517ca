"""Progress in plain words. Numbers are rounded so that a text changes only when something happened (law 11)."""

from __future__ import annotations

from datetime import timedelta

from flywheel_api.artifacts import Progress
from flywheel_api.base import format_duration
from flywheel_api.round import BaseSpec


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
    """`EvaluateBase 34/96 items`, or what the stage itself says it is doing."""
    if progress is None:
        return f"{name} starting"
    if progress.waiting_for:
        return f"{name} waiting for {progress.waiting_for}"
    if progress.total:
        return f"{name} {progress.done}/{progress.total} items"
    return f"{name} {progress.text}".strip() if progress.text else f"{name} running"
