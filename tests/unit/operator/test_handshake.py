"""The handshake as the operator sees it: Prepare is told whom to ask, nothing holds a GPU before, findings are said."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.artifacts import Progress, progress_key
from flywheel_api.canonical import canonical_json
from flywheel_api.causes import Cause
from flywheel_api.results import EndpointFinding
from flywheel_api.stages import STAGE_CONFIG_ENV
from unit.operator.world import World, env_json

TEACHER = {"role": "Teacher", "url": "http://teacher:8000/v1", "model": "large"}
POLICY = {"role": "Policy", "url": "http://policy:8000/v1", "model": "base"}
SOLVER = {"role": "Solver", "url": "http://solver:8000/v1", "model": "medium"}


def asked(world: World) -> dict[str, str]:
    """Role -> model of the handshakes that Prepare's Job is configured for."""
    job = next(j for j in world.of_kind("Job") if "prepare" in j["metadata"]["name"])
    config = env_json(job["spec"]["template"]["spec"], STAGE_CONFIG_ENV)
    return {e["role"]: e["model"] for e in config["endpoints"]}


@pytest.mark.parametrize(
    ("endpoints", "roles"),
    [
        ([TEACHER], {"Teacher": "large", "Solver": "large", "UserSimulator": "large"}),
        ([TEACHER, SOLVER], {"Teacher": "large", "Solver": "medium", "UserSimulator": "large"}),
        ([TEACHER, POLICY], {"Teacher": "large", "Solver": "large", "UserSimulator": "large", "Policy": "base"}),
    ],
    ids=["the round's own pool is not up yet", "a solver of its own", "a policy of the user's"],
)
async def test_prepare_asks_every_role_that_a_stage_will_ask(
    endpoints: list[dict[str, Any]], roles: dict[str, str]
) -> None:
    world = World()
    world.apply_as("demo-r1", endpoints=endpoints)
    await world.run(until="EvaluateBase")
    assert asked(world) == roles
    assert {e["role"]: e["model"] for e in world.status()["endpoints"]} == roles
    assert not any("foundBy" in e for e in world.status()["endpoints"])


async def test_no_pool_is_made_for_roles_that_cannot_work() -> None:
    world = World()
    world.fail["Prepare"] = (Cause.INFRA, "EndpointRefused")
    world.apply_as("demo-r1", endpoints=[TEACHER])
    await world.run(40)
    assert world.status()["attempts"][-1]["reason"] == "EndpointRefused"
    assert not world.of_kind("RolloutPool"), "a GPU would be held while a person looks for the key"


async def test_findings_that_were_taken_over_name_the_round_that_asked() -> None:
    world = World()
    world.apply_as("demo-r1", endpoints=[TEACHER])
    await world.run(until="EvaluateBase")
    world.apply_as("demo-r2", endpoints=[TEACHER])
    await world.run(until_of=("demo-r2", "EvaluateBase"))
    found = world.status(name="demo-r2")["endpoints"]
    assert found and {e["foundBy"] for e in found} == {"demo-r1"}


# ---- a Prepare that was taken over ----------------------------------------------------------------------------------
def prepared(world: World) -> dict[str, Any]:
    return next(s for s in world.status(name="demo-r2")["stages"] if s["name"] == "Prepare")


async def another_round(**spec: Any) -> World:
    """A second round that takes Prepare over and mines with other samples."""
    world = World()
    world.apply_as("demo-r1", endpoints=[TEACHER])
    await world.finish("demo-r1")
    world.ran.clear()
    world.apply_as("demo-r2", endpoints=[TEACHER], seed=0, **spec)
    return world


OTHER = {"reasoning": {"seeds": "builtin://numeracy", "synthesis": {"structural": 2}}}


async def test_endpoints_are_asked_anew_before_anybody_is_who_is_asked_and_nothing_is_made_anew() -> None:
    world = await another_round(**OTHER)
    await world.finish("demo-r2")
    assert world.ran[0] == "Prepare" and world.ran.count("Prepare") == 1 and "SynthesizeReasoning" in world.ran
    mine = prepared(world)
    assert mine["reusedFrom"]["name"] == "demo-r1" and mine["attempt"] == 1
    first = next(s for s in world.status()["stages"] if s["name"] == "Prepare")
    assert mine["manifest"] == first["manifest"], "whoever reads it reads the same data"


async def test_a_server_that_changed_meanwhile_stops_the_round_before_it_is_asked_for_data() -> None:
    world = await another_round(**OTHER)
    world.fail["Prepare"] = (Cause.INFRA, "EndpointRefused")
    await world.run(60, until_of=("demo-r2", "SynthesizeReasoning"))
    status = world.status(name="demo-r2")
    assert status["attempts"][-1]["reason"] == "EndpointRefused" and set(world.ran) == {"Prepare"}
    assert not any(p["metadata"]["name"].startswith("demo-r2") for p in world.of_kind("RolloutPool"))
    del world.fail["Prepare"]
    await world.finish("demo-r2")
    assert world.status(name="demo-r2")["verdict"] == "Promoted" and prepared(world)["attempt"] > 1


async def test_nobody_is_asked_for_a_round_that_takes_everything_over() -> None:
    world = await another_round()
    await world.finish("demo-r2")
    assert "Prepare" not in world.ran and prepared(world)["attempt"] == 0


async def test_what_the_servers_of_today_can_do_stands_in_status() -> None:
    world = await another_round(**OTHER)
    world.holding.add("Prepare")
    for _ in range(60):
        await world.run(1)
        if prepared(world)["state"] == "Running":
            break
    uid = world.get("FlywheelRound", "demo-r2")["metadata"]["uid"]
    anew = [EndpointFinding(role="Teacher", model="larger", window=4096)]
    told = Progress(manifest=prepared(world)["manifest"], endpoints=anew, updated_at="", heartbeat_at="")
    world.store.put(progress_key(uid, "Prepare", 1), canonical_json(told.dump()))
    await world.run(10)
    (found,) = world.status(name="demo-r2")["endpoints"]
    assert found["model"] == "larger" and "foundBy" not in found
