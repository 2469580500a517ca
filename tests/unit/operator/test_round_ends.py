"""How a round ends: with its page whatever happened, and with the promoted model where it was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api import artifacts
from flywheel_api.causes import Cause
from flywheel_api.stages import STAGE_CONFIG_ENV
from unit.operator.cases import say, turns
from unit.operator.world import NS, ROUND, World, env_json, key_secret

TO = {"s3": "s3://models/demo-r1"}
Object = dict[str, Any]


def stages(world: World) -> dict[str, Object]:
    return {s["name"]: s for s in world.status()["stages"]}


def state(world: World, stage: str) -> str:
    return str(stages(world)[stage]["state"])


def job(world: World, stage: str) -> Object:
    """The body of the Job that ran a stage."""
    found = [
        j for j in world.of_kind("Job") if env_json(j["spec"]["template"]["spec"], STAGE_CONFIG_ENV)["stage"] == stage
    ]
    assert found, f"no Job of {stage}"
    return found[-1]


def pod_of(world: World, stage: str) -> Object:
    spec: Object = job(world, stage)["spec"]["template"]["spec"]
    return spec


# ---- the page --------------------------------------------------------------------------------------------------------
async def test_a_round_that_fails_has_its_page() -> None:
    world = World()
    world.apply(ROUND)
    world.fail["SynthesizeReasoning"] = (Cause.VALIDATION, "InvalidInput")
    await world.run()
    status = world.status()
    assert status["verdict"] == "Failed" and status["report"] == "s3://flywheel/report.html"
    assert state(world, "Report") == "Succeeded" and status["stage"] == "SynthesizeReasoning"
    told = env_json(pod_of(world, "Report"), STAGE_CONFIG_ENV)
    assert told["failed"].startswith("SynthesizeReasoning: Validation/InvalidInput")
    assert [a["stage"] for a in told["attempts"]] == ["SynthesizeReasoning"] and told["inputs"] == {}
    assert {s["name"]: s["state"] for s in told["timeline"]}["Prepare"] == "Succeeded"
    uid = world.get("FlywheelRound", "demo-r1")["metadata"]["uid"]
    assert status["attempts"][0]["log"] == artifacts.log_prefix(uid, "SynthesizeReasoning", 1)
    assert world.condition("Stalled")["status"] == "True" and world.condition("Ready")["reason"] == "Failed"


async def test_a_round_that_runs_has_its_page_so_far() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    assert "report" not in world.status()
    told = env_json(pod_of(world, "EvaluateBase"), STAGE_CONFIG_ENV)
    drawn = {s["name"]: (s["state"], s.get("manifest")) for s in told["timeline"]}
    assert drawn["Prepare"] == ("Succeeded", stages(world)["Prepare"]["manifest"])
    say(world, "EvaluateBase", report="s3://flywheel/so-far.html")
    await turns(world, 20)
    assert world.status()["report"] == "s3://flywheel/so-far.html"


async def test_the_page_of_a_failure_has_its_reason_whole() -> None:
    world = World()
    world.apply(ROUND)
    world.fail["SynthesizeReasoning"] = (Cause.VALIDATION, "InvalidInput")
    world.told = "told so, " + "and more " * 30 + "to its end"
    await world.run()
    told = env_json(pod_of(world, "Report"), STAGE_CONFIG_ENV)["failed"]
    assert told == world.condition("Ready")["message"] and "to its end" in told
    assert world.status()["progress"].endswith(" …") and len(world.status()["progress"]) <= 160


async def test_nothing_holds_hardware_while_the_page_of_a_failure_is_made() -> None:
    world = World()
    world.apply(ROUND)
    world.fail["SynthesizeReasoning"] = (Cause.VALIDATION, "InvalidInput")
    world.holding |= {"Report", "SeedAgentic"}
    await world.run(60)
    assert world.status()["verdict"] == "Failed" and not world.status().get("finishedAt")
    assert not world.of_kind("RayService") and not world.of_kind("RolloutPool")
    running = [s["name"] for s in world.status()["stages"] if s["state"] in ("Running", "Waiting")]
    assert running == ["Report"]
    assert stages(world)["SeedAgentic"]["progress"] == "stopped: SynthesizeReasoning failed"


async def test_a_page_that_cannot_be_made_holds_no_round_up() -> None:
    """Neither one that fails, nor one that never ends, nor a store that is away."""
    for trouble in ("fails", "hangs", "away"):
        world = World()
        world.apply(ROUND)
        world.fail["SynthesizeReasoning"] = (Cause.VALIDATION, "InvalidInput")
        if trouble == "fails":
            world.fail["Report"] = (Cause.APP, "Bug")
        else:
            world.holding.add("Report")
        await world.run(60)
        if trouble == "away":
            world.store.broken = True
        for _ in range(60):  # twenty minutes, all attempts together
            await world.look()
            world.act()
            world.tick(20)
        status = world.status()
        assert status.get("finishedAt") and status["verdict"] == "Failed", (trouble, status.get("progress"))
        assert state(world, "Report") == "Failed" and "report" not in status
        assert status["progress"].startswith("SynthesizeReasoning: Validation"), "what went wrong stays said"


async def test_a_round_out_of_budget_has_its_page() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Train")
    await world.run(until="TrainReasoning")
    world.tick(2 * 3600 + 1)
    await turns(world, 8)
    status = world.status()
    assert (status["verdict"], status["report"]) == ("Failed", "s3://flywheel/report.html")
    assert stages(world)["TrainReasoning"]["progress"] == "budget exhausted"
    assert "wallClock" in env_json(pod_of(world, "Report"), STAGE_CONFIG_ENV)["failed"]


async def test_a_training_that_failed_says_where_its_logs_are() -> None:
    """By attempt in the RLJob, and all of them in the round, which is there when the RLJob is not."""
    world = World()
    world.apply(ROUND)
    world.fail["Train"] = (Cause.VALIDATION, "InvalidInput")
    await world.run()
    job = world.of_kind("RLJob")[0]
    uid = job["metadata"]["uid"]
    assert job["status"]["attempts"][0]["log"] == artifacts.log_prefix(uid, "Train", 1)
    last = world.status()["attempts"][-1]
    assert (last["stage"], last["log"]) == ("TrainReasoning", f"runs/{uid}/train/")


async def test_an_operator_that_restarts_while_the_page_is_made_goes_on() -> None:
    world = World()
    world.apply(ROUND)
    world.fail["SynthesizeReasoning"] = (Cause.VALIDATION, "InvalidInput")
    for _ in range(120):
        world.restart()
        await world.look()
        world.act()
        world.tick()
    assert world.status().get("finishedAt") and state(world, "Report") == "Succeeded"
    assert world.ran.count("Report") == 1


async def test_a_verdict_outlives_the_budget() -> None:
    """What the gate promoted is promoted, for the store says so to later rounds; what comes after goes without."""
    world = World()
    world.apply_as("demo-r1", export=TO)
    world.holding.add("Export")
    await world.run(until="Export")
    await turns(world, 3)
    world.tick(2 * 3600 + 1)
    await turns(world, 4)
    status = world.status()
    assert status["verdict"] == "Promoted" and status.get("finishedAt")
    assert state(world, "Export") == "Failed" and state(world, "Report") == "Succeeded"
    assert world.condition("Exported")["reason"] == "ExportFailed"


# ---- the model -------------------------------------------------------------------------------------------------------
async def test_the_promoted_model_goes_out() -> None:
    world = World()
    world.apply_as("demo-r1", export=TO)
    await world.look()
    assert world.condition("Exported")["status"] == "Unknown"
    await world.run()
    assert world.status()["exported"] == "s3://out/r1"
    assert world.condition("Exported")["status"] == "True"
    pod = pod_of(world, "Export")
    told = env_json(pod, STAGE_CONFIG_ENV)
    assert set(told["inputs"]) == {"Gate"} and told["spec"]["export"] == TO and told["shards"] == 1
    assert not [v for v in pod["volumes"] if "persistentVolumeClaim" in v]


async def test_without_a_target_nothing_is_exported_and_nothing_is_said() -> None:
    world = World()
    world.apply(ROUND)
    await world.run()
    assert state(world, "Export") == "Skipped" and "exported" not in world.status()
    assert "Exported" not in {c["type"] for c in world.status()["conditions"]}


async def test_an_export_that_fails_takes_no_verdict_away() -> None:
    world = World()
    world.apply_as("demo-r1", export=TO)
    world.fail["Export"] = (Cause.VALIDATION, "ExportTargetUnusable")
    await world.run()
    status = world.status()
    assert (status["verdict"], status["report"]) == ("Promoted", "s3://flywheel/report.html")
    found = world.condition("Exported")
    assert (found["status"], found["reason"]) == ("False", "ExportFailed") and "Export told so" in found["message"]
    assert world.condition("Ready")["status"] == "True"
    told = [e["reason"] for e in world.of_kind("Event")]
    assert "ExportFailed" in told


async def test_a_volume_is_mounted_where_the_model_is_written_and_nowhere_else() -> None:
    world = World()
    claim = {"claim": {"name": "models", "path": "support/r1"}}
    pvc = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": NS}}
    world.kube.seed(pvc | {"status": {"phase": "Pending"}})  # bound by the pod that mounts it
    world.apply_as("demo-r1", export=claim)
    await world.run()
    assert world.status()["verdict"] == "Promoted"
    with_claim = [
        env_json(j["spec"]["template"]["spec"], STAGE_CONFIG_ENV)["stage"]
        for j in world.of_kind("Job")
        if any("persistentVolumeClaim" in v for v in j["spec"]["template"]["spec"]["volumes"])
    ]
    assert with_claim == ["Export"]
    pod = pod_of(world, "Export")
    volume = next(v["name"] for v in pod["volumes"] if v.get("persistentVolumeClaim") == {"claimName": "models"})
    assert {"name": volume, "mountPath": "/export"} in pod["containers"][0]["volumeMounts"]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (None, "PersistentVolumeClaim 'models' does not exist in namespace 'team': create it"),
        ({"phase": "Lost"}, "PersistentVolumeClaim 'models' has lost its volume"),
    ],
)
async def test_a_volume_that_is_not_there_is_said_before_anything_is_spent(
    status: Object | None, sentence: str
) -> None:
    world = World()
    if status is not None:
        pvc = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models", "namespace": NS}}
        world.kube.seed(pvc | {"status": status})
    world.apply_as("demo-r1", export={"claim": {"name": "models"}})
    await world.look()
    found = world.condition("Preflight")
    assert (found["status"], found["reason"]) == ("False", "VolumeNotFound") and sentence in found["message"]
    assert not world.of_kind("Job")


async def test_keys_go_only_to_pods_that_ask_somebody() -> None:
    world = World()
    key = {"secretName": "teacher", "key": "token"}
    world.kube.seed(key_secret("teacher", "standin", token="eHl6"))
    teacher = {"role": "Teacher", "url": "http://standin:8000/v1", "model": "standin", "apiKey": key}
    world.apply_as("demo-r1", export=TO, endpoints=[teacher, {"role": "Policy", "pool": {"gpusPerReplica": 0}}])
    await world.run()
    given = {
        env_json(j["spec"]["template"]["spec"], STAGE_CONFIG_ENV)["stage"]
        for j in world.of_kind("Job")
        if any(e["name"] == "FLYWHEEL_API_KEY_TEACHER" for e in j["spec"]["template"]["spec"]["containers"][0]["env"])
    }
    assert {"Prepare", "SynthesizeReasoning"} <= given and not given & {"Export", "Report", "Gate", "Package"}
