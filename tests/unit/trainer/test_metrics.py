"""What verl reports of a step as curve points."""

from __future__ import annotations

import math

import pytest

from flywheel_api.results import CurvePoint
from flywheel_jobs.trainer import metrics
from flywheel_jobs.trainer.metrics import Curve, point_of

NUMBERS = {
    "global_seqlen/min": 500.0,
    "actor/pg_loss": -0.25,
    "actor/grad_norm": 2.5,
    "perf/total_num_tokens": 900.0,
    "critic/score/mean": 0.4375,
    "critic/score/max": 1.0,
    "response_length/mean": 7.5,
    "num_turns/mean": 2.0,
    "timing_s/gen": 2.0,
    "timing_s/step": 10.0,
    "val-core/x/reward/mean@1": 0.5,
    "actor/entropy": math.nan,
    "training/rollout_probs_diff_max": 1.5e-05,
}


def test_a_step() -> None:
    point = point_of(3, NUMBERS)
    assert point is not None
    assert (point.step, point.reward, point.reward_max, point.grad_norm) == (3, 0.4375, 1.0, 2.5)
    assert (point.response_tokens, point.turns, point.seconds, point.seconds_generate) == (7.5, 2.0, 10.0, 2.0)
    assert point.tokens_per_second == pytest.approx(90.0)
    assert point.rollout_probs_diff_max == pytest.approx(1.5e-5)
    assert point.validation == {"x/reward/mean@1": 0.5}
    assert point.entropy is None, "nan is no number of the curve (and no JSON)"
    assert point.non_finite == [], "entropy is neither loss nor gradient"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["actor/grad_norm", "actor/pg_loss", "actor/kl_loss", "critic/vf_loss"])
def test_loss_and_gradient_that_are_no_numbers_are_named(name: str, bad: float) -> None:
    point = point_of(3, {**NUMBERS, name: bad, "critic/vf_explained_var": math.nan})
    assert point is not None and point.non_finite == [name]
    assert CurvePoint.model_validate_json(point.model_dump_json()) == point


def test_a_validation_carries_a_step_too() -> None:
    assert point_of(0, {"val-core/x/reward/mean@1": 0.5}) is None


def test_curve_survives_a_resume() -> None:
    first = Curve()
    for step in (1, 2, 3):
        first.add(CurvePoint(step=step, reward=step / 10, seconds=10.0))
    resumed = Curve.of(first.upto(2))
    resumed.add(CurvePoint(step=3, reward=0.9, seconds=20.0))
    assert [p.reward for p in resumed.upto(9)] == [0.1, 0.2, 0.9]


def test_a_point_is_completed_by_what_another_one_sets() -> None:
    curve = Curve()
    curve.add(CurvePoint(step=1, reward=0.0, seconds=10.0))
    whole = curve.add(CurvePoint(step=1, reward=None, masked=2))
    assert (whole.reward, whole.masked, whole.seconds) == (None, 2, 10.0), "None that is set takes a number's place"
    assert curve.upto(1) == [whole]


def test_every_name_is_a_field_of_the_curve() -> None:
    assert set(metrics._NAMES.values()) <= set(CurvePoint.model_fields)


def test_pace_leaves_out_the_first_step() -> None:
    curve = Curve()
    assert curve.seconds_per_step() is None
    curve.add(CurvePoint(step=1, seconds=60.0))
    assert curve.seconds_per_step() == 60.0
    curve.add(CurvePoint(step=2, seconds=10.0))
    assert curve.seconds_per_step() == 10.0
