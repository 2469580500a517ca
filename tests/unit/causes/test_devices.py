"""What kubelet says of the devices of a pod (KEP-4680): it explains an end that nobody else does, and makes none."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import yaml

from flywheel_api.artifacts import Failure
from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.common import ChildRef
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_operator.model import Meta, Record, RLJobSeen, Run, RunState, Timings
from flywheel_operator.observe import rayjobs, services
from flywheel_operator.plan import attempt
from flywheel_operator.plan.rljob import plan_rljob
from unit.causes.test_nodes import RLJOB
from unit.causes.test_signatures import pod, rayjob
from unit.operator.test_pool_nodes import place, pool, serving, turns
from unit.operator.test_pool_nodes import services as made
from unit.operator.world import NS, START, World

Case = dict[str, Any]
NODE = "gpu-7"
PLAIN = "Job entrypoint command failed with exit code 1, last available logs (truncated to 20,000 chars):\nbye"
OOM = f"{PLAIN}\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
TOLD = Failure(cause=Cause.APP, reason="NotANumber", message="loss is nan", at=format_time(START))
LIMITS = attempt.Limits(*[timedelta(minutes=15)] * 4)


def with_device(health: str, name: str = "ray-worker", node: str = NODE, **state: Any) -> Case:
    """A pod of ours, or with a container of somebody else's, and what kubelet says of its GPU."""
    made = pod({"phase": "Running"}) | {"spec": {"nodeName": node}}
    device = {"resourceID": "GPU-1b2c", "health": health}
    status = {"name": name, "state": state or {"running": {}}}
    status["allocatedResourcesStatus"] = [{"name": "nvidia.com/gpu", "resources": [device]}]
    made["status"] |= {"podIP": "10.4.0.7", "containerStatuses": [status]}
    return made


def over(message: str, *pods: Case, reason: str = "AppFailed", job: str = "FAILED") -> tuple[str, str | None]:
    """Why a RayJob ended, and the node to blame."""
    run = rayjobs.run_of(rayjob("Failed", job, reason=reason, message=message), None, list(pods))
    assert run.ended is not None
    return run.ended.reason, run.ended.node


def test_a_training_that_ended_without_a_word_names_the_device_and_its_node() -> None:
    sick = with_device("Unhealthy")
    assert over(PLAIN, sick) == ("GpuFault", NODE)
    assert over("", sick, reason="SubmissionFailed", job="") == ("GpuFault", NODE), "KubeRay's symptoms count less"
    assert over(PLAIN, with_device("Unhealthy", terminated={"exitCode": 1})) == ("GpuFault", NODE)
    run = rayjobs.run_of(rayjob("Failed", "FAILED", message=PLAIN), None, [sick])
    assert run.ended is not None and "nvidia.com/gpu GPU-1b2c" in run.ended.message
    assert run.ended.message.startswith(f"on node {NODE}: ")


@pytest.mark.parametrize("health", ["Healthy", "Unknown"])
def test_a_plugin_that_is_away_accuses_no_device(health: str) -> None:
    assert over(PLAIN, with_device(health)) == ("ExitCode1", None)


def test_a_device_of_a_container_that_is_not_ours_is_no_evidence() -> None:
    assert over(PLAIN, with_device("Unhealthy", "sidecar")) == ("ExitCode1", None)


@pytest.mark.parametrize(
    ("message", "state", "reason"),
    [
        (OOM, {}, "DeviceOutOfMemory"),
        (PLAIN, {"exitCode": 1, "message": json.dumps(TOLD.dump())}, "NotANumber"),
        (PLAIN, {"exitCode": 137, "reason": "OOMKilled"}, "OOMKilled"),
        (PLAIN, {"exitCode": 1, "message": OOM.split("\n", 1)[1]}, "DeviceOutOfMemory"),
    ],
    ids=["log", "told", "killed", "last words"],
)
def test_what_our_container_told_counts_before_it(message: str, state: Case, reason: str) -> None:
    sick = with_device("Unhealthy", **({"terminated": state} if state else {}))
    assert over(message, sick) == (reason, None)


def running(*pods: Case) -> Run:
    return rayjobs.run_of(rayjob("Running", "RUNNING"), None, list(pods))


def test_a_training_that_runs_goes_on_and_one_that_hangs_is_the_devices_fault() -> None:
    """A device may be called unhealthy for a while; whether it hinders the training, its progress tells."""
    run, child = running(with_device("Unhealthy")), ChildRef(kind="RayJob", name="x")
    now = START + timedelta(minutes=10)
    current = attempt.Attempt(started=START, child=child, running_since=START)
    assert isinstance(attempt.stand(current, run, Record(), LIMITS, now), attempt.Running)
    stalled = attempt.stand(current, run, Record(), LIMITS, START + timedelta(minutes=16))
    assert isinstance(stalled, attempt.Over) and (stalled.ended.reason, stalled.ended.node) == ("GpuFault", NODE)
    well = attempt.stand(current, running(with_device("Healthy")), Record(), LIMITS, START + timedelta(minutes=16))
    assert isinstance(well, attempt.Over) and well.ended.reason == "NoProgress"


def test_a_device_that_is_called_unhealthy_is_no_disruption_that_later_ones_hide_behind() -> None:
    status = RLJobStatus(attempt=1, child=ChildRef(kind="RayJob", name="x"), running_since=format_time(START))
    spec = RLJobSpec.model_validate(yaml.safe_load(RLJOB % NS)["spec"])
    for fact, told in ((with_device("Unhealthy"), None), (pod({"target": "PreemptionByScheduler"}), "Preempted")):
        seen = RLJobSeen(run=running(fact))
        plan = plan_rljob(Meta("train", NS, "u", 1), spec, status, seen, START, Timings())
        assert (plan.status.disruption and plan.status.disruption.cause) == told


def test_a_start_that_takes_too_long_or_is_a_second_one_is_the_devices_fault() -> None:
    run = rayjobs.run_of(rayjob("Initializing"), None, [with_device("Unhealthy")])
    assert run.state is RunState.STARTING
    late, child = START + timedelta(minutes=16), ChildRef(kind="RayJob", name="x")
    for current in (
        attempt.Attempt(started=START, child=child),
        attempt.Attempt(started=START, child=child, running_since=START),
    ):
        ended = attempt.stand(current, run, Record(), LIMITS, late)
        assert isinstance(ended, attempt.Over) and (ended.ended.reason, ended.ended.node) == ("GpuFault", NODE)


async def test_a_pool_that_serves_is_left_alone_and_one_that_does_not_comes_back_elsewhere() -> None:
    world = World()
    old = await serving(world)
    sick = with_device("Unhealthy")["status"]["containerStatuses"]
    status = world.get("Pod", f"{old}-pod")["status"] | {"containerStatuses": sick}
    world.kube.update("Pod", NS, f"{old}-pod", status=status)
    await turns(world, 4)
    assert made(world) == [old] and not pool(world).get("attempts")
    world.kube.update("RayService", NS, old, status={"conditions": [{"type": "Ready", "status": "False"}]})
    await turns(world, 4)
    (new,) = made(world)
    place(world, new, "gpu-8", "10.4.0.8")
    assert [(a["reason"], a["node"]) for a in pool(world)["attempts"]] == [("GpuFault", NODE)]
    assert new != old and pool(world)["phase"] == "Running"


def deployed(message: str) -> Case:
    app = {"status": "DEPLOY_FAILED", "message": message}
    status = {"pendingServiceStatus": {"applicationStatuses": {"llm": app}}}
    return {"kind": "RayService", "metadata": {"name": "x", "uid": "u"}, "status": status}


@pytest.mark.parametrize(("message", "reason"), [("a replica died", "GpuFault"), (OOM, "DeviceOutOfMemory")])
def test_what_serve_gives_up_without_a_reason_has_one(message: str, reason: str) -> None:
    run = services.run_of(deployed(message), [], [with_device("Unhealthy")])
    assert run.ended is not None and run.ended.reason == reason


def test_a_server_that_was_killed_for_memory_is_not_the_devices_fault() -> None:
    killed = with_device("Unhealthy", running={})
    killed["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    run = services.run_of(deployed("a replica died"), [], [killed])
    assert run.ended is not None and run.ended.reason != "GpuFault"
