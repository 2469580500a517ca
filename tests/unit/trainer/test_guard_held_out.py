"""The guard on courses that trainings are known to take. What it should do was decided before it was run on them.

Sources of the courses: RAGEN (arXiv 2504.20073), DAPO (2503.14476), entropy mechanism (2505.22617). None of them set
a number of the guard.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from flywheel_api.results import CurvePoint
from flywheel_jobs.trainer.guard import suspicion

GROUPS, SAMPLES, STEPS = 16, 8, 30
Course = Callable[[int], dict[str, Any]]


def course(at: Course, groups: int = GROUPS) -> list[CurvePoint]:
    """Points of a course: what it does not say is healthy, with the noise of so many groups."""
    rng, points = random.Random(at.__name__), []
    for step in range(1, STEPS + 1):
        said: dict[str, Any] = {"reward": 0.4, "dead": 0.3, "entropy": 0.6, "grad_norm": 1.0, "truncated": 0.02}
        said |= {"format_rate": 0.97, "distinct_answers": 0.6} | at(step)
        alike = said.pop("dead")
        dead = sum(rng.random() < alike for _ in range(groups))
        right = sum(rng.random() < said["reward"] for _ in range(groups)) / groups
        said["reward"] = 0.5 * (right + said["reward"])  # a group's samples are no coin of one side
        for name in [name for name in ("entropy", "grad_norm") if said[name] is not None]:
            said[name] *= rng.lognormvariate(0, 0.15)
        spread = 0.5 * (1 - dead / groups)
        of = {"groups": groups, "trajectories": SAMPLES * groups, "zero_variance_groups": dead, "reward_spread": spread}
        points.append(CurvePoint.model_validate({"step": step, "success": said["reward"]} | of | said))
    return points


def part(step: int, since: int, over: int) -> float:
    """How much of a change is done that begins after `since` and takes `over` steps."""
    return min(1.0, max(0.0, (step - since) / over))


def runaway_of_the_kl(n: int) -> dict[str, Any]:
    gone = part(n, 15, 4)
    return {"reward": (0.3 + 0.3 * part(n, 0, 12)) * (1 - 0.9 * gone), "kl": 0.01 * math.exp(6 * part(n, 10, 8)),
            "grad_norm": 1 + 8 * gone, "entropy": 0.6 + 2 * gone}  # fmt: skip


def length_is_hacked(n: int) -> dict[str, Any]:
    more = part(n, 8, 8)
    return {"truncated": 0.02 + 0.7 * more, "entropy": 0.6 - 0.45 * more, "response_tokens": 200 + 800 * more}


def entropy_gone_and_nothing_gained(n: int) -> dict[str, Any]:
    gone = part(n, 5, 8)
    return {"reward": 0.3, "entropy": 0.6 * (1 - 0.95 * gone), "distinct_answers": 0.6 * (1 - 0.9 * gone),
            "dead": 0.3 + 0.68 * gone}  # fmt: skip


def truncation_creeps(n: int) -> dict[str, Any]:
    more = part(n, 4, 24)
    return {"truncated": 0.02 + 0.7 * more, "reward": 0.6 * (1 - 0.6 * more)}


def plateau_with_little_entropy(n: int) -> dict[str, Any]:
    done = part(n, 0, 10)
    return {"reward": 0.3 + 0.3 * done, "entropy": 0.6 - 0.55 * done, "distinct_answers": 0.6 - 0.3 * done,
            "dead": 0.3 + 0.5 * done}  # fmt: skip


def slow_noisy_climb(n: int) -> dict[str, Any]:
    return {"reward": 0.2 + 0.006 * n, "entropy": 0.6 - 0.01 * n}


def sawtooth(n: int) -> dict[str, Any]:
    return {"reward": 0.3 + 0.008 * n + (0.12, 0.0, -0.1, 0.05, -0.12)[n % 5], "dead": (0.2, 0.5)[n % 2]}


def right_from_the_start(n: int) -> dict[str, Any]:
    return {"reward": 0.97, "dead": 0.85, "entropy": 0.3 * math.exp(-0.1 * n), "distinct_answers": 0.3}


def reward_begins_late(n: int) -> dict[str, Any]:
    begun = part(n, 14, 12)
    return {"reward": 0.5 * begun, "dead": 1 - 0.6 * begun, "entropy": 1.2 * (1 - 0.6 * begun),
            "grad_norm": 0.2 + 2 * begun, "format_rate": 0.5 + 0.4 * part(n, 0, 12)}  # fmt: skip


def steps_that_are_not_finite(n: int) -> dict[str, Any]:
    broken = n in (7, 8, 16, 17)
    gone = {"grad_norm": None, "entropy": None, "non_finite": ["actor/grad_norm"]}  # as the trainer puts it on record
    return gone if broken else {"reward": 0.3 + 0.005 * n}


def gradient_that_recovers(n: int) -> dict[str, Any]:
    return {"grad_norm": {9: 14.0, 10: 6.0, 20: 30.0}.get(n, 1.0), "reward": 0.3 + 0.008 * n}


def never_right(n: int) -> dict[str, Any]:
    return {"reward": 0.0, "dead": 1.0, "grad_norm": 0.0, "entropy": 1.0, "distinct_answers": 0.8}


def all_solved(n: int) -> dict[str, Any]:
    done = part(n, 2, 15)
    return {"reward": 0.4 + 0.6 * done, "dead": 0.3 + 0.7 * done, "entropy": 0.6 * (1 - 0.97 * done),
            "distinct_answers": 0.6 - 0.45 * done, "grad_norm": 1 - 0.98 * done}  # fmt: skip


STOPPED = {  # the steps in which it is in time: not before anything is lost, and while most is there
    runaway_of_the_kl: (16, 20),
    length_is_hacked: (11, 18),
    entropy_gone_and_nothing_gained: (9, 16),
    truncation_creeps: (16, 28),
}
LEFT_ALONE = [
    plateau_with_little_entropy,
    slow_noisy_climb,
    sawtooth,
    right_from_the_start,
    reward_begins_late,
    steps_that_are_not_finite,
    gradient_that_recovers,
    never_right,
    all_solved,
]


def alarms(points: list[CurvePoint]) -> list[tuple[int, str]]:
    return [(n, said) for n in range(1, len(points) + 1) if (said := suspicion(points[:n])) is not None]


@pytest.mark.parametrize("at", STOPPED, ids=lambda at: at.__name__)
def test_a_course_that_ends_badly_is_stopped_in_time(at: Course) -> None:
    seen = alarms(course(at))
    earliest, latest = STOPPED[at]
    assert seen and earliest <= seen[0][0] <= latest, seen[:1]


@pytest.mark.parametrize("groups", [4, GROUPS, 64])
@pytest.mark.parametrize("at", LEFT_ALONE, ids=lambda at: at.__name__)
def test_a_course_that_does_no_harm_is_left_alone(at: Course, groups: int) -> None:
    assert not alarms(course(at, groups))
