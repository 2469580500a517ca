"""The handshake as the operator sees it: Prepare is told whom to ask, nothing holds a GPU before, findings are said."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.causes import Cause
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
