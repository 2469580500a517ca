"""Intervals, gains and gates."""

from __future__ import annotations

from fractions import Fraction
from statistics import fmean

import numpy as np
import pytest

from flywheel_api.records.evaluation import GateRow
from flywheel_api.results import SuiteScore, SuiteVerdict, Track, Verdict
from flywheel_api.round import GateSpec, SuiteSpec
from flywheel_jobs.evaluation import intervals
from flywheel_jobs.evaluation.intervals import mean_interval, paired_gain, score_interval
from flywheel_jobs.evaluation.verdict import against_champion, decide, item_means, judge_suite, too_few


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


@pytest.mark.parametrize("items", [3, 5, 24, 200])
@pytest.mark.parametrize("repeats", [1, 4, 16])
def test_intervals_hold_from_few_items_to_many(items: int, repeats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "DRAWS", 4000)
    rng, runs, gain_hits, false_gains, score_hits = np.random.RandomState(items * repeats), 40, 0, 0, 0
    for _ in range(runs):
        chances = rng.beta(0.5, 0.5, items)  # most items are easy or hard: repeats of one are alike
        base, same = (rng.binomial(repeats, chances) for _ in range(2))
        old, new = ({str(i): Fraction(int(k), repeats) for i, k in enumerate(counts)} for counts in (base, same))
        _, (low, high) = paired_gain(old, new)
        gain_hits += low <= 0 <= high
        false_gains += low > 0
        low, high = score_interval([[1.0] * k + [0.0] * (repeats - k) for k in base.tolist()])
        score_hits += low <= 0.5 <= high
    # 95 % of 40 is 38: fewer than 34 happens once in 10,000 where it holds, and so do 5 false gains
    assert gain_hits >= 34 and score_hits >= 34 and false_gains <= 4


@pytest.mark.parametrize("repeats", range(2, 17))
def test_equal_gains_are_no_certainty_however_often_items_are_repeated(repeats: int) -> None:
    """Each item one answer better: as floats such differences differ in the last bit, which once made [0.2, 0.2]."""
    for items in (2, 8):
        base = item_means(rows("s", [k % (repeats - 1) / repeats for k in range(items)]))["s"]
        new = item_means(rows("s", [(k % (repeats - 1) + 1) / repeats for k in range(items)]))["s"]
        assert {new[item] - base[item] for item in base} == {Fraction(1, repeats)}
        gain, (low, high) = paired_gain(base, new)
        assert gain == pytest.approx(1 / repeats) and low < 0 < gain < high
        assert (gain, (low, high)) == paired_gain(base, new)


def test_gain_without_a_common_item_is_refused() -> None:
    with pytest.raises(ValueError, match="share no item"):
        paired_gain({"a": Fraction(0)}, {"b": Fraction(1)})


def rows(suite: str, scores: list[float]) -> list[GateRow]:
    return [GateRow(id=f"r{n}", suite=suite, item=f"i{n}", content=f"c{n}", score=s) for n, s in enumerate(scores)]


def entry(scores: list[float]) -> SuiteScore:
    interval = list(score_interval([[s] for s in scores]))
    n = len(scores)
    return SuiteScore(name="s", track=Track.REASONING, score=fmean(scores), interval=interval, n=n, items=n, repeats=1)


def judged(base: list[float], new: list[float], **gate: str) -> SuiteVerdict:
    suite = SuiteSpec(name="s", gate=GateSpec.model_validate(gate) if gate else None)
    means = (item_means(rows("s", base)), item_means(rows("s", new)))
    return judge_suite(suite, entry(base), entry(new), means, 0.95)


WORSE, BETTER = [0.0] * 14 + [1.0] * 6, [0.0] * 8 + [1.0] * 12


def test_gate_by_point_and_by_interval() -> None:
    point = judged(WORSE, BETTER, minGainOverBase="0.2")
    strict = judged(WORSE, BETTER, minGainOverBase="0.2", requireSignificance="Interval")
    assert (point.gate, strict.gate) == ("Passed", "Failed")
    assert "the lower end of its 95% interval is below 0.2" in strict.reasons[0]
    assert decide([point], []) == (Verdict.PROMOTED, point.reasons)
    assert decide([strict], [])[0] == Verdict.HELD


def test_absolute_gate_and_no_gate() -> None:
    low = judged(WORSE, BETTER, minScore="0.9")
    assert low.gate == "Failed" and "score +0.600" in low.reasons[0] and "below 0.9" in low.reasons[0]
    free = judged(BETTER, WORSE)
    assert free.gate == "None" and free.gain < 0
    assert decide([free], []) == (Verdict.PROMOTED, ["no suite has a gate: nothing could hold the model"])


def test_a_model_behind_the_champion_is_held() -> None:
    suite = SuiteSpec(name="s", gate=GateSpec.model_validate({"minScore": "0"}))
    best = item_means(rows("s", [1.0] * 10 + [0.0] * 2))
    poor = item_means(rows("s", [0.0] * 10 + [0.0] * 2))
    compared, behind, apart = against_champion([suite], best, poor, 0.95)
    assert compared[0].gain == pytest.approx(-10 / 12) and "behind the champion" in behind[0]
    assert (compared[0].items, compared[0].unpaired, apart) == (12, 0, [])
    passed = judged(WORSE, BETTER, minScore="0")
    assert decide([passed], behind)[0] == Verdict.HELD and decide([passed], [])[0] == Verdict.PROMOTED
    assert against_champion([suite], {}, poor, 0.95) == ([], [], [])


def test_a_suite_that_was_replaced_under_its_ids_is_another_suite() -> None:
    suite = SuiteSpec(name="s", gate=GateSpec.model_validate({"minScore": "0"}))
    easy = item_means(rows("s", [1.0] * 30))
    hard = item_means([r.model_copy(update={"content": f"harder {r.item}"}) for r in rows("s", [0.0] * 30)])
    compared, behind, apart = against_champion([suite], easy, hard, 0.95)
    assert (compared, behind) == ([], []) and "on 0 items; 60 were given to one of them only" in apart[0]
    assert decide([judged(WORSE, BETTER, minScore="0")], behind, apart)[1][-1] == apart[0]


def test_champions_of_older_versions_pair_with_nothing() -> None:
    old = item_means([r.model_copy(update={"content": ""}) for r in rows("s", [1.0] * 6)])
    assert against_champion([SuiteSpec(name="s")], old, item_means(rows("s", [0.0] * 6)), 0.95)[0] == []


def test_items_of_one_model_only_are_said() -> None:
    suite, scores = SuiteSpec(name="s"), [1.0] * 8
    means = (item_means(rows("s", scores)), item_means(rows("s", scores)[2:]))
    seen = judge_suite(suite, entry(scores), entry(scores), means, 0.95)
    assert (seen.items, seen.unpaired) == (6, 2)
    assert decide([seen], [])[1][-1] == "s: 2 items were scored for one model only"


def test_too_few_items_refuse_a_gate_with_a_sentence() -> None:
    point, strict = (
        GateSpec.model_validate({"minGainOverBase": "0", "requireSignificance": how}) for how in ("Point", "Interval")
    )
    assert "4 items to go by, below the 5 that any gate needs" in (too_few("s", point, 4, 0.95) or "")
    assert too_few("s", point, 5, 0.95) is None
    assert "5 items are too few" in (too_few("s", strict, 5, 0.95) or "") and too_few("s", strict, 6, 0.95) is None
    sure = GateSpec.model_validate({"minScore": "0.9", "requireSignificance": "Interval"})
    assert "below 0.9" in (too_few("s", sure, 20, 0.95) or "") and too_few("s", sure, 40, 0.95) is None
    held = judged([0.0] * 5, [1.0] * 5, minGainOverBase="0", requireSignificance="Interval")
    assert held.gate == "Failed" and decide([held], []) == (Verdict.HELD, held.reasons)
    assert judged([0.0] * 6, [1.0] * 6, minGainOverBase="0", requireSignificance="Interval").gate == "Passed"
