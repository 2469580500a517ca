"""The collapse guard on curves: of runs that learnt, of collapses that were seen, and of injected ones."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.results import CurvePoint, OutcomeReward, TrainingStateResult
from flywheel_api.rljob import CheckpointSpec
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import retention
from flywheel_jobs.trainer.checkpoints import Checkpoint, Checkpoints
from flywheel_jobs.trainer.guard import Seen, _of_answers, _of_outcomes, suspect_from, suspicion
from flywheel_jobs.trainer.nodes import Nodes
from flywheel_store.memory import MemoryBucket


def curve(**series: Sequence[Any]) -> list[CurvePoint]:
    """Points of fields by name; a field that is shorter ends early."""
    steps = max(map(len, series.values()))
    return [
        CurvePoint.model_validate(
            {"step": n + 1, **{name: values[n] for name, values in series.items() if n < len(values)}}
        )
        for n in range(steps)
    ]


def outcomes(n: int = 128, **rewards: Sequence[float]) -> list[dict[str, Any]]:
    """The field `by_outcome` of each step, each outcome with `n` trajectories."""
    return [
        {outcome: {"reward": value, "n": n} for outcome, value in zip(rewards, values, strict=True)}
        for values in zip(*rewards.values(), strict=True)
    ]


def first_alarm(points: list[CurvePoint]) -> int | None:
    return next((n for n in range(1, len(points) + 1) if suspicion(points[:n])), None)


HEALTHY = {
    # the reasoning training of a demo round that went from .03 to .56: rewards of steps rise, groups are mixed
    "reasoning of a demo": curve(
        reward=[0.06, 0.09, 0.12, 0.10, 0.19, 0.25, 0.22, 0.34, 0.38, 0.41, 0.45, 0.52, 0.50, 0.58, 0.61, 0.60],
        reward_spread=[0.14, 0.18, 0.2, 0.19, 0.25, 0.31, 0.3, 0.36, 0.34, 0.37, 0.33, 0.31, 0.34, 0.28, 0.25, 0.26],
        grad_norm=[2.1, 1.8, 2.5, 1.9, 2.2, 2.8, 2.4, 2.0, 2.6, 2.3, 1.9, 2.2, 1.8, 2.0, 1.7, 1.9],
        entropy=[1.1, 1.08, 1.05, 1.0, 0.96, 0.9, 0.88, 0.8, 0.77, 0.72, 0.7, 0.66, 0.63, 0.6, 0.58, 0.55],
        groups=[4] * 16, trajectories=[32] * 16,
        zero_variance_groups=[2, 2, 1, 2, 1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 2, 1],
        format_rate=[0.6, 0.66, 0.7, 0.75, 0.8, 0.86, 0.9, 0.92, 0.95, 0.97, 0.98, 1.0, 1.0, 1.0, 1.0, 1.0],
        distinct_answers=[0.5, 0.48, 0.5, 0.45, 0.44, 0.41, 0.42, 0.4, 0.4, 0.38, 0.37, 0.36, 0.35, 0.35, 0.34, 0.34]),
    # solved: all of a group are right, so nothing differs, entropy is gone and all groups are flat
    "solved": curve(
        reward=[0.4, 0.5, 0.5, 0.7, 0.8, 0.9, 0.96, 0.98, 1.0, 1.0],
        reward_spread=[0.45, 0.44, 0.42, 0.3, 0.25, 0.15, 0.1, 0.05, 0.0, 0.0],
        entropy=[0.9, 0.8, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.08],
        groups=[4] * 10, zero_variance_groups=[0, 1, 1, 2, 2, 3, 3, 4, 4, 4]),
    # exported from a demo: the policy finds the form, and is at its best in the step in which its gradient jumps
    "a form is found": curve(
        reward=[0.094, 0.062, 0.094, 0.062, 0.156, 0.094, 0.094, 0.062, 0.281],
        success=[0.094, 0.062, 0.094, 0.062, 0.156, 0.094, 0.094, 0.062, 0.281],
        reward_spread=[0.204, 0.177, 0.204, 0.177, 0.306, 0.204, 0.204, 0.116, 0.347],
        grad_norm=[1.931, 2.159, 3.308, 3.293, 5.198, 4.035, 6.911, 3.381, 11.262],
        entropy=[2.482, 2.949, 2.715, 1.999, 2.274, 1.345, 0.964, 1.301, 0.723], groups=[4] * 9,
        format_rate=[0.438, 0.469, 0.594, 0.781, 0.719, 0.875, 0.875, 0.688, 0.906],
        truncated=[0.25, 0.156, 0.094, 0.062, 0.031, 0.0, 0.0, 0.0, 0.0],
        distinct_answers=[0.812, 0.844, 0.938, 0.625, 0.625, 0.5, 0.312, 0.625, 0.281]),
    # exported: one sample in thirty is right by luck, and then none; it was stopped before it could begin
    "nothing is right yet": curve(
        reward=[0, 0.031, 0.031, 0, 0, 0.094], success=[0, 0.031, 0.031, 0, 0, 0.094],
        reward_spread=[0, 0.088, 0.088, 0, 0, 0.204], grad_norm=[0, 1.589, 1.885, 0, 0, 2.609],
        entropy=[None, 2.744, 2.634, None, None, 2.874], groups=[4] * 6, zero_variance_groups=[4, 3, 3, 4, 4, 2],
        format_rate=[0.312, 0.406, 0.469, 0.625, 0.406, 0.594], truncated=[0.188, 0.219, 0.188, 0.094, 0.25, 0.219],
        distinct_answers=[1.0, 0.844, 0.812, 0.844, 0.906, 0.656]),
    # exported: 15 problems of ten families, each soon solved always or never, four of them in a step; the last step is
    # not on record, and is written as it was told: three of four groups alike
    "each problem is solved or not": curve(
        reward=[0.094, 0.094, 0.0, 0.156, 0.25, 0.344, 0.625, 0.25, 0.688, 0.969, 0.031, 0.75, 0.375],
        reward_spread=[0.204, 0.129, 0.0, 0.32, 0.365, 0.422, 0.408, 0.231, 0.334, 0.088, 0.088, 0.0, 0.1],
        grad_norm=[1.969, 1.773, 0, 3.57, 5.261, 8.808, 14.875, 5.212, 12.998, 5.069, 5.882, 0, 5],
        entropy=[2.53, 2.18, None, 3.066, 2.218, 1.598, 0.849, 1.997, 0.616, 0.085, 0.634, None, 0.6],
        groups=[4] * 13, zero_variance_groups=[2, 3, 4, 1, 1, 0, 0, 2, 1, 3, 3, 4, 3],
        format_rate=[0.375, 0.406, 0.25, 0.469, 0.719, 0.875, 0.969, 0.719, 0.969, 1.0, 1.0, 1.0, 1.0],
        truncated=[0.438, 0.344, 0.438, 0.438, 0.094, 0.031, 0, 0.094, 0, 0, 0, 0, 0],
        distinct_answers=[0.906, 0.875, 1.0, 0.875, 0.781, 0.594, 0.375, 0.719, 0.344, 0.156, 0.406, 0.156, 0.2]),
    # exported: 15 problems in 16 steps. All are known by heart in the end, or never solved: nothing is left to learn
    "known by heart": curve(
        reward=[0, 0.094, 0.062, 0.094, 0.25, 0.188, 0.062, 0.625, 0.719, 0.5, 0.469, 0.594, 0.75, 0.75, 0.5, 1],
        reward_spread=[0, 0.204, 0.177, 0.265, 0.293, 0.334, 0.116, 0.449, 0.32, 0.177, 0.088, 0.222, 0.259, 0, 0, 0],
        grad_norm=[0, 2.31, 1.82, 2.38, 5.77, 4.68, 3.27, 10.75, 8.66, 8.6, 4.72, 14.05, 11.21, 0, 0, 0],
        entropy=[None, 2.81, 2.38, 2.23, 1.99, 1.85, 2.14, 1.11, 0.62, 0.63, 0.64, 0.28, 0.47, None, None, None],
        groups=[4] * 16, trajectories=[32] * 16, zero_variance_groups=[4, 2, 2, 1, 1, 1, 3, 0, 1, 2, 3, 2, 2, 4, 4, 4],
        format_rate=[0.34, 0.31, 0.25, 0.41, 0.56, 0.62, 0.84, 0.88, 0.91, 0.97, 0.97, 1, 0.94, 1, 1, 1],
        truncated=[0.31, 0.31, 0.41, 0.44, 0.19, 0.12, 0.09, 0.06, 0, 0, 0, 0, 0, 0, 0, 0],
        distinct_answers=[0.97, 0.97, 1, 0.97, 0.84, 0.84, 0.5, 0.41, 0.38, 0.41, 0.38, 0.25, 0.31, 0.22, 0.34, 0.12]),
    # exported: two groups a step, and in the last both are solved
    "booking of a demo": curve(
        reward=[0, 0.167, 0.25, 0.417, 0.417, 0.5], reward_spread=[0, 0.258, 0.274, 0.204, 0.204, 0],
        grad_norm=[0, 0.835, 0.703, 0.731, 1.242, 0], entropy=[None, 0.323, 0.104, 0.06, 0.06, None],
        groups=[2] * 6, zero_variance_groups=[2, 1, 1, 1, 1, 2], truncated=[0.333, 0.417, 0.167, 0.5, 0.583, 0.5]),
    # exported: as above, and stopped for it: six groups that are alike, as two in three are in any step, and long
    # problems that happened to come last; spread and advantage were counted as two signs
    "booking, the last three steps alike": curve(
        reward=[0.333, 0, 0.333, 0.5, 0, 0.5], reward_spread=[0.258, 0, 0.478, 0, 0, 0],
        grad_norm=[1.28, 0, 2.028, 0, 0, 0], entropy=[0.173, None, 0.212], format_rate=[1] * 6, groups=[2] * 6,
        trajectories=[12] * 6, zero_variance_groups=[1, 2, 0, 2, 2, 2],
        truncated=[0.083, 0.667, 0.083, 0.5, 0.417, 0.167]),
    # exported: the round before, whose last step was published and gained .24
    "booking, the same and longer": curve(
        reward=[0.167, 0, 0.25, 0.417, 0, 0.5], reward_spread=[0.258, 0, 0.274, 0.204, 0, 0],
        grad_norm=[1.386, 0, 0.948, 0.862, 0, 0], entropy=[0.622, None, 0.116, 0.1], groups=[2] * 6,
        trajectories=[12] * 6, format_rate=[1, 0.75, 1, 1, 0.917, 1], zero_variance_groups=[1, 2, 1, 1, 2, 2],
        truncated=[0.167, 0.583, 0.25, 0.417, 0.667, 0]),
    # the agentic training of an early demo: one lucky sample in step 1, then six equal trajectories in every group. Of
    # twelve groups the curve cannot tell it from the two above: it starves, and `training.informativeFloor` holds it
    "one gradient of twelve": curve(
        reward=[0.08, 0.0, 0.5, 0.0, 0.0, 0.0], reward_spread=[0.2, 0.0, 0.0, 0.0, 0.0, 0.0],
        grad_norm=[3.2, 0.0, 0.0, 0.0, 0.0, 0.0], groups=[2] * 6, zero_variance_groups=[1, 2, 2, 2, 2, 2],
        entropy=[0.6, 0.2, 0.1, 0.09, 0.08, 0.08]),
    # exported as well: hard problems, four groups a step
    "few are solved": curve(
        reward=[0.02, 0.17, 0.14, 0.15, 0.1, 0.1, 0.18, 0.27, 0.18, 0.16, 0.18, 0.33, 0.21, 0.1, 0.24, 0.24],
        success=[0, 0.12, 0.06, 0.06, 0, 0, 0.09, 0.19, 0.09, 0.06, 0.09, 0.25, 0.12, 0, 0.16, 0.16],
        grad_norm=[2.5, 9.03, 8.87, 12.23, 0, 8.61, 4.61, 7.43, 11.72, 4.54, 8.8, 5.59, 7.83, 0, 5.53, 6.16],
        groups=[4] * 16, zero_variance_groups=[2, 0, 1, 1, 4, 3, 1, 2, 1, 2, 2, 2, 2, 4, 2, 1]),
    # exported: four groups a step, each solved or not; the reward is ten times what it was
    "solved in parts": curve(
        reward=[0.06, 0.0, 0.03, 0.0, 0.03, 0.06, 0.41, 0.19, 0.31, 0.59, 0.09, 0.41, 0.31],
        success=[0.06, 0.0, 0.03, 0.0, 0.03, 0.06, 0.41, 0.19, 0.31, 0.59, 0.09, 0.41, 0.31],
        reward_spread=[0.18, 0.0, 0.09, 0.0, 0.09, 0.18, 0.22, 0.25, 0.37, 0.13, 0.13, 0.2, 0.12],
        grad_norm=[1.98, 0.0, 1.53, 0.0, 1.74, 4.3, 9.35, 11.64, 11.23, 9.73, 9.8, 12.89, 8.21],
        entropy=[2.39, None, 3.03, None, 2.38, 2.5, 0.93, 1.06, 0.42, 0.38, 0.29, 0.49, 0.46],
        format_rate=[0.31, 0.47, 0.41, 0.66, 0.5, 0.88, 1.0, 0.97, 1.0, 0.97, 1.0, 0.97, 1.0],
        truncated=[0.16, 0.12, 0.28, 0.22, 0.34, 0.09, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        distinct_answers=[0.88, 0.91, 0.91, 0.78, 0.81, 0.53, 0.34, 0.31, 0.16, 0.16, 0.19, 0.19, 0.22],
        groups=[4] * 13, zero_variance_groups=[2, 4, 3, 4, 3, 2, 2, 2, 1, 3, 3, 2, 3]),
    # exported: as above; the last two steps have three problems each that are never solved, and one that always is
    "two hard batches": curve(
        reward=[0, 0.188, 0.031, 0.094, 0.219, 0.281, 0.062, 0.812, 0.688, 0.25, 0.656, 0.5, 0.844, 0.25, 0.25],
        reward_spread=[0, 0.334, 0.088, 0.204, 0.245, 0.263, 0.177, 0.347, 0.116, 0, 0.204, 0, 0.222, 0, 0],
        grad_norm=[0, 3.64, 1.36, 2.68, 3.52, 5.78, 4.1, 14.98, 5.53, 0, 5.94, 0, 9.02, 0, 0], groups=[4] * 15,
        zero_variance_groups=[4, 2, 3, 2, 2, 2, 3, 1, 3, 4, 3, 4, 2, 4, 4],
        format_rate=[0.469, 0.25, 0.25, 0.531, 0.531, 0.719, 0.719, 0.938, 0.875, 1, 1, 1, 1, 1, 1],
        distinct_answers=[
            0.812, 0.906, 0.938, 0.844, 0.844, 0.781, 0.656, 0.25, 0.375, 0.312, 0.281, 0.219, 0.25, 0.219, 0.188
        ]),
    "one bad step": curve(
        reward=[0.3, 0.35, 0.3, 0.4, 0.0, 0.42, 0.45, 0.44], grad_norm=[1.0, 1.1, 0.9, 1.0, 9.0, 1.2, 1.0, 1.1],
        reward_spread=[0.4, 0.4, 0.42, 0.4, 0.0, 0.39, 0.4, 0.38]),
    "nothing is said": curve(reward=[0.1] * 12),
}  # fmt: skip
COLLAPSES = {
    # a second round: the reward settles at exactly the bonus for a bare wrong number, one answer to everything
    "a bare number for everything": (9, curve(
        reward=[0.26, 0.24, 0.25, 0.22, 0.2, 0.15, 0.12, 0.1, 0.1, 0.1, 0.1, 0.1],
        success=[0.2, 0.18, 0.19, 0.15, 0.1, 0.06, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0],
        reward_spread=[0.3, 0.3, 0.31, 0.28, 0.2, 0.14, 0.06, 0.0, 0.0, 0.0, 0.0, 0.0],
        groups=[4] * 12, zero_variance_groups=[1, 1, 1, 1, 2, 2, 3, 4, 4, 4, 4, 4],
        distinct_answers=[0.5, 0.5, 0.48, 0.4, 0.3, 0.2, 0.1, 0.05, 0.04, 0.03, 0.03, 0.03])),
    # RAGEN's order: the spread of rewards, then their mean, then the gradient
    "echo trap": (10, curve(
        reward=[0.3, 0.32, 0.31, 0.33, 0.34, 0.33, 0.3, 0.28, 0.2, 0.1, 0.05, 0.02],
        reward_spread=[0.4, 0.41, 0.4, 0.36, 0.3, 0.25, 0.2, 0.15, 0.1, 0.06, 0.03, 0.02],
        grad_norm=[1.0, 1.1, 1.0, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 5.0, 9.0, 20.0])),
    "endless texts": (9, curve(
        reward=[0.4] * 6 + [0.1, 0.05, 0.0, 0.0], truncated=[0.0] * 6 + [0.4, 0.7, 0.9, 1.0],
        entropy=[0.5] * 6 + [0.9, 1.6, 2.5, 3.0])),
    "form lost": (9, curve(
        reward=[0.4] * 6 + [0.15, 0.1, 0.05, 0.0], format_rate=[0.95] * 6 + [0.7, 0.5, 0.3, 0.1])),
    # the mean rises all the way: whatever is asked, it is cancelled
    "one outcome for the others": (10, curve(
        reward=[0.2, 0.21, 0.22, 0.3, 0.38, 0.45, 0.48, 0.5, 0.5, 0.5],
        reward_spread=[0.3, 0.3, 0.3, 0.28, 0.2, 0.12, 0.08, 0.05, 0.03, 0.0], groups=[48] * 10,
        trajectories=[384] * 10, zero_variance_groups=[6, 6, 9, 12, 24, 30, 32, 32, 33, 33],
        by_outcome=outcomes(
            cancel=[0.15, 0.2, 0.25, 0.4, 0.6, 0.8, 0.9, 0.95, 1.0, 1.0],
            refund=[0.31, 0.3, 0.28, 0.25, 0.2, 0.05, 0.0, 0.0, 0.0, 0.0],
            denied=[0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]))),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_a_training_that_learns_raises_no_alarm(name: str) -> None:
    assert first_alarm(HEALTHY[name]) is None


@pytest.mark.parametrize("name", COLLAPSES)
def test_a_collapse_is_seen_in_time(name: str) -> None:
    latest, points = COLLAPSES[name]
    alarm = first_alarm(points)
    assert alarm is not None and alarm <= latest, f"seen at step {alarm}"


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("name", COLLAPSES)
def test_what_is_published_is_from_before_the_alarm(name: str, every: int) -> None:
    """Also where the mean of several steps still looks best in the middle of the fall."""
    points = COLLAPSES[name][1]
    alarm = first_alarm(points)
    assert alarm is not None
    chosen, best = published(points[:alarm], every), published(points[: alarm - 3], every)
    assert chosen is best is not None and chosen <= alarm - 3
    later = published(points, every)
    assert later is not None and later <= alarm - 3, "a training that is only told goes on"


def test_a_lucky_step_in_the_fall_is_not_published() -> None:
    """The mean of four steps calls the end of this fall as good as its lucky third step."""
    committed = checkpoints(HEALTHY["one gradient of twelve"], 2)
    assert committed.best() is committed.committed[6] and committed.best(4) is committed.committed[2]
    late = checkpoints(HEALTHY["one gradient of twelve"], 5)
    assert late.best(4) is late.committed[5], "the first there is, where none is before it"
    kept = retention.keep(dict.fromkeys([2, 4, 6], 0.1), CheckpointSpec(keep_last=1, keep_best=1))
    assert kept == {2, 4, 6}, "and it is still there"
    assert retention.keep(dict.fromkeys([2, 4, 6], 0.1), CheckpointSpec(keep_last=1, keep_best=0)) == {6}


@pytest.mark.parametrize("every", [1, 2, 3, 6])
def test_a_checkpoint_from_before_the_alarm_is_still_there_whenever_it_comes(every: int) -> None:
    """Seen in a demo: of 2, 4, 6 ... each was dropped before it was three steps old, and step 2 of 15 was published."""
    there: set[int] = set()
    for last in range(every, 8 * every + 1, every):
        there = retention.keep(dict.fromkeys(there | {last}, 0.1), CheckpointSpec(keep_last=1, keep_best=1))
        sound = [step for step in there if step <= last - 3]
        assert last <= 3 + every or max(sound) > last - 3 - every, (last, there)
        assert len(there) <= 2 + 3 // every


def test_a_healthy_training_publishes_as_ever() -> None:
    for points in HEALTHY.values():
        assert suspect_from(points) is None
    assert published(HEALTHY["reasoning of a demo"], 2) == 16


def checkpoints(points: Sequence[CurvePoint], every: int) -> Checkpoints:
    """Those that a training with this curve has committed."""
    made = Checkpoints(Store(MemoryBucket()), "n", "sha256:0", CheckpointSpec(), Path(), Nodes(spread=False))
    owner = Owner(kind="RLJob", namespace="n", name="j", uid="u")
    for step in range(every, len(points) + 1, every):
        state = TrainingStateResult(step=step, curve=points[:step])
        manifest = Manifest(owner=owner, stage="Train", attempt=1, files=[], result=state, created_at="")
        made.committed[step] = Checkpoint(manifest, state)
    return made


def published(points: Sequence[CurvePoint], every: int) -> int | None:
    """The step whose checkpoint is published after this curve."""
    best = checkpoints(points, every).best(suspect_from(points))
    return best and best.state.step


@pytest.mark.parametrize("groups", [4, 16, 64])
def test_outcomes_that_come_and_go_by_chance_are_no_sign(groups: int) -> None:
    """Each group is solved or not as its problem is, and which outcomes a step has is luck, too."""
    rng, seen, runs = random.Random(groups), 0, 200
    for _ in range(runs):
        points = []
        for step in range(1, 17):
            drawn: dict[str, list[float]] = {}
            for _ in range(groups):
                drawn.setdefault(rng.choice("abcde"), []).append(float(rng.random() < 0.4))
            said = {o: OutcomeReward(reward=sum(v) / len(v), n=8 * len(v)) for o, v in drawn.items()}
            points.append(CurvePoint(step=step, groups=groups, trajectories=8 * groups, by_outcome=said))
        seen += any(list(_of_outcomes(points[:n])) for n in range(6, 17))
    assert seen <= 4, f"{seen} of {runs}"


def test_an_entropy_that_was_nothing_lately_has_not_risen() -> None:
    """Of nothing anything is more than twice as much."""
    sure = curve(entropy=[0.6] * 3 + [0.0] * 6 + [0.01] * 3)
    assert not list(_of_answers(Seen(sure)))
    assert list(_of_answers(Seen(curve(entropy=[0.6] * 3 + [0.0] * 6 + [1.3] * 3))))


INJECTED: list[tuple[int, dict[str, Any]]] = [
    (12, {"reward_spread": 0.01, "zero_variance_groups": 4, "distinct_answers": 0.05, "reward": 0.1}),
    (12, {"reward": 0.02, "grad_norm": 30.0}),
    (12, {"format_rate": 0.2, "reward": 0.05}),
    (12, {"truncated": 0.9, "entropy": 3.0}),
    (12, {"distinct_answers": 0.05, "entropy": 0.1, "reward": 0.2}),
]


@pytest.mark.parametrize(("at", "change"), INJECTED)
def test_injected_collapses(at: int, change: dict[str, Any]) -> None:
    healthy = HEALTHY["reasoning of a demo"]
    sick = [p if p.step < at else p.model_copy(update=change) for p in healthy]
    alarm = first_alarm(sick)
    assert alarm is not None and at <= alarm <= at + 2
    one = dict([next(iter(change.items()))])
    alone = [p if p.step < at else p.model_copy(update=one) for p in healthy]
    assert first_alarm(alone) is None, "one sign is no suspicion"


@pytest.mark.parametrize(
    "rewards", [[-0.5] * 8, [3.0] * 8, [2.0] * 5 + [0.1] * 3, [-0.2] * 4 + [-0.9] * 4, [float("nan")] * 8]
)
def test_a_reward_of_another_scale_is_no_share_of_groups(rewards: list[float]) -> None:
    """A reward function of one's own may give any number."""
    each = [OutcomeReward(reward=value, n=16) for value in rewards if value == value]
    said = {"by_outcome": [{"denied": one} for one in each]} if each else {}
    assert suspicion(curve(reward=rewards, groups=[4] * 8, trajectories=[32] * 8, **said)) is None


def test_a_long_training_of_many_groups_is_judged_in_no_time() -> None:
    fallen = {"reward": [0.5] * 597 + [0.2] * 3, "format_rate": [0.9] * 597 + [0.3] * 3}
    points = curve(groups=[256] * 600, trajectories=[2048] * 600, **fallen)
    started = time.process_time()
    assert suspicion(points)
    assert time.process_time() - started < 1
