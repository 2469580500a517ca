"""What an earlier release took goes on being looked after: rules of later ones are for what starts."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from unit.operator.world import NS, ROUND, World

POOL = """
apiVersion: flywheel.dev/v1alpha1
kind: RolloutPool
metadata: {name: policy, namespace: team}
spec: {model: "s3://flywheel/flywheel/models/tiny", gpusPerReplica: 1}
"""
ARGS = {"max-model-len": 9}  # had no effect beside engine.maxModelLen, and is refused by name today


async def turns(world: World, count: int = 4) -> None:
    for _ in range(count):
        await world.look()
        world.act()
        world.tick()


def refused_today() -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load(POOL)["spec"]
    return spec | {"engine": {"args": ARGS}}


async def test_a_pool_that_starts_is_told_what_no_engine_takes() -> None:
    world = World()
    world.apply(yaml.safe_dump(yaml.safe_load(POOL) | {"spec": refused_today()}))
    await turns(world)
    ready = world.condition("Ready", "RolloutPool", "policy")
    assert ready["reason"] == "InvalidSpec" and "set engine.maxModelLen" in ready["message"]
    assert not world.of_kind("RayService")


async def test_a_pool_that_serves_goes_on_serving_beside_a_spec_that_no_engine_takes() -> None:
    world = World()
    world.apply(POOL)
    await turns(world)
    (old,) = world.of_kind("RayService")
    world.kube.update("RolloutPool", NS, "policy", spec=refused_today())
    await turns(world)
    (service,) = world.of_kind("RayService")
    assert service["metadata"]["name"] == old["metadata"]["name"]
    assert world.status("RolloutPool", "policy")["endpoint"]
    assert world.condition("Ready", "RolloutPool", "policy")["reason"] == "InvalidSpec"
    before = world.kube.writes
    await turns(world)
    assert world.kube.writes == before


async def test_a_round_is_told_before_it_starts() -> None:
    world = World()
    world.apply(ROUND.replace("{gpusPerReplica: 0}", '{gpusPerReplica: 0, engine: {args: {"max-model-len": 9}}}'))
    await turns(world)
    ready = world.condition("Ready")
    assert ready["reason"] == "InvalidSpec" and "pool.engine.args.max-model-len" in ready["message"]


@pytest.mark.parametrize("args", [ARGS, {"port": 1}])
async def test_a_round_that_was_promoted_stays_so(args: dict[str, Any]) -> None:
    """Its engine cannot be changed any more: it would be called invalid for ever."""
    world = World()
    world.apply(ROUND)
    await world.run()
    spec = yaml.safe_load(ROUND)["spec"]
    spec["endpoints"][1]["pool"]["engine"] = {"args": args}
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec)
    await turns(world, 2)
    assert world.condition("Ready")["status"] == "True" and world.status()["verdict"] == "Promoted"
