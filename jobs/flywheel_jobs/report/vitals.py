"""What a training's curve says beside its reward: what the collapse guard reads, and what explains it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from flywheel_api.results import CurvePoint
from flywheel_jobs.report.model import Series, Vital


def _share(part: float | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _validation(point: CurvePoint) -> float | None:
    return statistics.fmean(point.validation.values()) if point.validation else None


VITALS: tuple[tuple[str, bool, Callable[[CurvePoint], float | None]], ...] = (
    ("validation", True, _validation),
    ("groups that carry an advantage", True, lambda p: _share(p.informative, p.groups)),
    ("spread of rewards within groups", True, lambda p: p.reward_spread),
    ("answers in the form that is asked for", True, lambda p: p.format_rate),
    ("different answers", True, lambda p: p.distinct_answers),
    ("cut at the token limit", True, lambda p: p.truncated),
    ("masked trajectories", True, lambda p: _share(p.masked, p.trajectories)),
    ("entropy, nats per token", False, lambda p: p.entropy),
    ("KL to the start", False, lambda p: p.kl),
    ("gradient norm", False, lambda p: p.grad_norm),
    ("learning rate", False, lambda p: p.learning_rate),
)
"""Name, whether it is a share of 1, and where it stands in a point of the curve."""


def vitals(curve: Sequence[CurvePoint]) -> Iterator[Vital]:
    """Those of which the curve says anything, in the order of the table."""
    for name, share, of in VITALS:
        points = tuple((float(p.step), value) for p in curve if (value := of(p)) is not None)
        if points:
            yield Vital(Series(name, points), share)
