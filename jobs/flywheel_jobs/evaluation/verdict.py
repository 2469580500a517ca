"""From two evaluations to a verdict: paired gains per suite, gates, and reasons in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from flywheel_api.round import GateSpec, SuiteSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation.intervals import Interval, paired_gain

PROMOTED, HELD = "Promoted", "Held"
PASSED, FAILED, NO_GATE = "Passed", "Failed", "None"
Means = dict[str, dict[str, float]]
"""Suite -> item -> mean score of its repeats."""


@dataclass(frozen=True)
class SuiteVerdict:
    """A suite of the verdict."""

    suite: str
    base: float
    base_interval: Interval
    candidate: float
    candidate_interval: Interval
    gain: float
    gain_interval: Interval
    gate: str
    reasons: tuple[str, ...]

    def dump(self) -> dict[str, Any]:
        """As the operator reads it."""
        return {
            "suite": self.suite,
            "base": self.base,
            "baseInterval": list(self.base_interval),
            "candidate": self.candidate,
            "candidateInterval": list(self.candidate_interval),
            "gain": self.gain,
            "gainInterval": list(self.gain_interval),
            "gate": self.gate,
        }


def item_means(rows: Iterable[Mapping[str, Any]]) -> Means:
    """Mean score of each item of each suite from results.jsonl."""
    scores: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        scores.setdefault(row["suite"], {}).setdefault(row["item"], []).append(float(row["score"]))
    return {suite: {item: fmean(values) for item, values in by_item.items()} for suite, by_item in scores.items()}


def judge_suite(
    suite: SuiteSpec,
    base: Mapping[str, Any],
    candidate: Mapping[str, Any],
    means: tuple[Means, Means],
    confidence: float,
    seed: int,
) -> SuiteVerdict:
    """A suite's gate. `base` and `candidate` are its entries in the evaluations' details."""
    first, second = (m.get(suite.name, {}) for m in means)
    try:
        gain, gain_interval = paired_gain(first, second, confidence, seed)
    except ValueError as error:
        raise ValidationFailure(f"suite {suite.name}: {error}") from error
    gate, reasons = (NO_GATE, []) if suite.gate is None else check(
        suite.name, suite.gate, (candidate["score"], _pair(candidate)), (gain, gain_interval), confidence
    )  # fmt: skip
    return SuiteVerdict(
        suite=suite.name,
        base=base["score"],
        base_interval=_pair(base),
        candidate=candidate["score"],
        candidate_interval=_pair(candidate),
        gain=gain,
        gain_interval=gain_interval,
        gate=gate,
        reasons=tuple(reasons),
    )


def check(
    name: str, gate: GateSpec, score: tuple[float, Interval], gain: tuple[float, Interval], confidence: float
) -> tuple[str, list[str]]:
    """Passed or Failed, and one sentence for each limit that was checked."""
    strict = gate.require_significance == "Interval"
    reasons, passed = [], True
    for label, (value, (low, high)), limit in (
        ("score", score, gate.min_score),
        ("gain over the base", gain, gate.min_gain_over_base),
    ):
        if limit is None:
            continue
        ok = (low if strict else value) >= float(limit)
        passed = passed and ok
        what = f"the lower end of its {confidence:.0%} interval" if strict else "the estimate"
        reasons.append(
            f"{name}: {label} {value:+.3f} [{low:+.3f}, {high:+.3f}], {what} is {'at least' if ok else 'below'} {limit}"
        )
    return (PASSED if passed else FAILED), reasons or [f"{name}: its gate sets no limit"]


def against_champion(
    suites: Sequence[SuiteSpec], champion: Means, candidate: Means, confidence: float, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    """Paired gains over the campaign's champion on common items, and a sentence for each gated suite that fell
    significantly behind it (the whole interval is below 0).
    """
    compared, worse = [], []
    for suite in suites:
        first, second = champion.get(suite.name, {}), candidate.get(suite.name, {})
        if not first.keys() & second.keys():
            continue
        gain, (low, high) = paired_gain(first, second, confidence, seed)
        compared.append({"suite": suite.name, "gain": gain, "gainInterval": [low, high]})
        if suite.gate is not None and high < 0:
            worse.append(f"{suite.name}: behind the champion by {-gain:.3f} [{low:+.3f}, {high:+.3f}]")
    return compared, worse


def decide(suites: Sequence[SuiteVerdict], worse: Sequence[str]) -> tuple[str, list[str]]:
    """The verdict and its reasons: what held it, or what it passed."""
    failed = [s for s in suites if s.gate == FAILED]
    if failed or worse:
        return HELD, [*(r for s in failed for r in s.reasons if " below " in r), *worse]
    passed = [r for s in suites if s.gate == PASSED for r in s.reasons]
    return PROMOTED, passed or ["no suite has a gate: nothing could hold the model"]


def _pair(entry: Mapping[str, Any]) -> Interval:
    low, high = entry["interval"]
    return float(low), float(high)
