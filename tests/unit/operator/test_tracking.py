"""A tracker of a round's trainings: its key is looked for first and goes to the driver alone, its words are told."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api import artifacts
from flywheel_api.base import format_time
from flywheel_api.canonical import canonical_json
from unit.operator.cases import turns
from unit.operator.world import START, World, key_secret

MLFLOW = {"type": "MLflow", "url": "http://mlflow.ml.svc:5000", "apiKey": {"secretName": "tracker", "key": "token"}}
VARIABLE = "FLYWHEEL_TRACKER_API_KEY"
Object = dict[str, Any]


def tracked(preset: str = "smollm2-135m-cpu", data: Object | None = None) -> World:
    world = World()
    if data is not None:
        world.kube.seed(key_secret("tracker", "mlflow.ml.svc", **data))
    world.apply_as("demo-r1", training={"preset": preset, "tracking": MLFLOW})
    return world


def variables(group: Object) -> set[str]:
    pod = group["template"]["spec"]
    return {e["name"] for c in (*pod["containers"], *pod["initContainers"]) for e in c["env"]}


async def test_the_key_goes_to_the_driver_alone() -> None:
    world = tracked("agenticqwen-8b", {"token": "eHl6"})
    world.holding.add("Train")
    await world.run(until="TrainReasoning")
    await turns(world, 3)
    (job,) = world.of_kind("RLJob")
    assert job["spec"]["tracking"] == MLFLOW
    cluster = world.of_kind("RayJob")[0]["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]["template"]["spec"]
    entry = next(e for e in head["containers"][0]["env"] if e["name"] == VARIABLE)
    assert entry == {"name": VARIABLE, "valueFrom": {"secretKeyRef": {"name": "tracker", "key": "token"}}}
    others = [*cluster["workerGroupSpecs"], *(j["spec"] for j in world.of_kind("Job"))]
    pods = [p["template"]["spec"] for p in others] + [{"containers": head["initContainers"]}]
    assert not [c for pod in pods for c in pod["containers"] if VARIABLE in {e["name"] for e in c["env"]}]


@pytest.mark.parametrize(
    ("data", "reason"),
    [(None, "SecretNotFound"), ({"other": "eA=="}, "SecretKeyMissing"), ({"token": ""}, "SecretKeyInvalid")],
)
async def test_a_key_that_is_not_there_is_said_before_anything_starts(data: Object | None, reason: str) -> None:
    world = tracked(data=data)
    await world.look()
    found = world.condition("Preflight")
    assert (found["status"], found["reason"]) == ("False", reason) and "of the tracker" in found["message"]
    assert not world.of_kind("Job")


async def test_what_the_tracker_says_is_a_condition_and_ends_nothing() -> None:
    world = tracked(data={"token": "eHl6"})
    world.holding.add("Train")
    await world.run(until="TrainReasoning")
    await turns(world, 3)
    (job,) = world.of_kind("RLJob")
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    assert world.condition("Tracked", "RLJob", name)["status"] == "Unknown"
    said = {}
    for step, words in enumerate([{"untracked": "HTTPError: 403"}, {"tracked": "http://mlflow/#/runs/7"}], start=1):
        moment = format_time(START)
        progress = artifacts.Progress(step=step, done=step, updated_at=moment, heartbeat_at=moment, **words)
        world.store.put(artifacts.progress_key(uid, "Train", 1), canonical_json(progress.dump()))
        await turns(world, 3)
        found = world.condition("Tracked", "RLJob", name)
        said[step] = (found["status"], found["reason"], found["message"])
        assert world.status("RLJob", name)["phase"] == "Running"
    assert said == {
        1: ("False", "NotTracked", "HTTPError: 403"),
        2: ("True", "Available", "http://mlflow/#/runs/7"),
    }
    world.holding.clear()
    await world.run()
    assert world.status()["verdict"] == "Promoted"
