"""From the model to what the template prints: positions in percent, labels as text. Pure; no HTML here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flywheel_api.results import Verdict
from flywheel_api.round_status import StageState
from flywheel_jobs.report.model import ReportModel, Score, Series, StageRow, Suite, Training
from flywheel_jobs.report.scale import Scale, step_ticks, time_ticks, trailing_mean, value_axis

THIN_SPACE = "\u202f"
SMOOTHING = 3  # steps of the trailing mean that is drawn over the single steps
_HEADLINES: dict[Verdict | None, str] = {
    Verdict.PROMOTED: "The candidate passed its gates and is the campaign's new model.",
    Verdict.FAILED: "The round ended before a verdict.",
    Verdict.HELD: "The candidate did not pass its gates; the campaign keeps its model.",
}
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class Tick:
    """A label at a place on an axis, in percent."""

    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    """A stage on the time axis."""

    stage: StageRow
    left: float
    width: float
    label: str


@dataclass(frozen=True)
class Dot:
    """A point of a curve, in percent from the left and from the bottom, with what a pointer shows."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Line:
    """A line of a curve: SVG points in a 100 x 100 box with y downwards, and its dots."""

    name: str
    points: str
    dots: tuple[Dot, ...]
    last: float


@dataclass(frozen=True)
class Plot:
    """A line chart."""

    lines: tuple[Line, ...]
    smooth: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summary: str


@dataclass(frozen=True)
class IntervalRow:
    """A score as a dot with its interval on a common axis, in percent."""

    label: str
    role: str
    at: float
    low: float
    high: float
    text: str
    interval: str


def duration(seconds: float | None) -> str:
    """`8 s`, `2 min 05 s`, `1 h 12 min`; a dash for None."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clock(seconds: float) -> str:
    """A tick of the time axis: `0`, `90 s`, `5 min`, `2 h`."""
    if seconds == 0:
        return "0"
    if seconds % 3600 == 0:
        return f"{seconds / 3600:g} h"
    if seconds % 60 == 0:
        return f"{seconds / 60:g} min"
    return f"{seconds:g} s"


def number(value: float | int | None) -> str:
    """Thousands apart by a thin space, as SI has it; a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}".replace(",", THIN_SPACE)
    return f"{int(value):,}".replace(",", THIN_SPACE)


def percent(value: float | None, signed: bool = False) -> str:
    """A fraction as a percentage with one decimal."""
    if value is None:
        return "–"
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-", "−")


def size(count: int) -> str:
    """Bytes in decimal units."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def short(digest: str | None) -> str:
    """The first 12 hex digits of a digest."""
    if not digest:
        return "–"
    return digest.removeprefix("sha256:")[:12] if digest.startswith("sha256:") else digest


def words(name: str) -> str:
    """`TrainReasoning` as `Train reasoning`; other text as it is."""
    if not re.fullmatch(r"([A-Z][a-z]+)+", name):
        return name
    first, *rest = re.findall(r"[A-Z][a-z]+", name)
    return " ".join([first, *(word.lower() for word in rest)])


def moment(value: datetime | None) -> str:
    """Date and time in UTC, to the minute."""
    return value.strftime("%-d %b %Y, %H:%M UTC") if value else "–"


def redact(value: Any) -> Any:
    """The spec without user:password@ in URLs: a report is passed on."""
    if isinstance(value, dict):
        return {k: redact(v) for k, v in value.items()}
    if isinstance(value, list):
        return [redact(v) for v in value]
    return _USERINFO.sub("", value) if isinstance(value, str) else value


def timeline(model: ReportModel) -> tuple[list[Bar], list[Tick], float]:
    """Bars of all stages that have begun, ticks, and the span in seconds.

    A running stage reaches the end of the axis.
    """
    start = model.started
    if start is None:
        return [], [], 0.0
    ends = [s.finished for s in model.stages if s.finished] + [s.started for s in model.stages if s.started]
    span = max(1.0, (max(ends) - start).total_seconds())
    if model.made_at is not None and any(s.state == StageState.RUNNING for s in model.stages):
        span = max(span, (model.made_at - start).total_seconds())
    scale = Scale(0, span)
    bars = []
    for stage in model.stages:
        if stage.started is None:
            continue
        left = scale.percent((stage.started - start).total_seconds())
        right = scale.percent((stage.finished - start).total_seconds()) if stage.finished else 100.0
        bars.append(Bar(stage, left, max(0.4, round(right - left, 3)), duration(stage.seconds)))
    return bars, [Tick(scale.percent(t), clock(t)) for t in time_ticks(span)], span


def _line(series: Series, x: Scale, y: Scale) -> Line:
    dots = tuple(
        Dot(x.percent(step), y.percent(value), f"step {number(step)}: {value:.4g}") for step, value in series.points
    )
    points = " ".join(f"{d.x:g},{round(100 - d.y, 3):g}" for d in dots)
    return Line(series.name, points, dots, series.points[-1][1])


def plot(series: Sequence[Series], smooth: bool = False, share: bool = True) -> Plot | None:
    """A line chart of value over step; None without points. With `smooth`, a trailing mean of the first series.

    A `share` between 0 and 1 has that whole axis, so that runs can be compared by eye.
    """
    drawn = [s for s in series if s.points]
    if not drawn:
        return None
    steps = [step for s in drawn for step, _ in s.points]
    values = [v for s in drawn for _, v in s.points]
    y, y_values = value_axis([*values, 0.0, 1.0] if share and min(values) >= 0 and max(values) <= 1 else values)
    x = Scale(min(steps), max(steps)) if max(steps) > min(steps) else Scale(min(steps) - 1, min(steps) + 1)
    lines = tuple(_line(s, x, y) for s in drawn)
    mean = ""
    if smooth and len(drawn[0].points) > SMOOTHING:
        means = trailing_mean([v for _, v in drawn[0].points], SMOOTHING)
        mean_series = Series("mean", tuple((p[0], m) for p, m in zip(drawn[0].points, means, strict=True)))
        mean = _line(mean_series, x, y).points
    first, last = drawn[0].points[0], drawn[0].points[-1]
    return Plot(
        lines=lines,
        smooth=mean,
        x_ticks=tuple(Tick(x.percent(t), str(t)) for t in step_ticks(min(steps), max(steps))),
        y_ticks=tuple(Tick(y.percent(t), f"{t:g}".replace("e-0", "e-")) for t in y_values),
        summary=f"{drawn[0].name} from {first[1]:.3g} at step {number(first[0])} to {last[1]:.3g} at step "
        f"{number(last[0])}",
    )


def training_change(training: Training) -> str:
    """Mean reward of the first and of the last third of the run, so that one lucky step does not speak for it."""
    values = [v for _, v in training.reward.points]
    if len(values) < 2:
        return ""
    third = max(1, len(values) // 3)
    first, last = sum(values[:third]) / third, sum(values[-third:]) / third
    steps = f"{third} step" + ("s" if third > 1 else "")
    return f"mean reward {first:.2f} over the first {steps}, {last:.2f} over the last {steps}"


def interval_row(label: str, role: str, score: Score | None) -> IntervalRow | None:
    """A score on the axis of 0 to 1; None when there is none."""
    if score is None:
        return None
    axis = Scale(0, 1)
    low, high = axis.percent(score.low), axis.percent(score.high)
    span = f"{percent(score.low)} – {percent(score.high)}"
    return IntervalRow(label, role, axis.percent(score.value), low, high, percent(score.value), span)


def interval_rows(suite: Suite) -> list[IntervalRow]:
    """Base and candidate of a suite."""
    rows = (interval_row("base", "base", suite.base), interval_row("candidate", "candidate", suite.candidate))
    return [row for row in rows if row]


def score_verdict(suite: Suite) -> str:
    """In words, what the gain's interval allows to say."""
    gain = suite.gain
    if gain is None:
        return ""
    if gain.low > 0:
        return "better: the interval of the gain lies above zero"
    if gain.high < 0:
        return "worse: the interval of the gain lies below zero"
    return "no difference shown: the interval of the gain holds zero"


def headline(model: ReportModel) -> str:
    """One sentence on what came of the round."""
    reasons = "; ".join(model.reasons)
    said = _HEADLINES.get(model.verdict, "The round has not been decided.")
    return f"{said.removesuffix('.')}: {reasons.removesuffix('.')}." if reasons else said  # they begin with names
