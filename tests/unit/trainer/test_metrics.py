"""verl's console lines as curve points."""

from __future__ import annotations

import pytest

from flywheel_api.results import CurvePoint
from flywheel_jobs.trainer import metrics
from flywheel_jobs.trainer.metrics import Curve, parse_step

LINE = (
    "\x1b[36m(TaskRunnerV1 pid=16002)\x1b[0m step:3 - global_seqlen/min:500 - actor/pg_loss:np.float64(-0.25) - "
    "actor/grad_norm:2.5 - perf/total_num_tokens:900 - critic/score/mean:0.4375 - critic/score/max:np.float32(1.0) - "
    "response_length/mean:7.5 - num_turns/mean:2.0 - timing_s/gen:2.0 - timing_s/step:10.0 - training/epoch:0 - "
    "val-core/x/reward/mean@1:0.5 - actor/entropy:nan - training/rollout_probs_diff_max:1.5e-05"
)


def test_a_step() -> None:
    point = parse_step(LINE)
    assert point is not None
    assert (point.step, point.reward, point.reward_max, point.grad_norm) == (3, 0.4375, 1.0, 2.5)
    assert (point.response_tokens, point.turns, point.seconds, point.seconds_generate) == (7.5, 2.0, 10.0, 2.0)
    assert point.tokens_per_second == pytest.approx(90.0)
    assert point.rollout_probs_diff_max == pytest.approx(1.5e-5)
    assert point.validation == {"x/reward/mean@1": 0.5}
    assert point.entropy is None, "nan is no number of the curve (and no JSON)"


@pytest.mark.parametrize(
    "line", ["", "Training Progress: 3/10", "step:0 - val-core/x/reward/mean@1:0.5", "footstep:3 - a:1"]
)
def test_other_lines(line: str) -> None:
    assert parse_step(line) is None


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
