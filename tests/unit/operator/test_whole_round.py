"""The whole operator over fakes: a round from apply to promotion, and what it must never do on the way."""

from __future__ import annotations

import pytest

from unit.operator.world import NS, ROUND, World


async def test_a_round_goes_from_apply_to_promoted() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    status = world.status()
    assert status["verdict"] == "Promoted", status.get("progress")
    assert world.condition("Promoted")["message"] == "every gate passed"
    assert {s["state"] for s in status["stages"]} == {"Succeeded"}
    assert status["score"] == "25.0 → 50.0"
    assert status["model"]["digest"].startswith("sha256:")
    assert world.condition("Ready")["status"] == "True"
    assert world.condition("Promoted")["status"] == "True"
    assert not world.of_kind("RolloutPool") and not world.of_kind("RayService"), "pools must be gone"


@pytest.mark.parametrize("kind", ["RayJob", "RayService"])
async def test_one_model_at_a_time_needs_memory(kind: str) -> None:
    world = World()
    world.apply(ROUND)
    for _ in range(200):
        await world.look()
        heavy = [
            p for p in world.of_kind("Pod") if p["metadata"]["ownerReferences"][0]["kind"] in ("RayJob", "RayService")
        ]
        assert len(heavy) <= 1
        world.act()
        if world.status().get("finishedAt"):
            break
    assert world.status()["verdict"] == "Promoted", kind


async def test_nothing_is_written_at_rest() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    for _ in range(40):
        await world.look()
        world.act()
    before = len(world.kube.log)
    for _ in range(40):
        await world.look()
        world.act()
    assert world.kube.log[before:] == []
    world.holding.clear()
    await world.run()
    before = len(world.kube.log)
    await world.look()
    assert world.kube.log[before:] == []


async def test_applying_children_of_a_deleted_round_are_its_own() -> None:
    world = World()
    world.apply(ROUND)
    await world.run(until="EvaluateBase")
    world.kube.remove("FlywheelRound", NS, "demo-r1")
    assert {k for k, _, _ in world.kube.objects} <= {"Secret", "Event"}
