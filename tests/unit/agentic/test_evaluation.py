"""Intervals, gains and gates."""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from flywheel_api.records.evaluation import GateRow
from flywheel_api.results import SuiteScore, SuiteVerdict, Track, Verdict
from flywheel_api.round import GateSpec, SuiteSpec
from flywheel_jobs.evaluation.intervals import effective, paired_gain, score_interval, wilson
from flywheel_jobs.evaluation.verdict import against_champion, decide, item_means, judge_suite


def test_wilson_matches_published_values() -> None:
    # Newcombe 1998 (Stat Med 17:857), table I: 81 of 263, 15 of 148, 0 of 20
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    with pytest.raises(ValueError, match="not a proportion"):
        wilson(0, 0)


def test_alike_repeats_count_less() -> None:
    same = [[1.0] * 4, [0.0] * 4] * 6
    mixed = [[1.0, 0.0, 1.0, 0.0]] * 12
    assert effective(same) == pytest.approx(12)
    assert effective(mixed) == pytest.approx(48)
    assert score_interval(same)[1] > score_interval(mixed)[1]


def test_score_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng, hits = random.Random(1), 0
    for _ in range(300):
        chances = [rng.betavariate(2, 3) for _ in range(24)]
        groups = [[float(rng.random() < p) for _ in range(4)] for p in chances]
        low, high = score_interval(groups, 0.9)
        hits += low <= 0.4 <= high
    assert 0.84 <= hits / 300 <= 0.97


def test_paired_gain_is_seeded_and_covers() -> None:
    rng, hits = random.Random(2), 0
    for n in range(120):
        base = {str(i): fmean(float(rng.random() < 0.3) for _ in range(4)) for i in range(24)}
        new = {str(i): fmean(float(rng.random() < 0.5) for _ in range(4)) for i in range(24)}
        gain, (low, high) = paired_gain(base, new, 0.9, seed=n)
        assert low <= gain <= high and (gain, (low, high)) == paired_gain(base, new, 0.9, seed=n)
        hits += low <= 0.2 <= high
    assert 0.8 <= hits / 120 <= 0.98


def test_gain_of_equal_differences_is_not_a_certainty() -> None:
    gain, (low, high) = paired_gain({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 1.0})
    assert gain == 1.0 and low < 0.5 and high == 1.0
    with pytest.raises(ValueError, match="share no item"):
        paired_gain({"a": 0.0}, {"b": 1.0})


def rows(suite: str, scores: list[float]) -> list[GateRow]:
    return [GateRow(id=f"r{n}", suite=suite, item=f"i{n}", score=s) for n, s in enumerate(scores)]


def entry(scores: list[float]) -> SuiteScore:
    interval = list(score_interval([[s] for s in scores]))
    n = len(scores)
    return SuiteScore(name="s", track=Track.REASONING, score=fmean(scores), interval=interval, n=n, items=n, repeats=1)


def judged(base: list[float], new: list[float], **gate: str) -> SuiteVerdict:
    suite = SuiteSpec(name="s", gate=GateSpec.model_validate(gate) if gate else None)
    means = (item_means(rows("s", base)), item_means(rows("s", new)))
    return judge_suite(suite, entry(base), entry(new), means, 0.95, 0)


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
    compared, behind = against_champion([suite], best, poor, 0.95, 0)
    assert compared[0].gain == pytest.approx(-10 / 12) and "behind the champion" in behind[0]
    passed = judged(WORSE, BETTER, minScore="0")
    assert decide([passed], behind)[0] == Verdict.HELD and decide([passed], [])[0] == Verdict.PROMOTED
    assert against_champion([suite], {}, poor, 0.95, 0) == ([], [])
