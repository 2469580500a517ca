"""From two evaluations to a verdict: paired gains per suite, gates, and reasons in words.

Items are paired by what they say, not by their ids: a suite that was replaced under its address has other items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

from flywheel_api.records.evaluation import EvaluationRow, GateRow
from flywheel_api.results import ChampionGain, GateOutcome, SuiteScore, SuiteVerdict, Verdict
from flywheel_api.round import GateSpec, SuiteSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation.intervals import Interval, exact, mean_interval, paired_gain

MIN_ITEMS = 5  # with fewer, one item's luck decides any gate
Means = dict[str, dict[str, Fraction]]
"""Suite -> content of an item -> exact mean score of its repeats."""


def item_key(row: EvaluationRow | GateRow) -> str:
    """What an item is paired by. Rows of older versions have no content: they pair with nothing of this one."""
    return row.content or f"id {row.item}"


def item_means(rows: Iterable[EvaluationRow | GateRow]) -> Means:
    """Mean score of each item of each suite."""
    scores: dict[str, dict[str, list[Fraction]]] = {}
    for row in rows:
        scores.setdefault(row.suite, {}).setdefault(item_key(row), []).append(exact(row.score))
    return {
        suite: {item: sum(values, Fraction(0)) / len(values) for item, values in by_item.items()}
        for suite, by_item in scores.items()
    }


def too_few(name: str, gate: GateSpec, items: int, confidence: float) -> str | None:
    """Why a gate can decide nothing on so few items; None when it can. Known before anything is spent."""
    if items < MIN_ITEMS:
        return (
            f"{name}: its gate has {items} items to go by, below the {MIN_ITEMS} that any gate needs: give more items"
        )
    if gate.require_significance != "Interval":
        return None
    for limit, worst in ((gate.min_score, 0), (gate.min_gain_over_base, -1)):
        end = mean_interval([Fraction(1)] * items, worst, 1, confidence)[0]
        if limit is not None and end < float(limit):
            return (
                f"{name}: {items} items are too few for its gate: were all of them right, the lower end of the "
                f"{confidence:.0%} interval would be {end:+.3f}, below {limit}: give more items, or "
                "requireSignificance Point"
            )
    return None


def judge_suite(
    suite: SuiteSpec, base: SuiteScore, candidate: SuiteScore, means: tuple[Means, Means], confidence: float
) -> SuiteVerdict:
    """A suite's gate. `base` and `candidate` are its scores in the two evaluations, `means` their items'."""
    first, second = (m.get(suite.name, {}) for m in means)
    try:
        gain, gain_interval = paired_gain(first, second, confidence)
    except ValueError as error:
        raise ValidationFailure(f"suite {suite.name}: {error}") from error
    gate, reasons = GateOutcome.NONE, list[str]()
    items, unpaired = _pairs(first.keys(), second.keys())
    if suite.gate is not None:
        few = too_few(suite.name, suite.gate, items, confidence)
        gate, reasons = check(suite.name, suite.gate, candidate, (gain, gain_interval), confidence)
        gate, reasons = (GateOutcome.FAILED, [few]) if few else (gate, reasons)
    return SuiteVerdict(
        suite=suite.name,
        base=base.score,
        base_interval=base.interval,
        candidate=candidate.score,
        candidate_interval=candidate.interval,
        gain=gain,
        gain_interval=list(gain_interval),
        items=items,
        unpaired=unpaired,
        gate=gate,
        reasons=reasons,
    )


def _pairs(one: Iterable[str], other: Iterable[str]) -> tuple[int, int]:
    first, second = set(one), set(other)
    return len(first & second), len(first ^ second)


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
    suites: Sequence[SuiteSpec], champion: Means, candidate: Means, confidence: float
) -> tuple[list[ChampionGain], list[str], list[str]]:
    """Paired gains over the campaign's champion on items that both were given; what is worse; what did not pair.

    A sentence stands for each gated suite that fell significantly behind (the whole interval is below 0), and one for
    each suite with items that only one of them was given.
    """
    compared, worse, apart = [], [], []
    for suite in suites:
        first, second = champion.get(suite.name, {}), candidate.get(suite.name, {})
        items, unpaired = _pairs(first.keys(), second.keys())
        if first and unpaired:
            apart.append(
                f"{suite.name}: compared with the champion on {items} items; {unpaired} were given to one of them only"
            )
        if not items:
            continue
        gain, (low, high) = paired_gain(first, second, confidence)
        compared.append(
            ChampionGain(suite=suite.name, items=items, unpaired=unpaired, gain=gain, gain_interval=[low, high])
        )
        if suite.gate is not None and high < 0:
            worse.append(f"{suite.name}: behind the champion by {-gain:.3f} [{low:+.3f}, {high:+.3f}]")
    return compared, worse, apart


def decide(
    suites: Sequence[SuiteVerdict], worse: Sequence[str], apart: Sequence[str] = ()
) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons: what held it, or what it passed; then what could not be paired."""
    unpaired = [f"{s.suite}: {s.unpaired} items were scored for one model only" for s in suites if s.unpaired]
    failed = [s for s in suites if s.gate is GateOutcome.FAILED]
    if failed or worse:
        return Verdict.HELD, [*(r for s in failed for r in s.reasons if " below " in r), *worse, *unpaired, *apart]
    passed = [r for s in suites if s.gate is GateOutcome.PASSED for r in s.reasons]
    return Verdict.PROMOTED, [*(passed or ["no suite has a gate: nothing could hold the model"]), *unpaired, *apart]
