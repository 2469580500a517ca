"""How often the guard stops a healthy training, and sees one that falls apart, at the sizes that presets ship."""

from __future__ import annotations

import pytest

from flywheel_api.presets import PRESETS
from flywheel_api.results import CurvePoint, Track
from flywheel_jobs.trainer.guard import suspicion
from unit.trainer.drawn_curves import FALLS, HEALTHY, SIZES, Size, drawn

RUNS, FALLEN = 100, 60
IN_TIME = 4  # steps from the first that fell
SMALL = "demo, agentic", "demo, reasoning"
POWER = 0.9
LESS = {
    ("demo, agentic", "gibberish"): 0.8,
    ("demo, agentic", "no form"): 0.8,
    ("demo, agentic", "loops"): 0.5,
    ("demo, agentic", "one answer"): 0.0,
    ("demo, agentic", "echo"): 0.0,
    ("demo, reasoning", "echo"): 0.05,
}
"""What so few groups show less often (docs/evidence/guard.md): their rewards alone say too little."""


def first_alarm(points: list[CurvePoint]) -> int | None:
    return next((n for n in range(1, len(points) + 1) if suspicion(points[:n]) is not None), None)


def begins(size: Size, seed: int) -> int:
    """Where a fall begins: a training of six steps is looked at once, so it is in the middle."""
    return size.steps // 2 if size.steps == 6 else size.steps // 2 + 1 + seed % 4


def test_the_sizes_are_those_of_the_presets() -> None:
    for name, preset, track in (
        ("demo, agentic", "smollm2-135m-cpu", Track.AGENTIC),
        ("demo, reasoning", "smollm2-135m-cpu", Track.REASONING),
        ("64 prompts", "agenticqwen-8b", Track.AGENTIC),
        ("64 prompts", "agenticqwen-30b-a3b", Track.REASONING),
    ):
        size, algorithm = SIZES[name], PRESETS[preset][track]["algorithm"]
        assert (size.groups, size.samples) == (algorithm.prompts_per_step, algorithm.group_size)
        assert algorithm.max_steps in (None, size.steps)


@pytest.mark.parametrize("name", SIZES)
def test_hardly_a_healthy_training_is_stopped(name: str) -> None:
    size, runs = SIZES[name], RUNS if name in SMALL else 4
    # where answers are cut from the start, more of them cut is no health
    kinds = [kind for kind in HEALTHY if kind != "longer answers" or size.cut < 0.2]
    stopped = [(kind, seed) for kind in kinds for seed in range(runs) if first_alarm(drawn(seed, size, kind))]
    assert len(stopped) <= 0.02 * len(kinds) * runs, stopped


@pytest.mark.parametrize("fall", FALLS)
@pytest.mark.parametrize("name", SIZES)
def test_a_training_that_falls_apart_is_seen_in_time(name: str, fall: str) -> None:
    size, runs, seen = SIZES[name], FALLEN if name in SMALL else 3, 0
    for seed in range(runs):
        at = begins(size, seed)
        alarm = first_alarm(drawn(seed, size, ("slow climb", "climb")[seed % 2], fall, at))
        seen += alarm is not None and at <= alarm <= at + IN_TIME
    assert seen >= LESS.get((name, fall), POWER) * runs, f"{seen} of {runs}"
