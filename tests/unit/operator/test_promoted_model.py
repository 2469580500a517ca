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


async def since_training() -> list[World]:
    """A round that nobody disturbs, as each turn found it, from the one in which training began to the end."""
    world, turns = World(), list[World]()
    world.apply(ROUND)
    while not world.status().get("finishedAt"):
        start = world.fork()
        await turn(world)
        if turns or any(s["state"] == "Running" and s["name"].startswith("Train") for s in world.status()["stages"]):
            turns.append(start)
    return turns


async def turn(world: World, without: tuple[str, ...] = ()) -> None:
    """A look, after which the RLJobs of `without` are deleted, and what everybody else does."""
    await world.look()
    for job in world.of_kind("RLJob"):
        if job["metadata"]["labels"]["flywheel.dev/stage"] in without:
            world.kube.remove("RLJob", NS, job["metadata"]["name"])
    world.act()
    world.tick()


@pytest.mark.parametrize("which", WHICH, ids="+".join)
async def test_rljobs_may_be_deleted_at_every_moment(which: tuple[str, ...]) -> None:
    turns = await since_training()
    assert len(turns) > 10
    for when, world in enumerate(turns):
        await turn(world, which)
        while not world.status().get("finishedAt"):
            await turn(world)
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
