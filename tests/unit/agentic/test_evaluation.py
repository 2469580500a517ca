"""Intervals, gains and gates."""

from __future__ import annotations

from fractions import Fraction
from statistics import fmean

import numpy as np
import pytest

from flywheel_api.records.evaluation import GateRow
from flywheel_api.results import CurvePoint, SuiteScore, Track, TrainingResult, Verdict
from flywheel_api.round import EvaluationSpec, GateSpec, SuiteSpec
from flywheel_api.stages import Stage
from flywheel_jobs.evaluation import intervals
from flywheel_jobs.evaluation.form import form_of
from flywheel_jobs.evaluation.intervals import Interval, score_interval, spread
from flywheel_jobs.evaluation.losses import chance_of_fall, holm
from flywheel_jobs.evaluation.scores import ItemScore, Pair, Scores, gains, item_scores, pairs
from flywheel_jobs.evaluation.verdict import Judged, against_champion, decide, drawn_alike, fallen, judge, too_few
from flywheel_jobs.stages.gate import uninformed


def mean_interval(values: list[Fraction], worst: int, best: int, confidence: float = 0.95) -> Interval:
    return spread(values, worst, best).interval(confidence)


def test_an_interval_of_right_and_wrong_items_is_the_exact_one() -> None:
    # Clopper and Pearson, from Newcombe 1998 (Stat Med 17:857), table I: 81 of 263, 15 of 148, 0 of 20
    for right, n, low, high in ((81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684)):
        values = [Fraction(1)] * right + [Fraction(0)] * (n - right)
        assert mean_interval(values, 0, 1) == pytest.approx((low, high), abs=2e-3)
    with pytest.raises(ValueError, match="no item"):
        mean_interval([], 0, 1)
    assert mean_interval([Fraction(1)], 0, 1, confidence=1.0) == (0, 1)


def test_one_item_is_one_effective_sample() -> None:
    one, often, two = ([[1.0] * 16], [[1.0] * 100], [[1.0] * 16] * 2)
    assert score_interval(one) == score_interval(often) == score_interval([[1.0]])
    assert score_interval(two)[0] > score_interval(one)[0]
    steady, torn = [[1.0, 0.0] * 2] * 12, [[1.0] * 4, [0.0] * 4] * 6
    assert score_interval(steady)[1] < score_interval(torn)[1]


@pytest.mark.parametrize("repeats", range(2, 17))
def test_equal_gains_are_no_certainty_however_often_items_are_repeated(repeats: int) -> None:
    """Each item one answer better: as floats such differences differ in the last bit, which once made [0.2, 0.2]."""
    for items in (2, 8):
        base = item_scores(rows("s", [k % (repeats - 1) / repeats for k in range(items)]))["s"]
        new = item_scores(rows("s", [(k % (repeats - 1) + 1) / repeats for k in range(items)]))["s"]
        assert {new[item].mean - base[item].mean for item in base} == {Fraction(1, repeats)}
        gain = gains(pairs(base, new))
        low, high = gain.interval(0.95)
        assert gain.mean == pytest.approx(1 / repeats) and low < 0 < gain.mean < high


@pytest.mark.parametrize(("facts", "each"), [(13, 3), (40, 2), (8, 4)])
def test_items_that_share_their_facts_are_one_sample(facts: int, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact's items gain and lose together: taken as independent, the interval misses far too often."""
    monkeypatch.setattr(intervals, "DRAWS", 4000)
    rng, runs, together, apart = np.random.RandomState(facts), 60, 0, 0
    names = [n for n in range(facts) for _ in range(each)]
    for _ in range(runs):
        moved = [Fraction(int(rng.choice([-1, 1]))) for _ in range(facts)]
        values = [moved[n] for n in names]
        low, high = spread(values, -1, 1, names).interval(0.95)
        together += low <= 0 <= high
        low, high = mean_interval(values, -1, 1)
        apart += low <= 0 <= high
    assert together >= 52 and apart < together  # 95 % of 60 is 57
    single = [Fraction(n % 2) for n in range(20)]
    assert spread(single, 0, 1, range(20)).interval(0.9) == mean_interval(single, 0, 1, 0.9)


def rows(suite: str, scores: list[float]) -> list[GateRow]:
    return [GateRow(id=f"r{n}", suite=suite, item=f"i{n}", content=f"c{n}", score=s) for n, s in enumerate(scores)]


def entry(scores: list[float]) -> SuiteScore:
    interval = list(score_interval([[s] for s in scores]))
    n = len(scores)
    return SuiteScore(name="s", track=Track.REASONING, score=fmean(scores), interval=interval, n=n, items=n, repeats=1)


def suite(name: str = "s", **gate: str) -> SuiteSpec:
    return SuiteSpec(name=name, source="s3://b/k", gate=GateSpec.model_validate(gate) if gate else None)


def round_of(*suites: SuiteSpec, margin: str = "0.05") -> EvaluationSpec:
    return EvaluationSpec.model_validate({"suites": [s.dump() for s in suites], "regression": {"margin": margin}})


def verdict_on(
    evaluation: EvaluationSpec, base: Scores, new: Scores, champion: Scores | None = None
) -> tuple[Verdict, list[str]]:
    """As the gate's stage comes to it."""
    scored = [
        {name: entry([float(i.mean) for i in items.values()]) for name, items in scores.items()}
        for scores in (base, new)
    ]
    found = judge(evaluation, scored[0], scored[1], (base, new), ({}, {}))
    lost = [*fallen(evaluation, "base", base, new), *fallen(evaluation, "champion", champion or {}, new)]
    return decide(found, lost)


def judged(base: list[float], new: list[float], **gate: str) -> Judged:
    means = (item_scores(rows("s", base)), item_scores(rows("s", new)))
    return judge(round_of(suite(**gate)), {"s": entry(base)}, {"s": entry(new)}, means, ({}, {}))[0]


WORSE, BETTER = [0.0] * 14 + [1.0] * 6, [0.0] * 8 + [1.0] * 12


def test_gate_by_point_and_by_interval() -> None:
    point = judged(WORSE, BETTER, minGainOverBase="0.2", requireSignificance="Point")
    strict = judged(WORSE, BETTER, minGainOverBase="0.2")
    assert (point.verdict.gate, strict.verdict.gate) == ("Passed", "Failed")
    assert "the lower end of its 95% interval is below 0.2" in strict.failed[0]
    assert decide([point], []) == (Verdict.PROMOTED, point.verdict.reasons)
    assert decide([strict], [])[0] == Verdict.HELD


def test_absolute_gate_and_no_gate() -> None:
    low = judged(WORSE, BETTER, minScore="0.9", requireSignificance="Point")
    assert low.verdict.gate == "Failed" and "score +0.600" in low.failed[0] and "below 0.9" in low.failed[0]
    free = judged(WORSE, BETTER)
    decision, reasons = decide([free], [])
    assert free.verdict.gate == "None" and decision == Verdict.HELD and "no suite has a gate" in reasons[0]


def test_each_gate_passes_at_what_the_others_leave_it() -> None:
    """Two gates: the clearer one at half of the tail, the other at the whole, and none once one has failed."""
    assert holm({"a": 0.01, "b": 0.02, "c": 0.9}) == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.9})
    base, new = Scores(), Scores()
    for name in ("s", "t"):
        base |= item_scores(rows(name, [0.0] * 6))
        new |= item_scores(rows(name, [1.0] * 6))
    alone, both = round_of(suite(minGainOverBase="0.0")), [suite(n, minGainOverBase="0.0") for n in ("s", "t")]
    assert verdict_on(alone, base, new)[0] == Verdict.PROMOTED
    decision, reasons = verdict_on(round_of(*both), base, new)
    assert decision == Verdict.HELD and "[-0.024, +1.000]" in reasons[0] and "below 0.0" in reasons[0]
    base |= item_scores(rows("t", [0.0] * 7))
    new |= item_scores(rows("t", [1.0] * 7))
    decision, reasons = verdict_on(round_of(*both), base, new)
    assert decision == Verdict.PROMOTED and "its 97.5% interval (corrected for 2 gates)" in reasons[1]


def test_a_model_behind_the_champion_is_held() -> None:
    best = item_scores(rows("s", [1.0] * 10 + [0.0] * 2))
    poor = item_scores(rows("s", [0.0] * 10 + [0.0] * 2))
    compared, apart = against_champion([suite(minScore="0")], best, poor, 0.95)
    assert compared[0].gain == pytest.approx(-10 / 12)
    assert (compared[0].items, compared[0].unpaired, apart) == (12, 0, [])
    for margin, gate in (("1", {"minScore": "0"}), ("0.05", {})):  # an ungated suite by the margin
        behind = fallen(round_of(suite(**gate), margin=margin), "champion", best, poor)
        assert [(loss.suite, loss.shown) for loss in behind] == [("s", True)]
        decision, reasons = decide([judged(WORSE, BETTER, minScore="0")], behind)
        assert decision == Verdict.HELD and "fell from 0.833 to 0.000 against the champion" in reasons[0]
    assert fallen(round_of(suite()), "champion", {}, poor) == [] == against_champion([suite()], {}, poor, 0.95)[0]


def test_a_suite_without_a_gate_that_falls_holds_the_round() -> None:
    gate = suite("t", minGainOverBase="0.0")
    base, new = item_scores(rows("s", [1.0] * 30)), item_scores(rows("s", [1.0, 0.0, 0.0] * 10))
    up = (item_scores(rows("t", [0.0] * 30)), item_scores(rows("t", [1.0] * 30)))
    decision, reasons = verdict_on(round_of(suite(), gate), base | up[0], new | up[1])
    assert decision == Verdict.HELD and reasons[0].startswith("s fell from 1.000 to 0.333 against the base")
    assert verdict_on(round_of(suite(), gate, margin="0.7"), base | up[0], new | up[1])[0] == Verdict.PROMOTED
    # within chance it is told where the round is held anyway, and holds nothing
    little = item_scores(rows("s", [1.0] * 27 + [0.0] * 3))
    assert verdict_on(round_of(suite(), gate), base | up[0], little | up[1])[0] == Verdict.PROMOTED
    decision, reasons = verdict_on(round_of(suite(), gate), base | up[1], little | up[0])
    assert "t: gain over the base" in reasons[0] and reasons[1].startswith("s is lower, within chance: from 1.000")
    # a gate that asks for no gain says nothing of a fall
    scored = suite(minScore="0.1", requireSignificance="Point")
    assert verdict_on(round_of(scored, gate), base | up[0], new | up[1])[0] == Verdict.HELD


def test_a_suite_that_was_replaced_under_its_ids_is_another_suite() -> None:
    easy = item_scores(rows("s", [1.0] * 30))
    hard = item_scores([r.model_copy(update={"content": f"harder {r.item}"}) for r in rows("s", [0.0] * 30)])
    compared, apart = against_champion([suite(minScore="0")], easy, hard, 0.95)
    assert compared == [] and "on 0 items; 60 were given to one of them only" in apart[0]
    assert fallen(round_of(suite(minScore="0")), "champion", easy, hard) == []
    assert decide([judged(WORSE, BETTER, minScore="0")], [], apart)[1][-1] == apart[0]


def test_a_champion_that_was_sampled_otherwise_is_not_compared() -> None:
    scores = item_scores([*rows("s", [1.0] * 6), *rows("t", [1.0] * 6)])
    now = {"s": (0.8, 512), "t": (0.8, 512)}
    for then in ((0.2, 512), (0.8, 96)):
        alike, apart = drawn_alike(scores, {"s": then, "t": (0.8, 512)}, now)
        assert list(alike) == ["t"] and len(apart) == 1
        assert f"s: not compared with the champion, which was sampled at temperature {then[0]}" in apart[0]
    for known in ({}, {"s": (None, None)}, now):
        assert drawn_alike(scores, known, now) == (scores, []), "of an older round nothing is known"


def test_champions_of_older_versions_pair_with_nothing() -> None:
    old = item_scores([r.model_copy(update={"content": ""}) for r in rows("s", [1.0] * 6)])
    assert against_champion([suite()], old, item_scores(rows("s", [0.0] * 6)), 0.95)[0] == []


def test_items_of_one_model_only_are_said() -> None:
    scores = [1.0] * 8
    means = (item_scores(rows("s", scores)), item_scores(rows("s", scores)[2:]))
    seen = judge(round_of(suite()), {"s": entry(scores)}, {"s": entry(scores)}, means, ({}, {}))[0]
    assert (seen.verdict.items, seen.verdict.unpaired) == (6, 2)
    assert decide([seen], [])[1][-1] == "s: 2 items were scored for one model only"


def test_too_few_items_refuse_a_gate_with_a_sentence() -> None:
    point, strict = (suite(minGainOverBase="0", requireSignificance=how) for how in ("Point", "Interval"))
    assert "4 different items to go by, below the 5 that any gate needs" in (too_few([(point, 4)], 0.95) or "")
    assert too_few([(point, 5)], 0.95) is None
    assert "5 different items are too few" in (too_few([(strict, 5)], 0.95) or "")
    assert too_few([(strict, 6)], 0.95) is None
    assert "corrected for 2 gates" in (too_few([(strict, 6), (suite("t", minScore="0.9"), 30)], 0.95) or "")
    sure = suite(minScore="0.9")
    assert "too few for its gate" in (too_few([(sure, 20)], 0.95) or "") and too_few([(sure, 40)], 0.95) is None
    held = judged([0.0] * 5, [1.0] * 5, minGainOverBase="0")
    assert held.verdict.gate == "Failed" and decide([held], []) == (Verdict.HELD, list(held.failed))
    assert judged([0.0] * 6, [1.0] * 6, minGainOverBase="0").verdict.gate == "Passed"


# ---- policies: what each is right on, by the stratum of an item -----------------------------------------------------
OUTCOMES = ("cancel", "refund", "refuse")
FAMILIES = ("add", "sub", "mul", "linear")


def policy(
    rates: dict[str, float], rng: np.random.RandomState, items: int, repeats: int, dimension: str = "outcome"
) -> dict[str, ItemScore]:
    """A policy's scores on items of each stratum; two items share their facts, and so their chance."""
    found = {}
    for value, rate in rates.items():
        for n in range(items):
            mark = f"{value} {n // 2}"
            right = Fraction(int(rng.binomial(repeats, rate)))
            found[f"{value} {n}"] = ItemScore(right, repeats, mark, {dimension: value, "kind": f"kind {n % 2}"})
    return found


POLICIES = [
    ("always cancels", "outcome", {"cancel": 1.0, "refund": 0.0, "refuse": 0.0}, {"outcome refund", "outcome refuse"}),
    ("always refuses", "outcome", {"cancel": 0.0, "refund": 0.0, "refuse": 1.0}, {"outcome cancel", "outcome refund"}),
    ("answers 7", "family", {"add": 0.1, "sub": 0.1, "mul": 0.02, "linear": 0.1}, {"family add", "family mul"}),
    ("lost a family", "family", {"add": 1.0, "sub": 1.0, "mul": 0.0, "linear": 1.0}, {"family mul"}),
]


@pytest.mark.parametrize(("name", "dimension", "rates", "lost"), POLICIES, ids=[p[0] for p in POLICIES])
@pytest.mark.parametrize("gate", [{"minGainOverBase": "0.0"}, {"minGainOverBase": "-0.5"}, {}])
def test_a_broken_policy_is_held_by_the_names_of_what_it_lost(
    name: str, dimension: str, rates: dict[str, float], lost: set[str], gate: dict[str, str]
) -> None:
    """Whatever the mean says: three quarters of a suite may have become perfect."""
    rng = np.random.RandomState(len(name))
    base = {"s": policy(dict.fromkeys(rates, 0.45), rng, 14, 4, dimension)}
    new = {"s": policy(rates, rng, 14, 4, dimension)}
    decision, reasons = verdict_on(round_of(suite(**gate)), base, new)
    assert decision == Verdict.HELD
    named = {stratum for stratum in lost if any(f"s: {stratum} fell from" in reason for reason in reasons)}
    assert named == lost, reasons
    if name == "lost a family":
        assert not any("family add" in reason for reason in reasons)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("suites", [1, 3])
def test_a_candidate_equal_to_its_base_is_promoted_in_less_than_one_round_of_twenty(
    seed: int, suites: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each fact moves up or down by itself, as a training that learns nothing on the whole does."""
    monkeypatch.setattr(intervals, "DRAWS", 1000)
    rng, promoted, runs = np.random.RandomState(seed), 0, 60
    evaluation = round_of(*(suite(f"s{n}", minGainOverBase="0.0") for n in range(suites)))
    for _ in range(runs):
        base, same = Scores(), Scores()
        for spec in evaluation.suites:
            base[spec.name], same[spec.name] = {}, {}
            for fact in range(16):
                chances = rng.beta(0.7, 0.7, 2) if seed % 2 else [rng.beta(0.7, 0.7)] * 2
                for item in range(1 + fact % 3):
                    for scores, chance in zip((base, same), chances, strict=True):
                        right = Fraction(int(rng.binomial(4, chance)))
                        scores[spec.name][f"{fact}/{item}"] = ItemScore(right, 4, str(fact), {})
        promoted += verdict_on(evaluation, base, same)[0] is Verdict.PROMOTED
    assert promoted <= 0.05 * runs


def test_a_candidate_that_gains_everywhere_is_not_held_for_its_strata(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many strata are not many chances to be held: the correction keeps the price of looking at all of them low."""
    monkeypatch.setattr(intervals, "DRAWS", 1000)
    rng, held, runs = np.random.RandomState(3), 0, 60
    families = [f"f{n}" for n in range(10)]
    for _ in range(runs):
        base = {"s": policy(dict.fromkeys(families, 0.4), rng, 12, 4, "family")}
        new = {"s": policy(dict.fromkeys(families, 0.5), rng, 12, 4, "family")}
        held += any(loss.shown for loss in fallen(round_of(suite(minGainOverBase="0.0")), "base", base, new))
    assert held <= 3


def test_the_chance_of_a_fall_is_exact() -> None:
    def pair(before: int, after: int, n: int = 2) -> Pair:
        return Pair(ItemScore(Fraction(before), n, "", {}), ItemScore(Fraction(after), n, "", {}))

    # Fisher's exact test, one-sided: 3 of 4 against 0 of 4 has 4 of 56 ways
    assert chance_of_fall([pair(3, 0, 4)]) == pytest.approx(4 / 56)
    # five items, one right sample each, all five of them the first model's: one of 2**5
    assert chance_of_fall([pair(1, 0)] * 5 + [pair(0, 0)] * 3) == pytest.approx(1 / 32)
    assert [chance_of_fall(found) for found in ([pair(0, 0)] * 3, [pair(0, 2)])] == pytest.approx([1, 1])


def test_form_is_told_apart_from_right_answers() -> None:
    texts = {
        "7": (1, 1),
        "\\boxed{7}": (1, 1),
        "3 plus 4 makes 7": (0, 1),
        "I think it is seven or so": (0, 0),
        "8": (1, 0),
        "7 is wrong, take 8": (0, 0),
        "so it is\n seven": (0, 1),
        "so it is\r\nseven\r\n": (0, 1),
        "<think>perhaps 7</think>so it is this": (0, 0),
        **dict.fromkeys((f"so it is{no_line} seven" for no_line in "\u2028\u2029\x85\x0b\x0c\r"), (0, 0)),
    }
    for text, wanted in texts.items():
        assert tuple(form_of(text, "7", False).values()) == wanted, text
    assert form_of("7", "7", True) == {"format": 0.0, "lenient": 0.0}
    base, new = item_scores(rows("s", [0.0] * 20)), item_scores(rows("s", [1.0] * 20))
    same = item_scores(rows("s", [1.0] * 20))
    for forms, by_form in (((same, same), True), ((base, new), False), (({}, {}), False)):
        seen = judge(
            round_of(suite(minGainOverBase="0.0")),
            {"s": entry([0.0] * 20)},
            {"s": entry([1.0] * 20)},
            (base, new),
            forms,
        )
        assert seen[0].verdict.by_form is by_form
        assert any("gain is one of form" in reason for reason in decide(seen, [])[1]) is by_form


def test_a_training_of_a_few_lucky_samples_is_no_reason_to_promote() -> None:
    """One informative group of twelve made a policy that cancels whatever is asked."""

    def trained(groups: int, flat: int, form: int = 0) -> TrainingResult:
        points = [
            CurvePoint(step=n + 1, groups=groups, zero_variance_groups=flat, form_only_groups=form) for n in (0, 1)
        ]
        return TrainingResult(step=2, curve=points)

    made = {Stage.TRAIN_REASONING: trained(10, 4, 2), Stage.TRAIN_AGENTIC: trained(6, 5)}
    said = uninformed(made, 0.2)
    assert len(said) == 1 and said[0].startswith("TrainAgentic: 2 of 12 groups carried an advantage")
    assert uninformed(made, 0.1) == [] and len(uninformed(made, 0.5)) == 2
    assert uninformed({Stage.TRAIN_AGENTIC: TrainingResult(step=1, curve=[CurvePoint(step=1)])}, 1.0) == []
    passed = judged(WORSE, BETTER, minGainOverBase="0")
    decision, reasons = decide([passed], [], [], said)
    assert decision is Verdict.HELD and said[0] in reasons
