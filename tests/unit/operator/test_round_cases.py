"""A round when things go wrong or wait: budgets, suspension, base rounds, outages, stalls, and what a person reads."""

from __future__ import annotations

import pytest
import yaml

from flywheel_api import artifacts
from flywheel_api.base import format_time
from flywheel_api.canonical import canonical_json
from flywheel_api.causes import Cause
from flywheel_api.stages import STAGE_CONFIG_ENV, TRAIN_STAGE
from unit.operator.cases import Object, edited, say, stage, status_writes, turns
from unit.operator.world import NS, ROUND, World, env_json


async def test_every_condition_exists_after_the_first_visit() -> None:
    world = World()
    world.apply(ROUND)
    await world.look()
    types = {c["type"] for c in world.status()["conditions"]}
    assert types == {
        *("Ready", "Reconciling", "Stalled"),
        *("Preflight", "NodesFit", "BudgetAvailable", "StorageReady", "EndpointsAvailable", "Promoted"),
    }
    assert world.status()["observedGeneration"] == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"spec__budget__gpuHours": "0"}, "gpuHours"),
        ({"spec__budget__tokens": [{"role": "Teacher", "limit": "0"}]}, "tokens of Teacher"),
    ],
)
async def test_a_budget_of_zero_stops_in_preflight_and_goes_on_once_raised(changes: Object, named: str) -> None:
    world = World()
    world.apply(edited(**changes))
    await turns(world, 5)
    found = world.condition("Preflight")
    assert (found["status"], found["reason"]) == ("False", "BudgetIsZero")
    assert named in found["message"]
    assert not world.of_kind("Job") and not world.of_kind("RolloutPool")
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=yaml.safe_load(ROUND)["spec"])
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_the_wall_clock_ends_a_round_and_frees_everything() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Train")
    await world.run(until="TrainReasoning")
    world.tick(2 * 3600 + 1)
    await turns(world, 6)
    assert world.status()["verdict"] == "Failed"
    assert world.condition("BudgetAvailable")["reason"] == "BudgetExhausted"
    assert not world.of_kind("RayJob") and not world.of_kind("RolloutPool")


async def test_the_token_budget_is_counted_over_stages_and_handed_on() -> None:
    world = World()
    world.apply(edited(spec__budget__tokens=[{"role": "Teacher", "limit": "400"}]))
    await world.run()
    assert world.status()["verdict"] == "Failed"
    assert world.condition("BudgetAvailable")["reason"] == "BudgetExhausted"
    assert "tokens of role Teacher" in world.condition("Ready")["message"]


async def test_tokens_of_lost_attempts_and_of_running_stages_count() -> None:
    world = World()
    world.apply(edited(spec__budget__tokens=[{"role": "Teacher", "limit": "5000"}]))
    world.fail["SynthesizeReasoning"] = (Cause.ENDPOINT, "EndpointUnavailable")
    await world.run(until="SynthesizeReasoning")
    say(world, "SynthesizeReasoning", tokens={"Teacher": 120})
    await turns(world, 2)
    assert stage(world, "SynthesizeReasoning")["state"] == "Waiting"
    assert {"role": "Teacher", "tokens": "120"} in stage(world, "SynthesizeReasoning")["tokens"]
    world.fail.clear()
    world.holding.add("SynthesizeReasoning")
    world.tick(60)
    await turns(world, 2)
    job = next(j for j in world.of_kind("Job") if "synthesize-reasoning-a2" in j["metadata"]["name"])
    endpoints = env_json(job["spec"]["template"]["spec"], STAGE_CONFIG_ENV)["endpoints"]
    limit = next(e["tokenLimit"] for e in endpoints if e["role"] == "Teacher")
    assert limit == 5000, "the stages count together what they use, in the store"
    say(world, "SynthesizeReasoning", 2, tokens={"Teacher": 4900})
    await turns(world, 3)
    assert world.status()["verdict"] == "Failed"
    assert "tokens of role Teacher" in world.condition("Ready")["message"]


async def test_suspension_stops_at_the_stage_boundary_frees_the_pool_and_resumes() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    await turns(world, 3)
    spec = yaml.safe_load(ROUND)["spec"]
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec | {"suspend": True})
    await turns(world, 6)
    assert stage(world, "EvaluateBase")["state"] == "Running", "running stages reach their end"
    world.holding.clear()
    await turns(world, 10)
    assert world.condition("Ready")["reason"] == "Suspended"
    assert not world.of_kind("RolloutPool") and not world.of_kind("RayService")
    before = len(world.kube.log)
    await turns(world, 5)
    assert len(world.kube.log) == before
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec)
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_a_dead_teacher_makes_the_round_wait_and_loses_nothing() -> None:
    world = World()
    world.apply(ROUND)
    world.fail["SynthesizeReasoning"] = (Cause.ENDPOINT, "EndpointUnavailable")
    for _ in range(60):
        await turns(world, 5)
        world.tick(60)
        if stage(world, "SynthesizeReasoning").get("attempt", 0) > 6:
            break
    found = world.condition("EndpointsAvailable")
    assert (found["status"], found["reason"]) == ("False", "EndpointUnavailable")
    assert "only missing ones run again" in found["message"]
    assert stage(world, "SynthesizeReasoning").get("failures", 0) == 0
    world.fail.clear()
    for _ in range(40):
        world.tick(60)
        await turns(world, 5)
    assert world.status()["verdict"] == "Promoted"
    assert world.condition("EndpointsAvailable")["status"] == "True"


async def test_failures_of_a_program_end_the_round_after_its_retries() -> None:
    world = World()
    world.apply(ROUND)
    world.fail["MineReasoning"] = (Cause.APP, "KeyError")
    for _ in range(40):
        await turns(world, 4)
        world.tick(120)
        if world.status().get("finishedAt"):
            break
    assert world.status()["verdict"] == "Failed"
    assert stage(world, "MineReasoning")["attempt"] == 4
    assert "KeyError" in world.condition("Ready")["message"]
    assert not world.of_kind("RolloutPool")


async def test_a_stage_without_progress_is_replaced() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Prepare")
    await world.run(until="Prepare")
    await turns(world, 2)
    first = world.of_kind("Job")[0]["metadata"]["name"]
    world.tick(world.config.job.stall_after_seconds + 60)
    await turns(world, 2)
    assert first not in {j["metadata"]["name"] for j in world.of_kind("Job")}
    assert world.status()["attempts"][-1]["cause"] == "Stalled"
    world.holding.clear()
    world.tick(60)
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_progress_in_words() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    say(world, "EvaluateBase", done=34, total=96)
    await turns(world, 20)
    assert world.status()["progress"] == "EvaluateBase 34/96 items"
    assert world.status()["stage"] == "EvaluateBase"


async def test_training_in_words() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add(TRAIN_STAGE)
    await world.run(until="TrainReasoning")
    await turns(world, 3)
    job = world.of_kind("RLJob")[0]["metadata"]
    at = format_time(world.now)
    progress = artifacts.Progress(step=3, total=10, reward=0.5, updated_at=at, heartbeat_at=at)
    key = artifacts.progress_key(job["uid"], TRAIN_STAGE, 1)
    world.store.put(key, canonical_json(progress.dump()))
    await turns(world, 10)
    assert world.status()["progress"] == "step 3 of 10, reward 0.5"
    assert world.condition("Reconciling")["message"] == f"RLJob {job['name']}: step 3 of 10, reward 0.5"


async def test_a_store_outage_pauses_the_round() -> None:
    world = World()
    world.apply(ROUND)
    await world.run(until="EvaluateBase")
    world.store.broken = True
    await turns(world, 3)
    assert world.condition("StorageReady")["reason"] == "StoreUnreachable"
    before = len(world.kube.log)
    await turns(world, 10)
    assert len(world.kube.log) == before, "waiting writes nothing"
    world.store.broken = False
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_a_lying_manifest_is_not_believed() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Prepare")
    await world.run(until="Prepare")
    other = world.put_model("elsewhere")
    lie = world.store.objects[world.store.settings.full_key("elsewhere")]
    world.store.put(artifacts.manifest_key(NS, stage(world, "Prepare")["contentKey"]), lie)
    say(world, "Prepare", manifest=other)
    await turns(world, 2)
    assert world.status()["attempts"][-1]["reason"] == "ManifestInvalid"
    assert stage(world, "Prepare").get("manifest") is None


async def test_a_corrupt_blob_keeps_a_stage_from_succeeding() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Prepare")
    await world.run(until="Prepare")
    await turns(world, 1)
    config = env_json(world.of_kind("Job")[0]["spec"]["template"]["spec"], STAGE_CONFIG_ENV)
    manifest = world.commit(artifacts.Owner(**config["owner"]), "Prepare", 1, config)
    world.store.put(artifacts.blob_key(manifest.files[0].sha256), b"cut")
    say(world, "Prepare", manifest=manifest.digest)
    await turns(world, 2)
    assert "has 3 bytes" in world.status()["attempts"][-1]["message"]


async def test_a_terminal_round_stays_terminal() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    for kind in ("Job", "RLJob"):
        for obj in world.of_kind(kind):
            world.kube.remove(kind, NS, obj["metadata"]["name"])
    changed = yaml.safe_load(ROUND)["spec"] | {"seed": 7}
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=changed)
    await turns(world, 5)
    assert world.status()["verdict"] == "Promoted"
    assert world.condition("Reconciling")["reason"] == "SpecChangedAfterCompletion"
    assert not world.of_kind("Job")


async def test_a_foreign_object_in_the_way_is_said_and_left_alone() -> None:
    from flywheel_api.names import child_name

    world = World()
    made = world.apply(ROUND)
    name = child_name("demo-r1", made["metadata"]["uid"], "Prepare", 1)
    world.kube.seed({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NS}, "spec": {}})
    await turns(world, 2)
    await world.look()  # what an effect came to is written down by the next look: one status write in each
    assert world.condition("Stalled")["reason"] == "NameConflict"
    assert world.get("Job", name)["spec"] == {}
    await turns(world, 8)  # the rest of the round goes on meanwhile
    before = status_writes(world)
    await turns(world, 10)
    assert status_writes(world) == before, "trying again writes nothing"
    world.kube.remove("Job", NS, name)
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_the_status_stays_small_and_holds_no_secret() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    everything = yaml.safe_dump([o for o in world.kube.objects.values() if o["kind"] != "Secret"])
    assert "canary-secret" not in everything
    assert len(canonical_json(world.status())) < 32 * 1024


async def test_only_one_track() -> None:
    world = World()
    body = yaml.safe_load(ROUND)
    del body["spec"]["agentic"]
    world.kube.seed(body)
    await world.run()
    assert world.status()["verdict"] == "Promoted"
    assert stage(world, "TrainAgentic")["state"] == "Skipped"
    assert world.status()["model"]["digest"] == stage(world, "TrainReasoning")["manifest"]


async def test_seconds_between_a_manifest_and_the_next_child_are_one_look() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("MineReasoning")
    await world.run(until="MineReasoning")
    await turns(world, 10)
    world.holding.clear()
    world.act()
    await world.look()
    assert stage(world, "SynthesizeReasoning")["state"] == "Running"


async def test_a_pool_that_fails_while_it_is_needed_is_replaced() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    await turns(world, 2)
    service = world.of_kind("RayService")[0]["metadata"]["name"]
    failed = {
        "activeServiceStatus": {"applicationStatuses": {"llm": {"status": "DEPLOY_FAILED", "message": "no memory"}}}
    }
    world.kube.update("RayService", NS, service, status=failed)
    await turns(world, 3)
    assert "no memory" in world.status()["attempts"][-1]["message"]
    world.holding.clear()
    world.tick(60)
    await turns(world, 5)
    assert stage(world, "ServeBase")["attempt"] == 2
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_gpu_hours_count_pools_and_trainings_over_all_attempts() -> None:
    gpus = {
        "spec__training": {"preset": "agenticqwen-8b"},
        "spec__endpoints": [{"role": "Teacher", "url": "http://standin:8000/v1", "model": "m"}],
        "spec__budget": {"gpuHours": "2", "wallClock": "48h"},
    }
    world = World()
    world.apply(edited(**gpus))
    world.holding.add("Train")
    await world.run(until="TrainReasoning")
    await turns(world, 4)
    assert stage(world, "ServeBase")["gpuSeconds"] not in (None, "0"), "the base's pool had one GPU"
    world.tick(800)  # 8 GPUs for 800 s are 1.8 hours
    await turns(world, 2)
    assert not world.status().get("finishedAt")
    world.tick(300)
    await turns(world, 6)
    assert world.condition("BudgetAvailable")["reason"] == "BudgetExhausted"
    assert "gpuHours 2" in world.condition("Ready")["message"]
    assert float(world.status()["usage"]["gpuHours"]) > 2
    assert not world.of_kind("RayJob") and not world.of_kind("RolloutPool")


async def test_another_order_after_the_end_is_no_change_and_another_word_is() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    spec = yaml.safe_load(ROUND)["spec"]
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec | {"endpoints": spec["endpoints"][::-1]})
    await turns(world, 3)
    assert world.condition("Reconciling")["reason"] != "SpecChangedAfterCompletion"
    assert world.status()["observedGeneration"] == 2
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec | {"budget": {"wallClock": "9h"}})
    await turns(world, 3)
    assert world.condition("Reconciling")["reason"] == "SpecChangedAfterCompletion"


@pytest.mark.parametrize("known", [None, "h0-abcdefgh"])
async def test_a_round_that_another_release_finished_is_left_as_it_is(known: str | None) -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    status = {k: v for k, v in world.status().items() if k != "specHash"} | ({"specHash": known} if known else {})
    world.kube.update("FlywheelRound", NS, "demo-r1", status=status)
    before = status_writes(world)
    await turns(world, 3)
    assert status_writes(world) == before
    assert world.condition("Reconciling")["reason"] == "Promoted"


@pytest.mark.parametrize(
    ("cause", "code", "attempts", "ends"),
    [(Cause.VALIDATION, 64, 1, True), (Cause.APP, 1, 2, False), (Cause.ENDPOINT, 75, 2, False)],
)
async def test_a_sidecar_that_runs_on_hides_no_failure(cause: Cause, code: int, attempts: int, ends: bool) -> None:
    world = World()
    made = world.apply(ROUND)
    world.holding.add("Prepare")
    await world.run(until="Prepare")
    await turns(world, 2)
    job = world.of_kind("Job")[0]["metadata"]["name"]
    told = artifacts.Failure(cause=cause, reason="RowInvalid", message="row 7 has no answer", at=format_time(world.now))
    world.store.put(artifacts.failure_key(made["metadata"]["uid"], "Prepare", 1), canonical_json(told.dump()))
    containers = [
        {"name": "istio-proxy", "state": {"running": {}}},
        {"name": "stage", "state": {"terminated": {"exitCode": code}}},
    ]
    world.kube.update("Pod", NS, f"{job}-pod", status={"phase": "Running", "containerStatuses": containers})
    began = world.now
    while not world.status()["attempts"]:
        await turns(world, 1)
        assert (world.now - began).total_seconds() < 60
    last = world.status()["attempts"][-1]
    assert (last["cause"], last["message"]) == (cause, "row 7 has no answer")
    await turns(world, 20)
    assert ("finishedAt" in world.status()) is ends
    assert stage(world, "Prepare")["attempt"] == attempts
    assert job not in [j["metadata"]["name"] for j in world.of_kind("Job")], "its pods would run for ever"
