"""Promoted means that model: what a verdict names is what was evaluated, whatever happens to the trainings' RLJobs."""

from __future__ import annotations

import itertools

import pytest

from flywheel_api.stages import Stage
from unit.operator.world import NS, ROUND, World

TRAININGS = ("train-reasoning", "train-agentic")
WHICH = [*itertools.chain.from_iterable(itertools.combinations(TRAININGS, n) for n in (1, 2))]


def evaluated(world: World) -> str:
    """The model that EvaluateCandidate's own record is about."""
    status = world.status()
    digest = next(s["manifest"] for s in status["stages"] if s["name"] == Stage.EVALUATE_CANDIDATE)
    return world.read(digest).result.model or ""


async def drive(world: World, when: int, which: tuple[str, ...]) -> int:
    """Runs the round to its end; at turn `when` the RLJobs of `which` are deleted. The turns since training began."""
    turns = 0
    for _ in range(300):
        await world.look()
        if any(s["state"] == "Running" and s["name"].startswith("Train") for s in world.status()["stages"]) or turns:
            turns += 1
        if turns == when:
            for job in world.of_kind("RLJob"):
                if job["metadata"]["labels"]["flywheel.dev/stage"] in which:
                    world.kube.remove("RLJob", NS, job["metadata"]["name"])
        world.act()
        world.tick()
        if world.status().get("finishedAt"):
            break
    return turns


@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", WHICH, ids="+".join)
async def test_rljobs_may_be_deleted_at_every_moment(which: tuple[str, ...]) -> None:
    calm = World()
    calm.apply(ROUND)
    last = await drive(calm, -1, ())
    assert last > 10
    for when in range(1, last + 1):
        world = World()
        world.apply(ROUND)
        await drive(world, when, which)
        status = world.status()
        assert status["verdict"] == "Promoted", f"turn {when}: {status['progress']}"
        assert status["model"]["digest"] == evaluated(world), f"turn {when}"
        assert status["model"]["digest"] == world.promotions()[-1].model_digest, f"turn {when}"


async def test_the_next_round_starts_from_the_promoted_model() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    for job in world.of_kind("RLJob"):
        world.kube.remove("RLJob", NS, job["metadata"]["name"])
    world.apply_as("demo-r2", base={"round": "demo-r1"})
    await world.finish("demo-r2")
    assert world.status(name="demo-r2")["baseModel"]["digest"] == evaluated(world)
