"""A round on another round: what it waits for, starts from and is given, and what it does when that one was held."""

from __future__ import annotations

import json

import pytest
import yaml

from flywheel_api.causes import Cause
from flywheel_api.results import Verdict
from unit.operator.cases import turns
from unit.operator.world import ROUND, World


async def test_a_round_waits_for_its_base_round_and_starts_from_its_model() -> None:
    world = World()
    second = yaml.safe_load(ROUND)
    second["metadata"]["name"] = "demo-r2"
    second["spec"]["base"] = {"round": "demo-r1"}
    world.kube.seed(second)
    await turns(world, 2)
    assert world.condition("Preflight", name="demo-r2")["reason"] == "BaseRoundNotFound"
    world.apply(ROUND)
    await turns(world, 2)
    assert world.condition("Preflight", name="demo-r2")["reason"] == "Waiting"
    await world.run(300)
    for _ in range(100):
        await turns(world, 2)
        if world.status(name="demo-r2").get("finishedAt"):
            break
    assert world.status(name="demo-r2")["verdict"] == "Promoted"
    assert world.status(name="demo-r2")["baseModel"]["digest"] == world.status()["model"]["digest"]


async def test_a_round_is_given_what_the_campaign_made_before_it() -> None:
    """The wire by which rounds feed rounds: rollouts, the champion, and the verdicts whose suites are run again."""
    world = World()
    given = world.given
    world.apply(ROUND)
    await world.run()
    body = yaml.safe_load(ROUND)
    other = {"suites": [{"name": "another-heldout", "source": "s3://b/x", "gate": {"minScore": "0.1"}}]}
    world.apply_as("demo-r2", base={"round": "demo-r1"}, seed=2, evaluation=other)
    await world.run(until_of=("demo-r2", ""))
    assert world.status(name="demo-r2")["verdict"] == "Promoted"
    first, status = given["demo-r1", "Gate"], world.status(name="demo-r2")
    assert (first.get("champion"), first["earlier"], given["demo-r1", "MineReasoning"]["previousRollouts"]) == (
        None,
        [],
        [],
    )
    records = [json.loads(v) for k, v in world.store.objects.items() if "/promotions/" in k]
    promoted = next(r for r in records if r["round"]["name"] == "demo-r1")
    assert promoted["campaign"] == body["spec"]["campaign"]
    assert given["demo-r2", "Gate"]["champion"] == promoted["verdictDigest"]
    assert given["demo-r2", "Gate"]["earlier"] == [promoted["verdictDigest"]] == status["earlier"]
    assert given["demo-r2", "Prepare"]["earlier"] == [promoted["verdictDigest"]]
    for name in ("MineReasoning", "SeedAgentic"):
        assert given["demo-r2", name]["previousRollouts"] == promoted["rollouts"] == status["rollouts"]
    measured = next(s for s in status["stages"] if s["name"] == "MeasureReasoning")
    assert measured["note"] == "20 hard, 24 frontier, 9 solved", "bands, cost and what is missing are read in status"
    assert set(given["demo-r2", "MeasureReasoning"]["inputs"]) == {"Prepare", "MineReasoning", "VerifyReasoning"}
    assert {e["role"] for e in given["demo-r2", "MeasureReasoning"]["endpoints"]} == {"Policy", "Teacher", "Solver"}
    assert len(promoted["rollouts"]) == 2


async def test_a_base_round_that_was_not_promoted_is_said() -> None:
    world = World()
    second = yaml.safe_load(ROUND)
    second["metadata"]["name"] = "demo-r2"
    second["spec"]["base"] = {"round": "demo-r1"}
    world.fail["Prepare"] = (Cause.VALIDATION, "TooFew")
    world.apply(ROUND)
    await world.run()
    made = {kind for verb, kind, _ in world.kube.log if verb == "create"}
    assert "Job" in made and not made & {"RolloutPool", "RLJob", "RayJob", "RayService"}, "no GPU for wrong data"
    world.kube.seed(second)
    await turns(world, 2)
    told = world.condition("Preflight", name="demo-r2")
    assert told["reason"] == "BaseRoundNotPromoted"
    assert f"trained from itself is base.model: {world.status()['baseModel']['digest']}" in told["message"]


async def test_a_held_base_round_is_never_fallen_back_from_unasked_and_its_own_base_is_named() -> None:
    world = World()
    held, third = yaml.safe_load(ROUND), yaml.safe_load(ROUND)
    held["metadata"]["name"], third["metadata"]["name"] = "demo-r2", "demo-r3"
    held["spec"]["base"], third["spec"]["base"] = {"round": "demo-r1"}, {"round": "demo-r2"}
    base = {"uri": "s3://b/m", "digest": "sha256:a"}
    held["status"] = {"verdict": "Held", "finishedAt": "2026-01-01T00:00:00Z", "baseModel": base}
    world.kube.seed(held)
    world.kube.seed(third)
    await turns(world, 2)
    told = world.condition("Preflight", name="demo-r3")
    assert told["reason"] == "BaseRoundNotPromoted" and "ended Held" in told["message"]
    assert "trained from itself is base.round: demo-r1, which base.onHeld: UseItsBase takes" in told["message"]


@pytest.mark.parametrize("own", [None, "demo-r0"])
async def test_a_round_that_asks_for_it_goes_on_from_the_base_of_a_held_one(own: str | None) -> None:
    world = World()
    given = world.given
    if own:
        world.apply_as(own)
        await world.run(until_of=(own, ""))
    world.verdict = Verdict.HELD
    world.apply_as("demo-r1", seed=2, **({"base": {"round": own}} if own else {}))
    await world.run(until_of=("demo-r1", ""))
    held = world.status(name="demo-r1")
    assert held["verdict"] == "Held"
    world.verdict = Verdict.PROMOTED
    world.apply_as("demo-r2", seed=3, base={"round": "demo-r1", "onHeld": "UseItsBase"})
    await world.run(until_of=("demo-r2", ""))
    after = world.status(name="demo-r2")
    assert after["verdict"] == "Promoted"
    assert (after["baseModel"]["digest"], after["heldBase"]) == (held["baseModel"]["digest"], "demo-r1")
    assert after["byRound"]["number"] == held["byRound"]["number"] == (2 if own else 1)
    jobs = [j["metadata"]["name"] for j in world.of_kind("RLJob") if j["metadata"]["name"].startswith("demo-r1-train")]
    assert sorted(after["rollouts"]) == sorted(world.rollouts(job) for job in jobs) and len(jobs) == 2
    assert "was held: this one trains from its base" in world.condition("Preflight", name="demo-r2")["message"]
    for stage in ("Prepare", "MineReasoning", "SeedAgentic"):
        config = given["demo-r2", stage]
        assert config["previousHeld"] and config["previousRollouts"] == after["rollouts"]
        assert "held" in config["madeOf"] and "held" not in given["demo-r1", stage]["madeOf"]


async def test_nothing_but_a_held_round_is_fallen_back_from() -> None:
    world = World()
    world.fail["Prepare"] = (Cause.VALIDATION, "TooFew")
    world.apply(ROUND)
    await world.run()
    world.apply_as("demo-r2", base={"round": "demo-r1", "onHeld": "UseItsBase"})
    await turns(world, 2)
    assert world.condition("Preflight", name="demo-r2")["reason"] == "BaseRoundNotPromoted"
    assert not world.status(name="demo-r2").get("baseModel")
