"""Group-relative advantages against their formula, masked trajectories and zero-variance groups."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flywheel_jobs.trainer.advantage import Normalise, group_advantages
from flywheel_jobs.trainer.signals import Groups


def advantages(rewards: list[float], groups: list[str], valid: list[bool] | None = None, **kwargs: Any) -> list[float]:
    flags = np.array(valid if valid is not None else [True] * len(rewards))
    return [float(a) for a in group_advantages(np.array(rewards), groups, flags, **kwargs)[0]]


def test_formula() -> None:
    rewards = [1.0, 0.0, 0.0, 1.0, 1.0]
    mean = 0.6
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / 4)
    expected = [(r - mean) / (std + 1e-6) for r in rewards]
    assert advantages(rewards, ["g"] * 5) == pytest.approx(expected, abs=1e-12)


def test_groups_are_independent_of_order() -> None:
    mixed = advantages([1.0, 5.0, 0.0, 7.0], ["a", "b", "a", "b"])
    assert mixed == pytest.approx([2**-0.5 * (1 - 1e-6), -(2**-0.5), -(2**-0.5), 2**-0.5], rel=1e-5)


def test_masked_rows_count_in_neither_mean_nor_std() -> None:
    kept = advantages([1.0, 0.0, 0.5], ["g"] * 3)
    with_outage = advantages([1.0, 0.0, 0.0, 0.5], ["g"] * 4, [True, True, False, True])
    assert [with_outage[i] for i in (0, 1, 3)] == pytest.approx(kept)
    assert with_outage[2] == 0.0


def test_an_outage_does_not_push_the_others() -> None:
    assert advantages([1.0, 1.0, 0.0], ["g"] * 3, [True, True, False]) == [0.0, 0.0, 0.0]


def test_one_left_of_a_group_has_nothing_to_compare_with() -> None:
    assert advantages([1.0, 0.0], ["g", "g"], [True, False]) == [0.0, 0.0]


def test_group_of_one_keeps_its_reward() -> None:
    assert advantages([0.7], ["g"]) == [0.7]


def test_without_normalisation() -> None:
    assert advantages([1.0, 0.0], ["g", "g"], normalise=Normalise.NONE) == [0.5, -0.5]


def test_report() -> None:
    rewards = np.array([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    valid = np.array([True, True, True, True, True, False])
    _, report = group_advantages(rewards, ["a", "a", "b", "b", "c", "c"], valid)
    assert report == Groups(groups=3, zero_variance=2, masked=1, spread=report.spread)
    assert report.spread == pytest.approx(2**-0.5 / 3)
    assert report.informative == 1


def test_groups_that_differ_by_form_only_carry_no_advantage() -> None:
    """Of 16 samples that all fail, the one bare number would get +3.75: it would be paid for not reasoning."""
    form = [0.1] + [0.0] * 15
    assert advantages(form, ["g"] * 16)[0] == pytest.approx(3.75, abs=0.01)
    assert advantages(form, ["g"] * 16, format_bonus=0.1) == [0.0] * 16
    mixed = [1.0, 0.1, 0.0, 0.0]
    assert advantages(mixed, ["g"] * 4, format_bonus=0.1) == advantages(mixed, ["g"] * 4)
    rewards = np.array([*form, *mixed, 0.5, -0.5])
    groups = ["a"] * 16 + ["b"] * 4 + ["c"] * 2
    _, report = group_advantages(rewards, groups, np.ones(22, dtype=bool), format_bonus=0.1)
    assert (report.groups, report.form_only, report.zero_variance, report.informative) == (3, 1, 0, 2)


def test_normalised_by_the_whole_batch() -> None:
    rewards, groups = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0], ["a"] * 2 + ["b"] * 4 + ["c"] * 2
    got = advantages(rewards, groups, normalise=Normalise.BATCH)
    centred = advantages(rewards, groups, normalise=Normalise.NONE)
    live = np.array(centred[:6])
    assert got[:6] == pytest.approx(live / live.std(ddof=1), rel=1e-5) and got[6:] == [0.0, 0.0]
