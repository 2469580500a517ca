"""Every row of the tables that map Kubernetes and KubeRay facts to causes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_operator.model import RunState
from flywheel_operator.observe import jobs, pods, rayjobs, services, waiting

Object = dict[str, Any]


def obj(kind: str, status: Object | None = None) -> Object:
    return {"kind": kind, "metadata": {"name": "x", "uid": "u"}, "status": status or {}}


def pod(**status: Any) -> Object:
    return {"kind": "Pod", "metadata": {"name": "p", "uid": "u"}, "status": status}


def container(state: Object, name: str = "ray-head") -> Object:
    return {"containerStatuses": [{"name": name, "image": "img:1", "state": state}]}


DISRUPTED = {
    "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drain"}
    ]
}
TOLD = json.dumps({"cause": "Endpoint", "reason": "Timeout", "message": "teacher away", "at": "2026-11-23T12:00:00Z"})


@pytest.mark.parametrize(
    ("status", "cause", "reason"),
    [
        (container({"terminated": {"exitCode": 1}}), Cause.APP, "ExitCode1"),
        (container({"terminated": {"exitCode": 64}}), Cause.VALIDATION, "ExitCode64"),
        (container({"terminated": {"exitCode": 65}}), Cause.SUPERSEDED, "ExitCode65"),
        (container({"terminated": {"exitCode": 66}}), Cause.INFRA, "ExitCode66"),
        (container({"terminated": {"exitCode": 74}}), Cause.INFRA, "ExitCode74"),
        (container({"terminated": {"exitCode": 75}}), Cause.ENDPOINT, "ExitCode75"),
        (container({"terminated": {"exitCode": 139}}), Cause.APP, "WorkerCrashed"),
        (container({"terminated": {"exitCode": 137, "reason": "Error"}}), Cause.APP, "Killed"),
        (
            container(
                {
                    "terminated": {
                        "exitCode": 137,
                        "reason": "Error",
                        "message": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
                    }
                }
            ),
            Cause.APP,
            "DeviceOutOfMemory",
        ),
        (container({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), Cause.APP, "OOMKilled"),
        (container({"terminated": {"exitCode": 1, "message": TOLD}}), Cause.ENDPOINT, "Timeout"),
        (DISRUPTED, Cause.PREEMPTED, "EvictionByEvictionAPI"),
        ({"reason": "Evicted", "message": "disk"}, Cause.PREEMPTED, "Evicted"),
        ({"reason": "NodeLost"}, Cause.INFRA, "WorkerNodeLost"),
        (DISRUPTED | container({"terminated": {"exitCode": 143}}), Cause.PREEMPTED, "EvictionByEvictionAPI"),
        (
            DISRUPTED | container({"terminated": {"exitCode": 75, "message": TOLD}}),
            Cause.ENDPOINT,
            "Timeout",
        ),
    ],
)
def test_causes_of_pods(status: Object, cause: Cause, reason: str) -> None:
    found = pods.ended([pod(**status)])
    assert found is not None
    assert (found.cause, found.reason) == (cause, reason)


def test_a_pod_that_ended_well_has_no_cause() -> None:
    assert pods.ended([pod(**container({"terminated": {"exitCode": 0}}))]) is None


@pytest.mark.parametrize(
    ("status", "said", "act"),
    [
        (container({"waiting": {"reason": "ImagePullBackOff"}}), "cannot get image img:1", True),
        (container({"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}}), "no secret", True),
        (
            {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable", "message": "0/1 nodes: cpu"}]},
            "waits for a node: 0/1 nodes: cpu",
            False,
        ),
        (container({"waiting": {"reason": "ContainerCreating"}}), "", False),
    ],
)
def test_why_pods_wait(status: Object, said: str, act: bool) -> None:
    wait = waiting.waiting([pod(**status)])
    assert wait is not None
    assert said in wait.text
    assert wait.refused is act


GPU_TAINT = "6 node(s) had untolerated taint {nvidia.com/gpu: true}"
GPUS = {"resources": {"limits": {"nvidia.com/gpu": "8", "memory": "1Ti"}}}


@pytest.mark.parametrize(
    ("others", "asks", "told", "refused"),
    [
        ("3 Insufficient nvidia.com/gpu", GPUS, True, False),
        ("1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }", GPUS, True, False),
        ("3 node(s) didn't match Pod's node affinity/selector", GPUS, True, False),
        ("3 Insufficient cpu", {}, False, False),
        ("3 node(s) had untolerated taint {team: other}", GPUS, True, True),
    ],
)
def test_a_taint_on_gpu_nodes_is_told_on_a_mixed_cluster(others: str, asks: Object, told: bool, refused: bool) -> None:
    words = f"0/9 nodes are available: {others}, {GPU_TAINT}. preemption: not helpful"
    waits = pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": words}])
    waits["spec"] = {"containers": [asks]}
    wait = waiting.waiting([waits])
    assert wait is not None
    assert ("; add tolerations (" in wait.text) is told and wait.refused is refused
    assert wait.late is (Cause.APP if refused else Cause.CAPACITY)


EXIT_66 = "Job entrypoint command failed with exit code 66, last available logs: second incarnation"


@pytest.mark.parametrize(
    ("deployment", "job", "reason", "message", "cause"),
    [
        ("Complete", "STOPPED", "", "", Cause.CANCELLED),
        ("Complete", "", "", "", Cause.INFRA),
        ("ValidationFailed", "", "ValidationFailed", "name too long", Cause.VALIDATION),
        ("Failed", "FAILED", "AppFailed", "Job entrypoint command failed with exit code 1", Cause.APP),
        ("Failed", "FAILED", "AppFailed", EXIT_66, Cause.INFRA),
        ("Failed", "FAILED", "AppFailed", "failed with exit code 64", Cause.VALIDATION),
        ("Failed", "FAILED", "AppFailed", "ActorDiedError: its node has died", Cause.INFRA),
        ("Failed", "RUNNING", "JobStatusCheckTimeoutExceeded", "", Cause.INFRA),
        ("Failed", "", "SubmissionFailed", "", Cause.INFRA),
        ("Failed", "RUNNING", "DeadlineExceeded", "", Cause.BUDGET),
        ("Failed", "", "PreRunningDeadlineExceeded", "", Cause.CAPACITY),
        ("Failed", "RUNNING", "JobDeploymentStatusTransitionGracePeriodExceeded", "", Cause.INFRA),
    ],
)
def test_rayjobs_that_ended(deployment: str, job: str, reason: str, message: str, cause: Cause) -> None:
    status = {"jobDeploymentStatus": deployment, "jobStatus": job, "reason": reason, "message": message}
    run = rayjobs.run_of(obj("RayJob", status), None, [])
    assert run.state is RunState.ENDED
    assert run.ended is not None and run.ended.cause is cause, run.ended


def test_a_signal_of_a_pod_counts_less_than_what_kuberay_says() -> None:
    """KubeRay and nodes kill pods as they go."""
    status = {"jobDeploymentStatus": "Failed", "jobStatus": "", "reason": "JobStatusCheckTimeoutExceeded"}
    killed = container({"terminated": {"exitCode": 137, "reason": "Error"}})
    run = rayjobs.run_of(obj("RayJob", status), None, [pod(**killed)])
    assert run.ended is not None and run.ended.cause is Cause.INFRA


def test_a_failed_rayjob_whose_pod_was_evicted_was_preempted() -> None:
    status = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": "exit code 1"}
    run = rayjobs.run_of(obj("RayJob", status), None, [pod(**DISRUPTED)])
    assert run.ended is not None and run.ended.cause is Cause.PREEMPTED


@pytest.mark.parametrize(
    ("deployment", "job", "state"),
    [
        ("Complete", "SUCCEEDED", RunState.SUCCEEDED),
        ("Running", "RUNNING", RunState.RUNNING),
        ("Running", "PENDING", RunState.STARTING),
        ("Running", "", RunState.STARTING),
        ("Initializing", "", RunState.STARTING),
        ("", "", RunState.STARTING),
    ],
)
def test_rayjobs_that_live(deployment: str, job: str, state: RunState) -> None:
    status = {"jobDeploymentStatus": deployment, "jobStatus": job}
    assert rayjobs.run_of(obj("RayJob", status), None, []).state is state


def test_a_refused_pod_is_told_from_the_ray_cluster() -> None:
    text = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateHeadPod", "message": text}
    run = rayjobs.run_of(
        obj("RayJob", {"jobDeploymentStatus": "Initializing"}), obj("RayCluster", {"conditions": [condition]}), []
    )
    assert run.refused and "violates PodSecurity" in run.text


def test_a_ray_cluster_that_a_queue_suspends_is_queued_for_trainings_and_pools() -> None:
    cluster = {**obj("RayCluster", {"state": "suspended"}), "spec": {"suspend": True}}
    for run in (
        rayjobs.run_of(obj("RayJob", {"jobDeploymentStatus": "Initializing"}), cluster, []),
        services.run_of(obj("RayService", {}), [cluster], []),
    ):
        assert (run.state, run.reason, run.refused) == (RunState.QUEUED, Reason.QUEUED, False)
        assert "suspended" in run.text


@pytest.mark.parametrize(
    ("job", "listed", "state", "cause"),
    [
        ({"conditions": [{"type": "Complete", "status": "True"}]}, [], RunState.SUCCEEDED, None),
        ({"conditions": [{"type": "Failed", "status": "True"}]}, [], RunState.ENDED, Cause.INFRA),
        (
            {"conditions": [{"type": "Failed", "status": "True"}]},
            [pod(**container({"terminated": {"exitCode": 75}}))],
            RunState.ENDED,
            Cause.ENDPOINT,
        ),
        (
            {"conditions": [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}]},
            [],
            RunState.ENDED,
            Cause.STALLED,
        ),
        ({"active": 1}, [pod(phase="Running")], RunState.RUNNING, None),
        ({"active": 1}, [pod(phase="Pending")], RunState.STARTING, None),
        ({}, [], RunState.STARTING, None),
    ],
)
def test_jobs(job: Object, listed: list[Object], state: RunState, cause: Cause | None) -> None:
    run = jobs.run_of(obj("Job", job), listed)
    assert run.state is state
    assert (run.ended.cause if run.ended else None) is cause


def app(status: str, part: str = "activeServiceStatus") -> Object:
    return {part: {"applicationStatuses": {"llm": {"status": status, "message": "no such file"}}}}


READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (READY | app("RUNNING"), RunState.RUNNING),
        (READY | app("DEPLOYING"), RunState.STARTING),
        (READY, RunState.STARTING),
        (app("RUNNING"), RunState.STARTING),
        (app("DEPLOY_FAILED", "pendingServiceStatus"), RunState.ENDED),
        (app("UNHEALTHY"), RunState.STARTING),
        ({}, RunState.STARTING),
    ],
)
def test_rayservices(status: Object, state: RunState) -> None:
    assert services.run_of(obj("RayService", status), [], []).state is state
