"""What the API server does not take is said in its words, within a minute, and everything else is done meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import yaml

from flywheel_api.conditions import Reason
from flywheel_operator.ports.errors import Conflict, NotFound, PortError, Retryable
from flywheel_operator.queue import Key, NotBefore
from unit.operator.refused import refusing, turns
from unit.operator.test_pool import POOL
from unit.operator.world import NS, ROUND, START, World

Object = dict[str, Any]
WEBHOOK = '500 Internal error occurred: failed calling webhook "mjob.kb.io": connection refused'
QUOTA = '409 Operation cannot be fulfilled on resourcequotas "q": the object has been modified'
REFUSALS: dict[str, Callable[[], PortError]] = {
    "webhook": lambda: Retryable(WEBHOOK),
    "too many requests": lambda: Retryable("429 too many requests"),
    "not served": lambda: NotFound("404 the server could not find the requested resource"),
    "quota conflict": lambda: Conflict(QUOTA),
}


@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize(("kind", "stage"), [("Job", "Prepare"), ("RLJob", "TrainReasoning")])
async def test_a_kind_that_is_not_taken_is_said_within_a_minute(
    kind: str, stage: str, error: Callable[[], PortError]
) -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, kind, error)
    await world.run(until=stage)
    began = world.now
    while world.condition("Ready")["reason"] != Reason.API_REFUSES:
        await turns(world, 1)
        assert world.now - began < timedelta(seconds=60)
    assert str(error()) in world.condition("Ready")["message"]
    assert world.condition("Stalled")["status"] == "False", "it may pass by itself"
    world.kube.before_write = lambda verb, kind: None
    await world.run()
    assert world.status()["verdict"] == "Promoted"
    assert {s["attempt"] for s in world.status()["stages"] if s["state"] != "Skipped"} == {1}


@pytest.mark.parametrize("kind", ["Job", "RLJob", "RolloutPool"])
async def test_a_child_that_is_there_and_ours_is_no_conflict(kind: str) -> None:
    """A creation whose answer was lost is asked again by the client, and then told that it exists."""
    world, twice = World(), list[str]()

    def told_again(verb: str, written: str) -> None:
        if (verb, written) == ("create", kind):
            twice.append(written)
            raise Conflict("409 already exists")

    world.apply(ROUND)
    world.kube.after_write = told_again
    reasons: set[str] = set()
    while world.status().get("verdict") is None:
        await turns(world, 1)
        reasons.add(world.condition("Ready")["reason"])
    assert twice and world.status()["verdict"] == "Promoted" and Reason.NAME_CONFLICT not in reasons


async def test_the_other_effects_of_a_plan_are_done() -> None:
    world, refused = World(), list[str]()
    world.apply(ROUND)
    await world.run(until="ServeBase")

    def refuse(verb: str, kind: str) -> None:
        if (verb, kind) == ("create", "Job") and not refused:
            refused.append(kind)
            raise Retryable(WEBHOOK)

    world.kube.before_write = refuse
    while not refused:
        before = len(world.of_kind("Job"))
        await turns(world, 1)
    assert len(world.of_kind("Job")) > before, "the first of the stages that use the pool was refused, not the others"


@pytest.mark.parametrize("kind", ["RayJob", "RayService"])
async def test_it_is_said_of_pools_and_trainings_and_their_round_repeats_it(kind: str) -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, kind, REFUSALS["webhook"])
    await world.run(until="TrainReasoning" if kind == "RayJob" else "ServeBase")
    await turns(world, 40)
    owner = {"RayJob": "RLJob", "RayService": "RolloutPool"}[kind]
    child = world.of_kind(owner)[0]["metadata"]["name"]
    assert world.condition("Ready", owner, child)["reason"] == Reason.API_REFUSES
    assert "mjob.kb.io" in world.condition("Ready")["message"]


async def test_trouble_that_passes_is_nobodys_news() -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, "Job", REFUSALS["webhook"])
    await turns(world, 12)
    assert world.condition("Ready")["reason"] != Reason.API_REFUSES
    world.kube.before_write = lambda verb, kind: None
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_whoever_asks_for_much_time_is_told_of_at_once_and_gets_it() -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, "Job", lambda: Retryable("429 slow down", 120))
    await turns(world, 4)
    assert world.condition("Ready")["reason"] == Reason.API_REFUSES
    left = 120 - (world.now - START).total_seconds()
    assert await world.reconcile(Key("FlywheelRound", NS, "demo-r1")) == NotBefore(left)


async def test_the_start_up_clock_runs_without_a_child_and_the_words_stay() -> None:
    world = World()
    body = yaml.safe_load(ROUND)
    body["spec"]["budget"] = {"wallClock": "12h"}
    world.kube.seed(body)
    refusing(world, "Job", REFUSALS["webhook"])
    await turns(world, 360, 60)
    prepare = next(s for s in world.status()["stages"] if s["name"] == "Prepare")
    assert prepare["attempt"] > 5 and "failures" not in prepare and "fruitless" not in prepare
    last = world.status()["attempts"][-1]
    assert (last["cause"], last["reason"]) == ("Capacity", "NotCreated") and "mjob.kb.io" in last["message"]
    assert "finishedAt" not in world.status(), "the wall clock bounds it, not a count"
    await turns(world, 400, 60)
    assert "mjob.kb.io" in world.condition("Ready")["message"], "the end says what was in the way"
    assert world.condition("BudgetAvailable")["reason"] == "BudgetExhausted"


async def test_asking_again_starts_no_clock_of_a_pool_anew_and_tells_no_second_start() -> None:
    """Trouble that has not lasted yet is told to no planner, and events come meanwhile."""
    world = World()
    world.apply(POOL)
    refusing(world, "RayService", REFUSALS["webhook"])
    await turns(world, 1)
    began = world.status("RolloutPool", "policy")["startedAt"]
    await turns(world, 12)
    assert world.status("RolloutPool", "policy")["startedAt"] == began
    assert [event["reason"] for event in world.of_kind("Event")].count("Starting") == 1


async def test_a_name_conflict_is_somebodys_object_and_nothing_else() -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, "Job", REFUSALS["quota conflict"])
    await turns(world, 60)
    assert not any(c["reason"] == Reason.NAME_CONFLICT for c in world.status()["conditions"])
    assert world.now > START


async def test_a_lasting_refusal_is_written_once() -> None:
    world = World()
    world.apply(ROUND)
    refusing(world, "Job", REFUSALS["webhook"])
    await turns(world, 60)
    before = sum(verb == "status" and kind == "FlywheelRound" for verb, kind, _ in world.kube.log)
    await turns(world, 40)
    assert sum(verb == "status" and kind == "FlywheelRound" for verb, kind, _ in world.kube.log) == before
