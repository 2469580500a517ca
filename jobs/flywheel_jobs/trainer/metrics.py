"""verl's console lines as numbers: one point of the curve per step. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

_STEP = re.compile(r"\bstep:(\d+) - (.*)$")
_NUMBER = re.compile(r"^(?:np\.\w+\(|tensor\()?\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\)?$")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NAMES = {
    "critic/score/mean": "reward",
    "critic/score/min": "rewardMin",
    "critic/score/max": "rewardMax",
    "actor/entropy": "entropy",
    "actor/grad_norm": "gradNorm",
    "actor/pg_clipfrac": "clipFraction",
    "response_length/mean": "responseTokens",
    "prompt_length/mean": "promptTokens",
    "num_turns/mean": "turns",
    "training/rollout_probs_diff_max": "rolloutProbsDiffMax",
    "timing_s/step": "seconds",
    "timing_s/gen": "secondsGenerate",
    "timing_s/update_actor": "secondsUpdate",
    "timing_s/update_weights": "secondsSync",
    "timing_s/save_checkpoint": "secondsSave",
}
"""verl's metric to the curve's name; all means over the step's trajectories, times in seconds."""


@dataclass
class Curve:
    """Points by step. A resumed run starts from the points of the checkpoint that it resumed from."""

    points: dict[int, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_points(cls, points: list[dict[str, Any]]) -> Curve:
        """A curve from a manifest's `details.curve`."""
        return cls({int(p["step"]): dict(p) for p in points})

    def add(self, point: dict[str, Any]) -> None:
        """Adds or completes the point of a step."""
        self.points.setdefault(int(point["step"]), {}).update(point)

    def upto(self, step: int) -> list[dict[str, Any]]:
        """Points of steps up to and including `step`, in order."""
        return [self.points[s] for s in sorted(self.points) if s <= step]

    def last(self) -> dict[str, Any] | None:
        """The newest point."""
        return self.points[max(self.points)] if self.points else None

    def seconds_per_step(self, window: int = 5) -> float | None:
        """Mean seconds of the last steps, without the very first (which pays for first use) where there are others."""
        times = [p["seconds"] for _, p in sorted(self.points.items()) if isinstance(p.get("seconds"), float)]
        times = times[1:] if len(times) > 1 else times
        return sum(times[-window:]) / len(times[-window:]) if times else None


def parse_step(line: str) -> dict[str, Any] | None:
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
    point: dict[str, Any] = {"step": int(found[1])}
    point |= {name: raw[key] for key, name in _NAMES.items() if key in raw}
    point |= {key.replace("val-core/", "validation/"): v for key, v in raw.items() if key.startswith("val-core/")}
    if raw["timing_s/step"] > 0 and "perf/total_num_tokens" in raw:
        point["tokensPerSecond"] = raw["perf/total_num_tokens"] / raw["timing_s/step"]
    return point


def _number(text: str) -> float | None:
    found = _NUMBER.match(text.strip())
    if not found:
        return None
    value = float(found[1])
    return value if math.isfinite(value) else None
