"""What verl reports of a step as a point of the curve. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flywheel_api.results import CurvePoint

_VITAL = re.compile(r"(?:actor|critic)/(?:\w*loss|grad_norm)")  # NaN or infinite: the update was for nothing
SKIPPED = "training/update_skipped"  # our own: the step had nothing to learn from (`brakes`)
_NAMES = {
    SKIPPED: "updates_skipped",
    "critic/score/mean": "reward",
    "critic/score/min": "reward_min",
    "critic/score/max": "reward_max",
    "actor/entropy_loss": "entropy",  # where old log-probs are not computed anew
    "actor/entropy": "entropy",
    "actor/kl_loss": "kl",
    "actor/ppo_kl": "kl_update",
    "actor/lr": "learning_rate",
    "actor/grad_norm": "grad_norm",
    "actor/pg_clipfrac": "clip_fraction",
    "response_length/mean": "response_tokens",
    "prompt_length/mean": "prompt_tokens",
    "num_turns/mean": "turns",
    "training/rollout_probs_diff_max": "rollout_probs_diff_max",
    "timing_s/step": "seconds",
    "timing_s/gen": "seconds_generate",
    "timing_s/update_actor": "seconds_update",
    "timing_s/update_weights": "seconds_sync",
    "timing_s/save_checkpoint": "seconds_save",
}
"""verl's metric to the field of a curve's point."""
VALIDATION = "val-core/"


@dataclass
class Curve:
    """Points by step. A resumed run starts from the points of the checkpoint that it resumed from."""

    points: dict[int, CurvePoint] = field(default_factory=dict)

    @classmethod
    def of(cls, points: Iterable[CurvePoint]) -> Curve:
        """A curve from the points of a manifest."""
        return cls({p.step: p for p in points})

    def add(self, point: CurvePoint) -> CurvePoint:
        """Adds or completes the point of a step, and returns it whole."""
        whole = joined(self.points.get(point.step, point), point)
        self.points[point.step] = whole
        return whole

    def upto(self, step: int) -> list[CurvePoint]:
        """Points of steps up to and including `step`, in order."""
        return [self.points[s] for s in sorted(self.points) if s <= step]

    def seconds_per_step(self, window: int = 5) -> float | None:
        """Mean seconds of the last steps, without the very first (which pays for first use) where there are others."""
        times = [p.seconds for _, p in sorted(self.points.items()) if p.seconds is not None]
        times = times[1:] if len(times) > 1 else times
        return sum(times[-window:]) / len(times[-window:]) if times else None


def joined(point: CurvePoint, more: CurvePoint) -> CurvePoint:
    """A point with what another one of the same step sets."""
    return point.model_copy(update={name: getattr(more, name) for name in more.model_fields_set})


def point_of(step: int, numbers: Mapping[str, float]) -> CurvePoint | None:
    """The curve's point of what verl reports of a step; None of a mere validation, which carries a step too.

    Values that are not finite are left out; those of loss and gradient are named in `non_finite`.
    """
    good = {key: value for key, value in numbers.items() if math.isfinite(value)}
    if "timing_s/step" not in good:
        return None
    fields: dict[str, object] = {name: good[key] for key, name in _NAMES.items() if key in good}
    if good["timing_s/step"] > 0 and "perf/total_num_tokens" in good:
        fields["tokens_per_second"] = good["perf/total_num_tokens"] / good["timing_s/step"]
    if bad := sorted(key for key in numbers.keys() - good.keys() if _VITAL.fullmatch(key)):
        fields["non_finite"] = bad
    validation = {key.removeprefix(VALIDATION): v for key, v in good.items() if key.startswith(VALIDATION)}
    return CurvePoint.model_validate({"step": step, "validation": validation, **fields})
