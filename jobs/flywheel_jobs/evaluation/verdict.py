"""From two evaluations to a verdict: paired gains per suite, gates, and reasons in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from flywheel_api.records.evaluation import EvaluationRow, GateRow
from flywheel_api.results import ChampionGain, GateOutcome, SuiteScore, SuiteVerdict, Verdict
from flywheel_api.round import GateSpec, SuiteSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation.intervals import Interval, paired_gain

Means = dict[str, dict[str, float]]
"""Suite -> item -> mean score of its repeats."""


def item_means(rows: Iterable[EvaluationRow | GateRow]) -> Means:
    """Mean score of each item of each suite."""
    scores: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        scores.setdefault(row.suite, {}).setdefault(row.item, []).append(row.score)
    return {suite: {item: fmean(values) for item, values in by_item.items()} for suite, by_item in scores.items()}


def judge_suite(
    suite: SuiteSpec,
    base: SuiteScore,
    candidate: SuiteScore,
    means: tuple[Means, Means],
    confidence: float,
    seed: int,
) -> SuiteVerdict:
    """A suite's gate. `base` and `candidate` are its scores in the two evaluations, `means` their items'."""
    first, second = (m.get(suite.name, {}) for m in means)
    try:
        gain, gain_interval = paired_gain(first, second, confidence, seed)
    except ValueError as error:
        raise ValidationFailure(f"suite {suite.name}: {error}") from error
    gate, reasons = GateOutcome.NONE, list[str]()
    if suite.gate is not None:
        gate, reasons = check(suite.name, suite.gate, candidate, (gain, gain_interval), confidence)
    return SuiteVerdict(
        suite=suite.name,
        base=base.score,
        base_interval=base.interval,
        candidate=candidate.score,
        candidate_interval=candidate.interval,
        gain=gain,
        gain_interval=list(gain_interval),
        gate=gate,
        reasons=reasons,
    )


def check(
    name: str, gate: GateSpec, score: SuiteScore, gain: tuple[float, Interval], confidence: float
) -> tuple[GateOutcome, list[str]]:
    """Passed or Failed, and one sentence for each limit that was checked."""
    strict = gate.require_significance == "Interval"
    reasons, passed = [], True
    for label, (value, (low, high)), limit in (
        ("score", (score.score, score.interval), gate.min_score),
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
    return (GateOutcome.PASSED if passed else GateOutcome.FAILED), reasons or [f"{name}: its gate sets no limit"]


def against_champion(
    suites: Sequence[SuiteSpec], champion: Means, candidate: Means, confidence: float, seed: int
) -> tuple[list[ChampionGain], list[str]]:
    """Paired gains over the campaign's champion on common items, and what is worse.

    A sentence stands for each gated suite that fell significantly behind (the whole interval is below 0).
    """
    compared, worse = [], []
    for suite in suites:
        first, second = champion.get(suite.name, {}), candidate.get(suite.name, {})
        if not first.keys() & second.keys():
            continue
        gain, (low, high) = paired_gain(first, second, confidence, seed)
        compared.append(ChampionGain(suite=suite.name, gain=gain, gain_interval=[low, high]))
        if suite.gate is not None and high < 0:
            worse.append(f"{suite.name}: behind the champion by {-gain:.3f} [{low:+.3f}, {high:+.3f}]")
    return compared, worse


def decide(suites: Sequence[SuiteVerdict], worse: Sequence[str]) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons: what held it, or what it passed."""
    failed = [s for s in suites if s.gate is GateOutcome.FAILED]
    if failed or worse:
        return Verdict.HELD, [*(r for s in failed for r in s.reasons if " below " in r), *worse]
    passed = [r for s in suites if s.gate is GateOutcome.PASSED for r in s.reasons]
    return Verdict.PROMOTED, passed or ["no suite has a gate: nothing could hold the model"]
