"""verl's console lines as numbers: one point of the curve per step. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from flywheel_api.results import CurvePoint

_STEP = re.compile(r"\bstep:(\d+) - (.*)$")
_NUMBER = re.compile(r"^(?:np\.\w+\(|tensor\()?\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\)?$")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NAMES = {
    "critic/score/mean": "reward",
    "critic/score/min": "reward_min",
    "critic/score/max": "reward_max",
    "actor/entropy": "entropy",
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


def parse_step(line: str) -> CurvePoint | None:
    """The curve point in a console line of verl's, or None. Values that are not finite numbers are left out."""
    found = _STEP.search(_ANSI.sub("", line))
    if not found:
        return None
    raw: dict[str, float] = {}
    for part in found[2].split(" - "):
        key, _, text = part.strip().rpartition(":")
        value = _number(text)
        if key and value is not None:
            raw[key] = value
    if "timing_s/step" not in raw:  # validation lines carry the step too
        return None
    numbers = {name: raw[key] for key, name in _NAMES.items() if key in raw}
    if raw["timing_s/step"] > 0 and "perf/total_num_tokens" in raw:
        numbers["tokens_per_second"] = raw["perf/total_num_tokens"] / raw["timing_s/step"]
    validation = {key.removeprefix(VALIDATION): v for key, v in raw.items() if key.startswith(VALIDATION)}
    return CurvePoint.model_validate({"step": int(found[1]), "validation": validation, **numbers})


def _number(text: str) -> float | None:
    found = _NUMBER.match(text.strip())
    if not found:
        return None
    value = float(found[1])
    return value if math.isfinite(value) else None
