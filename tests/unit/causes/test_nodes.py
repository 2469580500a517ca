"""A GPU that fails names its node: the program knows an address, the operator the node behind it."""

from __future__ import annotations

import yaml

from flywheel_api.artifacts import Failure, failure_key
from flywheel_api.base import format_time
from flywheel_api.canonical import canonical_json
from flywheel_api.stages import TRAIN_STAGE
from flywheel_jobs.harness.attempt import described
from flywheel_jobs.trainer.failures import diagnose
from flywheel_operator.observe import rayjobs, services
from unit.causes.test_signatures import pod, rayjob
from unit.operator.world import NS, World

LINE = "(WorkerDict pid=7, ip=10.4.0.7) torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered"
RLJOB = """
apiVersion: flywheel.dev/v1alpha1
kind: RLJob
metadata: {name: train, namespace: %s, uid: rl-1, generation: 1}
spec:
  model: s3://flywheel/flywheel/models/tiny
  data: {train: ["s3://flywheel/flywheel/rows.parquet"]}
  reward: {type: Math}
"""


async def test_the_attempt_that_a_gpu_ended_names_its_node() -> None:
    world = World()
    world.store.put("rows.parquet", b"rows")
    body = yaml.safe_load(RLJOB % NS)
    world.kube.seed(body)
    world.holding.add(TRAIN_STAGE)
    for _ in range(6):
        await world.look()
        world.act()
        world.tick()
    (job,) = world.of_kind("RayJob")
    (found,) = world.of_kind("Pod")
    world.kube.update("Pod", NS, found["metadata"]["name"], status={"podIP": "10.4.0.7"}, spec={"nodeName": "gpu-7"})
    failure, _ = described(diagnose(1, [LINE]))
    assert failure.node == "10.4.0.7"
    uid = world.get("RLJob", "train")["metadata"]["uid"]
    told: Failure = failure.model_copy(update={"at": format_time(world.now)})
    world.store.put(failure_key(uid, TRAIN_STAGE, 1), canonical_json(told.dump()))
    status = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}
    world.kube.update("RayJob", NS, job["metadata"]["name"], status=status)
    await world.look()
    (attempt,) = world.status("RLJob", "train")["attempts"]
    assert (attempt["reason"], attempt["node"]) == ("GpuFault", "gpu-7")
    assert "on node gpu-7" in attempt["message"]


def test_a_pool_names_the_node_as_well() -> None:
    app = {"status": "DEPLOY_FAILED", "message": LINE}
    service = {
        "kind": "RayService",
        "metadata": {"name": "x", "uid": "u"},
        "status": {"pendingServiceStatus": {"applicationStatuses": {"llm": app}}},
    }
    there = pod({}) | {"spec": {"nodeName": "gpu-7"}}
    there["status"]["podIP"] = "10.4.0.7"
    run = services.run_of(service, [], [there])
    assert run.ended is not None and (run.ended.reason, run.ended.node) == ("GpuFault", "gpu-7")
    assert run.ended.message.startswith("on node gpu-7: ")


def test_a_traceback_that_ray_hands_on_is_of_the_pod_that_its_first_line_names() -> None:
    head = "(TaskRunner pid=5, ip=10.4.0.1) "
    lines = [
        head + "ray.exceptions.RayTaskError(RuntimeError): \x1b[36mray::WorkerDict.update()\x1b[39m "
        "(pid=77, ip=10.4.0.7, actor_id=0a, repr=<verl.WorkerDict object at 0x7f>)",
        head + '  File "/opt/verl/workers/actor.py", line 7, in update',
        "(WorkerDict pid=9, ip=10.4.0.9) step 3 is slow",
        head + "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered",
    ]
    assert diagnose(1, lines).node == "10.4.0.7"
    after = [*lines[:2], head + "RuntimeError: stop", head + "NVML: Failed to initialize NVML: Unknown Error"]
    assert diagnose(1, after).node == "10.4.0.1", "the traceback was over"


def test_without_a_record_the_end_of_the_log_tells() -> None:
    message = f"Job entrypoint command failed with exit code 1, last available logs (truncated):\n{LINE}"
    failed = rayjob("Failed", "FAILED", reason="AppFailed", message=message)
    there = pod({}) | {"spec": {"nodeName": "gpu-7"}}
    there["status"]["podIP"] = "10.4.0.7"
    for pods, node in (([there], "gpu-7"), ([], None)):
        run = rayjobs.run_of(failed, None, pods)
        assert run.ended is not None and (run.ended.reason, run.ended.node) == ("GpuFault", node)
