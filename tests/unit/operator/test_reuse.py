"""What was made once is not made twice: results are found by their content, budgets count what was spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from flywheel_api import artifacts
from flywheel_api.causes import Cause
from flywheel_api.stages import Stage
from unit.operator.world import NS, World

OWN = {"Preflight", "Gate", "Report"}
"""Stages that speak of one round: they are never taken over."""


def stages(world: World, name: str) -> dict[str, Any]:
    return {s["name"]: s for s in world.status(name=name)["stages"]}


async def first_round(**spec: Any) -> World:
    world = World()
    world.apply_as("demo-r1", **spec)
    await world.finish("demo-r1")
    assert world.status()["verdict"] == "Promoted"
    world.ran.clear()
    world.trained.clear()
    return world


async def test_a_round_of_another_name_takes_everything_over_and_says_so() -> None:
    world = await first_round()
    world.apply_as("demo-r2")
    await world.finish("demo-r2")
    status, found = world.status(name="demo-r2"), stages(world, "demo-r2")
    assert status["verdict"] == "Promoted"
    assert set(world.ran) == {"Gate", "Report"} and not world.trained
    taken = {name for name, s in found.items() if "reusedFrom" in s}
    assert taken == {s.value for s in Stage} - OWN - {"ImportModel", "ServeBase", "ServeCandidate", "Export"}
    assert found["Prepare"]["reusedFrom"] == {"kind": "FlywheelRound", "name": "demo-r1", "attempt": 1}
    assert found["TrainAgentic"]["reusedFrom"]["kind"] == "RLJob"
    assert found["ServeBase"]["state"] == "Skipped" and "not needed" in found["ServeBase"]["progress"]
    assert status["model"]["digest"] == world.status()["model"]["digest"]
    messages = [e["message"] for e in world.of_kind("Event") if e["reason"] == "StageReused"]
    assert any("taken over from FlywheelRound demo-r1" in m for m in messages)


async def test_budgets_count_what_was_spent_not_what_was_reused() -> None:
    world = await first_round()
    assert world.status()["usage"]["tokens"][0] == {"role": "Teacher", "tokens": "1350"}
    world.apply_as("demo-r2", budget={"tokens": [{"role": "Teacher", "limit": "100"}]})
    await world.finish("demo-r2")
    assert world.status(name="demo-r2")["verdict"] == "Promoted", "a reused result costs this round nothing"
    assert world.status(name="demo-r2")["usage"]["tokens"] == []


async def test_a_round_that_was_pruned_and_applied_again_takes_its_own_results_over() -> None:
    world = await first_round()
    world.kube.remove("FlywheelRound", NS, "demo-r1")
    world.apply_as("demo-r1")
    await world.finish("demo-r1")
    assert set(world.ran) == {"Gate", "Report"} and not world.trained


async def test_never_makes_everything_anew() -> None:
    world = await first_round()
    world.apply_as("demo-r2", reuse="Never")
    await world.finish("demo-r2")
    assert len(world.trained) == 2 and "Prepare" in world.ran and "SolveAgentic" in world.ran
    assert not any("reusedFrom" in s for s in stages(world, "demo-r2").values())
    world.ran.clear()
    world.apply_as("demo-r3", reuse="Never")
    await world.finish("demo-r3")
    assert "Prepare" in world.ran, "what was made for one round alone is nobody else's"


@pytest.mark.parametrize(
    ("spec", "again"),
    [
        ({"evaluation": {"suites": [{"name": "numeracy-heldout", "gate": {"minScore": "0.1"}}]}}, set[str]()),
        (
            {"evaluation": {"suites": [{"name": "numeracy-heldout", "repeats": 2}]}},
            {"Prepare", "EvaluateBase", "EvaluateCandidate"},
        ),
        (
            {"reasoning": {"seeds": "builtin://numeracy", "verification": {"votes": 5}}},
            # which comes to the same data: the training is not made anew
            {"Prepare", "VerifyReasoning", "MeasureReasoning", "Package"},
        ),
        (
            {"reasoning": {"seeds": "builtin://numeracy", "difficulty": {"low": "0.1"}}},
            {"Prepare", "MineReasoning", "SynthesizeReasoning", "VerifyReasoning", "MeasureReasoning", "Package"},
        ),
        (
            {"reasoning": {"seeds": "builtin://numeracy", "difficulty": {"waves": 1}, "replayShare": "0.1"}},
            {"Prepare", "MeasureReasoning", "Package"},
        ),
    ],
    ids=["gate", "repeats", "votes", "band", "waves"],
)
async def test_only_what_depends_on_a_change_is_made_anew(spec: dict[str, Any], again: set[str]) -> None:
    world = await first_round()
    world.apply_as("demo-r2", **spec)
    await world.finish("demo-r2")
    assert world.status(name="demo-r2")["verdict"] == "Promoted"
    assert set(world.ran) - {"Gate", "Report"} == again


async def test_a_round_that_failed_in_training_is_not_lost_work() -> None:
    """The wrong memory limit: mended under another name, only the training runs, from its last checkpoint."""
    world = World()
    world.apply_as("demo-r1", training={"preset": "smollm2-135m-cpu", "reasoning": {"retries": {"limit": 0}}})
    world.fail["Train"] = (Cause.APP, "OOMKilled")
    await world.run(until="TrainReasoning")
    key = await world.content_key_of_training()
    world.checkpoint(key, step=4, name="demo-r1-train-reasoning")
    await world.finish("demo-r1")
    assert world.status()["verdict"] == "Failed" and "OOMKilled" in world.condition("Ready")["message"]
    world.fail.clear()
    world.ran.clear()
    more = {"resources": {"limits": {"memory": "24Gi"}}}
    world.apply_as("demo-r1b", training={"preset": "smollm2-135m-cpu", "podTemplate": more})
    await world.finish("demo-r1b")
    found = stages(world, "demo-r1b")
    assert world.status(name="demo-r1b")["verdict"] == "Promoted"
    assert set(world.ran) == {"Prepare", "EvaluateCandidate", "Gate", "Report"}  # Prepare: who will be asked is asked
    assert found["Package"]["reusedFrom"]["name"] == "demo-r1"
    job = next(j for j in world.of_kind("RLJob") if j["metadata"]["name"].startswith("demo-r1b-train-reasoning"))
    assert job["status"]["contentKey"] == key
    assert job["status"]["reusedFrom"] == {"kind": "RLJob", "name": "demo-r1-train-reasoning", "attempt": 1, "step": 4}
    limits = job["spec"]["podTemplate"]["resources"]["limits"]
    assert limits == {"memory": "24Gi"}


async def test_a_commit_that_is_no_good_is_made_anew_and_not_overwritten() -> None:
    world = await first_round()
    manifest = world.read(stages(world, "demo-r1")["SolveAgentic"]["manifest"])
    world.store.put(artifacts.blob_key(manifest.files[0].sha256), b"cut")
    world.apply_as("demo-r2")
    await world.run(60)
    assert "SolveAgentic" in world.ran and "ExpandAgentic" not in world.ran
    assert stages(world, "demo-r2")["SolveAgentic"]["contentKey"] != manifest.content_key


async def test_the_base_round_may_be_gone() -> None:
    world = await first_round()
    promoted = world.status()["model"]["digest"]
    world.kube.remove("FlywheelRound", NS, "demo-r1")
    world.apply_as("demo-r2", base={"round": "demo-r1"})
    await world.finish("demo-r2")
    status = world.status(name="demo-r2")
    assert status["verdict"] == "Promoted" and status["baseModel"]["digest"] == promoted
    assert status["rollouts"] == world.promotions()[0].rollouts, "the next round mines what training sampled"


async def test_rollouts_of_the_base_round_are_the_same_whether_it_is_there_or_not() -> None:
    world = await first_round()
    world.apply_as("demo-r2", base={"round": "demo-r1"})
    await world.run(until_of=("demo-r2", "Prepare"))
    assert set(world.status(name="demo-r2")["rollouts"]) == set(world.promotions()[0].rollouts)


async def trained_twice(world: World, first: Callable[[], None] = lambda: None) -> None:
    """Two RLJobs of one content; something happens to the first one before the second is there."""
    spec = {
        "model": "s3://flywheel/flywheel/models/tiny",
        "data": {"train": [world.rollouts()]},
        "reward": {"type": "Math"},
        "gpusPerNode": 0,
    }
    world.holding.add("Train")
    for name in ("one", "two"):
        body = {"apiVersion": "flywheel.dev/v1alpha1", "kind": "RLJob", "metadata": {"name": name, "namespace": NS}}
        world.apply(yaml.safe_dump(body | {"spec": spec}))
        for _ in range(6):
            if name == "two":
                first()
            await world.look()
            world.act()
            world.tick()


async def test_two_rljobs_of_one_content_do_not_run_at_once() -> None:
    world = World()
    await trained_twice(world)
    assert len(world.of_kind("RayJob")) == 1
    assert "one trains the same now" in world.condition("Ready", "RLJob", "two")["message"]


@pytest.mark.parametrize(("status", "jobs"), [({"attempt": "first"}, 1), ({"contentKey": 7}, 2)])
async def test_an_rljob_of_another_release_is_seen_and_one_that_names_no_content_is_in_nobodys_way(
    status: dict[str, Any], jobs: int
) -> None:
    world = World()

    def odd() -> None:
        world.kube.update("RLJob", NS, "one", status=world.status("RLJob", "one") | status)

    await trained_twice(world, odd)
    assert len(world.of_kind("RayJob")) == jobs
