"""From two evaluations to a verdict: gates over paired gains, what fell beside them, and reasons in words.

Every gate must pass, and its chance of passing for nothing is corrected for the number of gates (Holm). No gate is no
promotion: nothing would say that the model is better. What fell beyond chance holds the round, whatever the means say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flywheel_api.results import ChampionGain, GateOutcome, Loss, SuiteScore, SuiteVerdict, Verdict
from flywheel_api.round import EvaluationSpec, GateSpec, SuiteSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation.intervals import Spread, spread
from flywheel_jobs.evaluation.losses import Limits, holm, losses, sentence, unseen
from flywheel_jobs.evaluation.scores import ItemScore, Scores, gains, level, pairs

MIN_ITEMS = 5  # with fewer, one item's luck decides any gate
NO_GATE = "no suite has a gate, so that nothing shows a better model: give one of them a gate with minGainOverBase"
TOLD = 6  # names of a kind in a sentence or a list: falls within chance, strata that cannot show one


@dataclass(frozen=True)
class Judged:
    """A suite's verdict, and those of its reasons that hold the round."""

    verdict: SuiteVerdict
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a gate is judged by: `gain` over the base on `items` of both, and `score` of the candidate."""

    suite: SuiteSpec
    gain: Spread
    score: Spread
    items: int
    facts: int
    unpaired: int

    def limits(self) -> Iterable[tuple[str, Spread, str]]:
        """The gate's limits, with what each is compared with."""
        gate = self.suite.gate
        if gate is not None and gate.min_score is not None:
            yield "score", self.score, gate.min_score
        if gate is not None and gate.min_gain_over_base is not None:
            yield "gain over the base", self.gain, gate.min_gain_over_base

    def chance(self) -> float:
        """The tail at which the gate would just pass: the largest over its limits."""
        return max((found.below(float(limit)) for _, found, limit in self.limits()), default=1.0)


def by_interval(gate: GateSpec | None) -> bool:
    """Whether a gate goes by interval ends."""
    return gate is not None and gate.require_significance == "Interval"


def too_few(suites: Sequence[tuple[SuiteSpec, int]], confidence: float) -> str | None:
    """Why a gate can decide nothing on so few items; None when all can. Known before anything is spent.

    Numbers are of items that share no facts. Each is asked with all of them right, corrected for the other gates.
    """
    for suite, items in suites:
        if suite.gate is not None and items < MIN_ITEMS:
            return (
                f"{suite.name}: its gate has {items} different items to go by, below the {MIN_ITEMS} that any gate "
                "needs: give more items"
            )
    best = {suite.name: _perfect(suite, items) for suite, items in suites if by_interval(suite.gate)}
    for name, chance in holm({name: found.chance() for name, found in best.items()}).items():
        if chance > (1 - confidence) / 2 and any(best[name].limits()):
            beside = f", corrected for {len(best)} gates," if len(best) > 1 else ""
            return (
                f"{name}: {best[name].items} different items are too few for its gate: were all of them right, the "
                f"lower end of the {confidence:.0%} interval{beside} would be below its limit: give more items, or "
                "requireSignificance Point"
            )
    return None


def _perfect(suite: SuiteSpec, items: int) -> Evidence:
    right = [Fraction(1)] * items
    return Evidence(suite, spread(right, -1, 1), spread(right, 0, 1), items, items, 0)


def judge(
    evaluation: EvaluationSpec,
    base: Mapping[str, SuiteScore],
    candidate: Mapping[str, SuiteScore],
    scores: tuple[Scores, Scores],
    forms: tuple[Scores, Scores],
) -> list[Judged]:
    """Every suite against its gate.

    `base` and `candidate` are its scores in the two evaluations, `scores` and `forms` their items', the second read
    leniently.
    """
    confidence = float(evaluation.confidence)
    found = [evidence(suite, scores) for suite in evaluation.suites]
    chances = holm({e.suite.name: e.chance() for e in found if by_interval(e.suite.gate)})
    return [
        _judged(e, (base[e.suite.name], candidate[e.suite.name]), chances, confidence, _by_form(e, forms, confidence))
        for e in found
    ]


def evidence(suite: SuiteSpec, scores: tuple[Scores, Scores]) -> Evidence:
    """Raises ValidationFailure when base and candidate share no item."""
    first, second = (s.get(suite.name, {}) for s in scores)
    both = pairs(first, second)
    if not both:
        raise ValidationFailure(f"suite {suite.name}: base and candidate share no item: their gain is not defined")
    facts = len({p.after.facts for p in both})
    return Evidence(suite, gains(both), level(second.values()), len(both), facts, _unpaired(first, second))


def _unpaired(first: Mapping[str, ItemScore], second: Mapping[str, ItemScore]) -> int:
    return len(first.keys() ^ second.keys())


def _by_form(found: Evidence, forms: tuple[Scores, Scores], confidence: float) -> bool:
    """Whether the gain is there by the strict reading only."""
    both = pairs(*(f.get(found.suite.name, {}) for f in forms))
    if not both or found.gain.interval(confidence)[0] <= 0:
        return False
    return gains(both).interval(confidence)[0] <= 0


def _judged(
    found: Evidence,
    scores: tuple[SuiteScore, SuiteScore],
    chances: Mapping[str, float],
    confidence: float,
    by_form: bool,
) -> Judged:
    base, candidate = scores
    said = _limits(found, chances, confidence)
    failed = tuple(text for ok, text in said if not ok)
    few = too_few([(found.suite, found.facts)], confidence)
    if few:
        said, failed = [(False, few)], (few,)
    outcome = GateOutcome.FAILED if failed else GateOutcome.PASSED
    return Judged(
        SuiteVerdict(
            suite=found.suite.name,
            base=base.score,
            base_interval=base.interval,
            candidate=candidate.score,
            candidate_interval=candidate.interval,
            gain=found.gain.mean,
            gain_interval=list(found.gain.interval(confidence)),
            items=found.items,
            unpaired=found.unpaired,
            gate=GateOutcome.NONE if found.suite.gate is None else outcome,
            by_form=by_form,
            reasons=[text for _, text in said],
        ),
        failed,
    )


def _limits(found: Evidence, chances: Mapping[str, float], confidence: float) -> list[tuple[bool, str]]:
    """Whether each limit was reached, with a sentence."""
    if found.suite.gate is None:
        return []
    name, strict = found.suite.name, by_interval(found.suite.gate)
    tail = (1 - confidence) / 2
    said = []
    for label, number, limit in found.limits():
        # the correction is the suite's: how much Holm makes of its chance
        own = number.below(float(limit))
        times = chances[name] / found.chance() if strict and found.chance() > 0 else 1.0
        ok = own * times <= tail if strict else number.mean >= float(limit)
        wide = 1 - 2 * tail / max(1.0, times)
        low, high = number.interval(wide)
        beside = f" (corrected for {len(chances)} gates)" if strict and len(chances) > 1 else ""
        what = f"the lower end of its {100 * wide:.3g}% interval{beside}" if strict else "the estimate"
        verb = "at least" if ok else "below"
        said.append((ok, f"{name}: {label} {number.mean:+.3f} [{low:+.3f}, {high:+.3f}], {what} is {verb} {limit}"))
    return said or [(False, f"{name}: its gate sets no limit: give minGainOverBase or minScore")]


def fallen(evaluation: EvaluationSpec, against: str, first: Scores, second: Scores) -> list[Loss]:
    """What the second model lost against the first, over all suites."""
    found = list[Loss]()
    for suite in evaluation.suites:
        both = pairs(first.get(suite.name, {}), second.get(suite.name, {}))
        found += losses(suite.name, against, both, float(evaluation.confidence), _may_fall(evaluation, suite, against))
    return found


def _may_fall(evaluation: EvaluationSpec, suite: SuiteSpec, against: str) -> Limits:
    margin = float(evaluation.regression.margin)
    gained = suite.gate is not None and suite.gate.min_gain_over_base is not None
    own = gained and against == "base"  # its gate decides on the whole
    whole = None if own else 0.0 if suite.gate is not None and against != "base" else margin
    return Limits(whole, 0.0 if gained else margin, margin)


def blind(evaluation: EvaluationSpec, base: Scores) -> list[str]:
    """A sentence for each suite with strata whose loss its items and samples cannot show, whatever happens to them."""
    said = []
    for suite in evaluation.suites:
        limits = _may_fall(evaluation, suite, "base")
        names = unseen(base.get(suite.name, {}).values(), float(evaluation.confidence), limits)
        if names:
            more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
            said.append(
                f"{suite.name}: were all of {', '.join(names[:TOLD])}{more} lost, it could be chance: more items or "
                "repeats would show it"
            )
    return said


Drawn = Mapping[str, tuple[float | None, int | None]]
"""Suite to the temperature and the longest answer that its samples were drawn with."""


def drawn_alike(champion: Scores, then: Drawn, now: Drawn) -> tuple[Scores, list[str]]:
    """The champion's scores of suites that were sampled as they are now, and a sentence for each other one.

    Of an older round nothing is known; its scores stay.
    """
    alike, apart = Scores(), []
    for suite, items in champion.items():
        if None in then.get(suite, (None, None)) or suite not in now or then[suite] == now[suite]:
            alike[suite] = items
            continue
        (warm, long), (warm_now, long_now) = then[suite], now[suite]
        apart.append(
            f"{suite}: not compared with the champion, which was sampled at temperature {warm:g} with at most {long} "
            f"tokens an answer; this round's models were at {warm_now:g} with {long_now}"
        )
    return alike, apart


def against_champion(
    suites: Sequence[SuiteSpec], champion: Scores, candidate: Scores, confidence: float
) -> tuple[list[ChampionGain], list[str]]:
    """Paired gains over the campaign's champion on items that both were given, and what did not pair."""
    compared, apart = [], []
    for suite in suites:
        first, second = champion.get(suite.name, {}), candidate.get(suite.name, {})
        both, unpaired = pairs(first, second), _unpaired(first, second)
        if first and unpaired:
            apart.append(
                f"{suite.name}: compared with the champion on {len(both)} items; {unpaired} were given to one of them "
                "only"
            )
        if both:
            gain = gains(both)
            low, high = gain.interval(confidence)
            compared.append(
                ChampionGain(
                    suite=suite.name, items=len(both), unpaired=unpaired, gain=gain.mean, gain_interval=[low, high]
                )
            )
    return compared, apart


def decide(
    judged: Sequence[Judged], lost: Sequence[Loss], apart: Collection[str] = (), other: Collection[str] = ()
) -> tuple[Verdict, list[str]]:
    """The verdict and its reasons: what held it, or what it passed; then what was lower, and could not be paired.

    `other` are reasons to hold that have nothing to do with scores.
    """
    suites = [j.verdict for j in judged]
    told = [f"{s.suite}: {s.unpaired} items were scored for one model only" for s in suites if s.unpaired]
    told += [
        f"{s.suite}: the gain is one of form: right answers in any form did not become more beyond chance"
        for s in suites
        if s.by_form
    ]
    held = [text for j in judged for text in j.failed]
    held += dict.fromkeys(sentence(loss) for loss in lost if loss.shown)
    held += other
    gated = [s for s in suites if s.gate is not GateOutcome.NONE]
    if held or not gated:
        lower = [sentence(loss) for loss in lost if not loss.shown][:TOLD]
        return Verdict.HELD, [*([] if gated else [NO_GATE]), *held, *lower, *told, *apart]
    return Verdict.PROMOTED, [*(text for s in gated for text in s.reasons), *told, *apart]
