"""A stage's Job: judged by its own container, held back by queues and quotas, refused by policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_operator.model import RunState
from flywheel_operator.observe import jobs, rayjobs
from flywheel_operator.observe.events import Words
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kube_fake import FakeKube
from unit.causes.test_signatures import pod, rayjob
from unit.operator.world import NS, ROUND, START, World

Case = dict[str, Any]
PROXY = {"istio-proxy": {"running": True}, "phase": "Running"}


def job(completions: int = 1, suspend: bool = False, **status: Any) -> Case:
    meta = {"name": "x", "uid": "u", "namespace": "ns"}
    return {"kind": "Job", "metadata": meta, "spec": {"completions": completions, "suspend": suspend}, "status": status}


@pytest.mark.parametrize(
    ("stage", "state", "cause"),
    [
        ({"exitCode": 65, "told": "Validation"}, RunState.ENDED, Cause.VALIDATION),
        ({"exitCode": 1, "told": "App"}, RunState.ENDED, Cause.APP),
        ({"exitCode": 75}, RunState.ENDED, Cause.ENDPOINT),
        ({"exitCode": 137, "reason": "OOMKilled"}, RunState.ENDED, Cause.APP),
        ({"exitCode": 137, "reason": "Error"}, RunState.ENDED, Cause.APP),
        ({"exitCode": 0}, RunState.SUCCEEDED, None),
        ({"running": True}, RunState.RUNNING, None),
    ],
)
def test_a_sidecar_that_runs_on_hides_nothing(stage: Case, state: RunState, cause: Cause | None) -> None:
    run = jobs.run_of(job(active=1), [pod(PROXY | {"stage": stage})])
    assert run.state is state
    assert (run.ended.cause if run.ended else None) is cause


def test_a_stage_is_done_when_all_of_its_shards_are() -> None:
    done, working = pod(PROXY | {"stage": {"exitCode": 0}}), pod(PROXY | {"stage": {"running": True}})
    assert jobs.run_of(job(2, active=2), [done, working]).state is RunState.RUNNING
    assert jobs.run_of(job(2, active=1), [done]).state is RunState.RUNNING  # the other pod was not seen yet
    assert jobs.run_of(job(2, active=2), [done, done]).state is RunState.SUCCEEDED


def test_one_shard_that_failed_ends_the_stage() -> None:
    failed, working = pod(PROXY | {"stage": {"exitCode": 64}}), pod(PROXY | {"stage": {"running": True}})
    run = jobs.run_of(job(2, active=2), [working, failed])
    assert run.ended is not None and run.ended.cause is Cause.VALIDATION


@pytest.mark.parametrize(
    "held",
    [
        job(suspend=True),
        job(conditions=[{"type": "Suspended", "status": "True"}]),
    ],
)
def test_a_suspended_job_is_queued(held: Case) -> None:
    run = jobs.run_of(held, [])
    assert (run.state, run.reason) == (RunState.QUEUED, Reason.QUEUED)
    assert "Kueue" in run.text
    assert not jobs.lacks_pods(held, [], START)


@pytest.mark.parametrize(("age", "asked"), [(0, False), (1, False), (2, True), (600, True)])
def test_a_job_that_was_only_just_made_is_given_time_for_its_pods(age: float, asked: bool) -> None:
    fresh = job()
    fresh["metadata"]["creationTimestamp"] = format_time(START)
    assert jobs.lacks_pods(fresh, [], START + timedelta(seconds=age)) is asked


def test_a_job_that_ends_is_not_asked_about() -> None:
    failing = job(conditions=[{"type": "FailureTarget", "status": "True"}])
    assert jobs.run_of(failing, [pod({"stage": {"exitCode": 64}})]).state is RunState.ENDED


QUOTA = 'pods "x-" is forbidden: exceeded quota: q, requested: limits.cpu=4, used: limits.cpu=8, limited: limits.cpu=8'
WEBHOOK = 'Internal error occurred: failed calling webhook "mpod.kb.io": EOF'
LIMITS = 'Pod "x-0" is invalid: spec.containers[0].resources.requests: Invalid value: "100m": must be less than limit'


@pytest.mark.parametrize(
    ("message", "reason", "act"),
    [
        (QUOTA, Reason.QUEUED, False),
        (LIMITS, Reason.POD_REFUSED, True),
        ('pods "x-" is forbidden: failed quota: q: must specify limits.cpu for: stage', Reason.POD_REFUSED, True),
        ('pods "x-" is forbidden: violates PodSecurity "restricted:latest"', Reason.POD_REFUSED, True),
        (WEBHOOK, Reason.API_REFUSES, False),
        (
            'Operation cannot be fulfilled on resourcequotas "q": the object has been modified',
            Reason.API_REFUSES,
            False,
        ),
        ('admission webhook "policy.example" denied the request: no cost centre', Reason.POD_REFUSED, True),
    ],
)
async def test_why_a_job_has_no_pods_is_in_its_events(message: str, reason: Reason, act: bool) -> None:
    kube, now = FakeKube(), 0.0
    refusals = Words(lambda: now)
    assert jobs.lacks_pods(job(), [], START)
    assert await refusals.of(kube, job()) == ""
    for number, text in enumerate(("an older word", f"Error creating: {message}")):
        kube.seed(event(f"e{number}", text, f"2026-11-26T10:0{number}:00Z"))
    assert await refusals.of(kube, job()) == "", "asked again too soon"
    now = 20.0
    said = await refusals.of(kube, job())
    run = jobs.run_of(job(), [], said)
    assert (run.state, run.reason, run.refused) == (RunState.QUEUED, reason, act)
    assert message in run.text
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreateWorkerPod", "message": message}
    cluster = {"kind": "RayCluster", "metadata": {"name": "c", "uid": "u"}, "status": {"conditions": [condition]}}
    of_cluster = rayjobs.held_run(run.child, cluster)
    assert of_cluster is not None and message in of_cluster.text
    assert (of_cluster.state, of_cluster.reason, of_cluster.refused) == (run.state, run.reason, run.refused)


async def test_one_question_is_asked_for_all_jobs_of_a_namespace() -> None:
    asked = []

    class Counting(FakeKube):
        async def events(self, namespace: str, fields: dict[str, str]) -> list[Case]:
            asked.append(namespace)
            return await super().events(namespace, fields)

    kube, words = Counting(), Words(lambda: 0.0)
    for uid in ("u", "v"):
        kube.seed(event(f"of-{uid}", f"Error creating: {uid}", "2026-11-26T10:00:00Z", uid))
    jobs_ = [job() | {"metadata": {"name": uid, "uid": uid, "namespace": "ns"}} for uid in ("u", "v", "w")]
    assert [await words.of(kube, each) for each in jobs_] == ["u", "v", ""]
    assert asked == ["ns"]


async def test_without_the_right_to_see_events_a_start_goes_on() -> None:
    class Closed(FakeKube):
        async def events(self, namespace: str, fields: dict[str, str]) -> list[Case]:
            raise Forbidden("events is forbidden")

    assert await Words().of(Closed(), job()) == ""
    run = jobs.run_of(job(), [])
    assert run.state is RunState.STARTING and "Job controller" in run.text


def event(name: str, message: str, at: str, uid: str = "u") -> Case:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "ns"},
        "involvedObject": {"kind": "Job", "name": "x", "namespace": "ns", "uid": uid},
        "reason": "FailedCreate",
        "message": message,
        "lastTimestamp": at,
    }


def test_what_the_pods_show_while_a_child_starts_is_kept_as_evidence() -> None:
    drained = rayjobs.run_of(rayjob("Initializing"), None, [pod({"target": "EvictionByEvictionAPI"})])
    assert drained.state is RunState.STARTING
    assert drained.evidence is not None and drained.evidence.cause is Cause.PREEMPTED
    worker = {
        "ray-worker": {"last": {"exitCode": 1}, "running": True},
        "unschedulable": "3 Insufficient nvidia.com/gpu",
    }
    waits = rayjobs.run_of(rayjob("Initializing"), None, [pod(worker)])
    assert waits.evidence is None and waits.late is Cause.CAPACITY, "a restart long ago does not explain a long start"


@pytest.mark.parametrize(("message", "reason"), [(QUOTA, Reason.QUEUED), (WEBHOOK, Reason.API_REFUSES)])
async def test_a_round_says_why_its_stage_has_no_pods(message: str, reason: Reason) -> None:
    world = World()
    world.apply(ROUND)
    for _ in range(3):
        await world.look()
        world.tick()
    stage = world.of_kind("Job")[0]
    said = event("e1", f"Error creating: {message}", "2026-11-26T10:00:00Z", uid=stage["metadata"]["uid"])
    said["metadata"]["namespace"] = NS
    world.kube.seed(said)
    world.tick(30)
    await world.look()
    assert any(message in str(s.get("progress")) for s in world.status()["stages"])
    assert world.condition("Ready")["reason"] == reason and world.condition("Stalled")["status"] == "False"


def test_a_job_whose_pods_are_gone_tells_so() -> None:
    """A volume that was attached elsewhere, a mount that failed, and somebody who took the pods away."""
    gone = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached it"}
    run = jobs.run_of(job(conditions=[gone]), [])
    assert run.ended is not None and (run.ended.cause, run.ended.reason) == (Cause.INFRA, "PodsGone")
    assert "BackoffLimitExceeded" in run.ended.message
