"""GPUs are counted while they are held, and given back while nobody asks what runs on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from flywheel_api.base import format_time
from flywheel_api.pool import RolloutPoolStatus
from flywheel_api.round import FlywheelRoundSpec, StageState, StageStatus
from flywheel_api.stages import PIPELINE, Runs, Stage
from flywheel_operator.model import RoundSeen
from flywheel_operator.observe.pods import held
from flywheel_operator.plan import budget, graph
from flywheel_operator.plan.starts import Starts
from unit.operator.cases import edited, stage, turns
from unit.operator.world import ROUND, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S = StageState


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def pod(gpus: int, node: str | None, phase: str = "Running") -> dict[str, Any]:
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {}
    spec = {"containers": [{"resources": {"limits": limits}}]} | ({"nodeName": node} if node else {})
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase}}


def test_a_pod_that_waits_for_a_node_holds_no_gpu() -> None:
    pods = [pod(8, "a"), pod(8, None, "Pending"), pod(0, "a"), pod(8, "b", "Succeeded"), pod(8, "b", "Pending")]
    assert held(pods, "nvidia.com/gpu") == 16, "one that pulls its image holds them"
    assert held(pods, "amd.com/gpu") == 0


def test_a_pool_is_charged_for_what_its_pods_hold() -> None:
    """An hour of waiting for nodes, half an hour with one of two, an hour with both, and nothing afterwards."""
    status = RolloutPoolStatus()
    for minutes, gpus in ((0, 0), (60, 8), (75, 8), (90, 16), (150, 0), (500, 0)):
        status = status.model_copy(update=budget.held(status, gpus, at(minutes)))
    assert budget.gpu_seconds(status, at(900)) == 30 * 60 * 8 + 60 * 60 * 16
    assert status.held_since is None


def starts(done: dict[Stage, float], running: set[Stage], now: float, gpus: bool = True) -> Starts:
    """A round with stages that ended so many minutes in."""
    stages = {d.stage: StageStatus(name=d.stage, state=S.PENDING) for d in PIPELINE}
    for name, minutes in done.items():
        stages[name] = StageStatus(name=name, state=S.SUCCEEDED, finished_at=format_time(at(minutes)))
    for name in running:
        stages[name] = StageStatus(name=name, state=S.RUNNING)
    return Starts(stages, RoundSeen(), False, at(now), gpus)


BEGUN = {Stage.PREFLIGHT: 0.0, Stage.PREPARE: 1.0, Stage.IMPORT_MODEL: 1.0, Stage.SERVE_BASE: 8.0}
MINED = BEGUN | {Stage.EVALUATE_BASE: 30.0, Stage.MINE_REASONING: 40.0, Stage.SEED_AGENTIC: 45.0}
WORK = {Stage.SYNTHESIZE_REASONING, Stage.EXPAND_AGENTIC}


@pytest.mark.parametrize(("now", "idle"), [(46, False), (54, False), (56, True), (600, True)])
def test_gpus_are_given_back_while_the_teacher_works_for_hours(now: float, idle: bool) -> None:
    found = starts(MINED, WORK, now)
    assert found.pool_idle(Stage.SERVE_BASE) is idle
    assert not found._wanted(Stage.SERVE_BASE), "it is not made anew at once"
    assert not starts(MINED, WORK, now, gpus=False).pool_idle(Stage.SERVE_BASE), "on CPU nothing is held"


def test_a_pool_comes_back_when_somebody_has_to_ask() -> None:
    turn = MINED | {Stage.EXPAND_AGENTIC: 300.0, Stage.INVERT_AGENTIC: 500.0}
    found = starts(turn, {Stage.SYNTHESIZE_REASONING}, 501)
    assert found._wanted(Stage.SERVE_BASE) and not found.pool_idle(Stage.SERVE_BASE)
    (serve,) = [d for d in PIPELINE if d.stage is Stage.SERVE_BASE and d.runs is Runs.POOL]
    assert found.pool_needed_again(serve)


def test_solving_keeps_no_pool_where_the_policy_is_not_measured() -> None:
    """The default. Solving 28,000 tasks takes a day of the teacher's."""
    mined = MINED | {Stage.SYNTHESIZE_REASONING: 46.0, Stage.VERIFY_REASONING: 47.0, Stage.MEASURE_REASONING: 48.0}
    inverted = mined | {Stage.EXPAND_AGENTIC: 47.0, Stage.INVERT_AGENTIC: 48.0}
    spec = FlywheelRoundSpec.model_validate(yaml.safe_load(ROUND)["spec"])
    quiet = replace(starts(inverted, {Stage.SOLVE_AGENTIC}, 49), unasked=graph.unasked(_samples(spec, 0)))
    assert quiet.pool_idle(Stage.SERVE_BASE) and not quiet._wanted(Stage.SERVE_BASE)
    assert replace(starts(inverted, set(), 49), unasked=graph.unasked(_samples(spec, 0)))._served(_SOLVE)
    busy = replace(starts(inverted, {Stage.SOLVE_AGENTIC}, 49), unasked=graph.unasked(_samples(spec, 2)))
    assert not busy.pool_idle(Stage.SERVE_BASE)
    assert not replace(starts(inverted, set(), 49), unasked=graph.unasked(_samples(spec, 2)))._served(_SOLVE)


_SOLVE = graph.BY_STAGE[Stage.SOLVE_AGENTIC]


def _samples(spec: FlywheelRoundSpec, samples: int) -> FlywheelRoundSpec:
    assert spec.agentic is not None
    difficulty = spec.agentic.difficulty.model_copy(update={"samples": samples})
    return spec.model_copy(update={"agentic": spec.agentic.model_copy(update={"difficulty": difficulty})})


def test_a_long_evaluation_keeps_it() -> None:
    assert not starts(BEGUN | {Stage.MINE_REASONING: 40.0}, {Stage.EVALUATE_BASE}, 600).pool_idle(Stage.SERVE_BASE)


async def test_a_round_gives_its_pool_back_in_the_gap_and_ends_all_the_same() -> None:
    gpus = {
        "spec__training": {"preset": "agenticqwen-8b"},
        "spec__endpoints": [{"role": "Teacher", "url": "http://standin:8000/v1", "model": "m"}],
        "spec__budget": {"gpuHours": "500", "wallClock": "480h"},
    }
    world = World()
    world.apply(edited(**gpus))
    world.holding |= {"SynthesizeReasoning", "ExpandAgentic"}
    await world.run(until="SynthesizeReasoning")
    await turns(world, 4)
    assert world.of_kind("RolloutPool"), "it may be a short gap"
    world.tick(700)
    await turns(world, 6)
    assert not world.of_kind("RolloutPool")
    spent = stage(world, "ServeBase")["gpuSeconds"]
    world.tick(36000)
    await turns(world, 4)
    assert not world.of_kind("RolloutPool") and stage(world, "ServeBase")["gpuSeconds"] == spent
    world.holding.clear()
    await world.run()
    assert world.status()["verdict"] == "Promoted"
    assert stage(world, "ServeBase")["attempt"] == 1, "no failure, the same attempt"
