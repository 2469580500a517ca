"""Axes: nice ticks for values and for durations, and positions in percent so that a plot fits any screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

VALUE_PARTS, STEP_PARTS, TIME_PARTS = 4, 6, 6  # parts of an axis, at most
_TIME_STEPS = (
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    21600,
    43200,
    86400,
    172800,
    604800,
)


@dataclass(frozen=True)
class Scale:
    """A linear axis from `low` to `high`."""

    low: float
    high: float

    def percent(self, value: float) -> float:
        """Where a value lies, 0 to 100, clamped to the axis; 0 for an empty axis."""
        if self.high <= self.low:
            return 0.0
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 3)


def nice_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 2.5, 5 x 10^k that cuts `span` into at most `count` parts."""
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * (1 - 1e-9))


def value_axis(values: Sequence[float]) -> tuple[Scale, list[float]]:
    """An axis that holds all values, ends on ticks and always shows zero where values are not negative."""
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(0.0, min(finite)), max(finite)) if finite else (0.0, 1.0)
    if high <= low:
        high = low + 1.0
    step = nice_step(high - low, VALUE_PARTS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(i * step, 10) for i in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1]), ticks


def step_ticks(low: float, high: float) -> list[int]:
    """Whole-numbered ticks for a step axis, with its first and last step."""
    if high <= low:
        return [round(low)]
    step = max(1, math.ceil(nice_step(high - low, STEP_PARTS)))
    inner = list(range(math.ceil(low / step) * step, math.floor(high) + 1, step))
    keep = [t for t in inner if t - low >= 0.75 * step and high - t >= 0.75 * step]
    return [round(low), *keep, round(high)]


def time_ticks(seconds: float) -> list[int]:
    """Ticks of an axis of durations that starts at 0, in seconds."""
    step = next((s for s in _TIME_STEPS if seconds / s <= TIME_PARTS), _TIME_STEPS[-1])
    return list(range(0, math.floor(seconds) + 1, step))


def trailing_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and those just before it, at most `window` in all."""
    return [
        sum(values[max(0, i + 1 - window) : i + 1]) / len(values[max(0, i + 1 - window) : i + 1])
        for i in range(len(values))
    ]
