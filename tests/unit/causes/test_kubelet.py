"""Pods between their node and their first container: what kubelet cannot set up reaches the conditions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_operator.model import Run, RunState
from flywheel_operator.observe import jobs, rayjobs, services
from flywheel_operator.observe.events import Words
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kube_fake import FakeKube
from unit.causes.test_jobs import event, job
from unit.operator.world import NS, ROUND, START, World

Case = dict[str, Any]
MOUNT = 'MountVolume.SetUp failed for volume "ca" : secret "corp-ca" not found'
SANDBOX = "Failed to create pod sandbox: plugin type=calico failed (add): no IP addresses available in range"
ATTACH = 'AttachVolume.Attach failed for volume "pvc-1": Multi-Attach error: already used by pod(s) x'
RAYJOB = {"kind": "RayJob", "metadata": {"name": "x", "uid": "j"}, "status": {"jobDeploymentStatus": "Initializing"}}
SERVICE = {"kind": "RayService", "metadata": {"name": "x", "uid": "s"}, "status": {}}


def still(state: str = "ContainerCreating", **more: Any) -> Case:
    waits = {"name": "stage", "state": {"waiting": {"reason": state}}}
    status = {"phase": "Pending", "startTime": format_time(START), "containerStatuses": [waits], **more}
    return {"metadata": {"name": "x-pod", "namespace": "ns", "uid": "p"}, "spec": {}, "status": status}


def said(reason: str, message: str, at: str = "2026-11-26T10:00:00Z", name: str = "e") -> Case:
    return event(name, message, at, "p") | {"reason": reason}


async def seen(pods: list[Case], *events: Case, after: float = 60) -> list[Case]:
    kube = FakeKube()
    for one in events:
        kube.seed(one)
    return await Words().with_kubelet(kube, pods, START + timedelta(seconds=after))


def runs(pods: list[Case]) -> list[Run]:
    return [jobs.run_of(job(active=1), pods), rayjobs.run_of(RAYJOB, None, pods), services.run_of(SERVICE, [], pods)]


@pytest.mark.parametrize(
    ("reason", "message", "person"),
    [("FailedMount", MOUNT, True), ("FailedCreatePodSandBox", SANDBOX, False), ("FailedAttachVolume", ATTACH, False)],
)
async def test_kubelets_words_reach_every_kind_of_child(reason: str, message: str, person: bool) -> None:
    for run in runs(await seen([still()], said(reason, message))):
        assert run.state is RunState.STARTING and f"{reason}: {message}" in run.text
        assert (run.refused, run.late) == (person, Cause.APP if person else Cause.INFRA)


async def test_what_is_past_is_not_said() -> None:
    later = said("Pulling", "Pulling image", "2026-11-26T10:01:00Z", "f")
    for run in runs(await seen([still()], said("FailedMount", MOUNT), later)):
        assert MOUNT not in run.text


@pytest.mark.parametrize(
    ("pod", "after"),
    [
        (still(), 5.0),
        (still("ImagePullBackOff"), 60.0),
        (still(phase="Running"), 60.0),
        (still(containerStatuses=[{"name": "stage", "state": {"running": {}}}]), 60.0),
        (still(startTime=None), 60.0),
    ],
)
async def test_nobody_asks_for_the_events_of_pods_that_go_on(pod: Case, after: float) -> None:
    assert await seen([pod], said("FailedMount", MOUNT), after=after) == [pod]


async def test_of_many_pods_a_few_are_asked_and_not_oftener_than_need_be() -> None:
    asked, clock = list[str](), 0.0

    class Counting(FakeKube):
        async def events(self, namespace: str, fields: dict[str, str]) -> list[Case]:
            asked.append(fields["involvedObject.uid"])
            raise Forbidden("events is forbidden")

    pods = [still() | {"metadata": {"name": f"x{n}", "namespace": "ns", "uid": f"p{n}"}} for n in range(500)]
    words = Words(lambda: clock)
    for _ in range(4):
        assert await words.with_kubelet(Counting(), pods, START + timedelta(seconds=60)) == pods
    assert asked == ["p0", "p1", "p2"]
    clock = 16.0
    await words.with_kubelet(Counting(), pods, START + timedelta(seconds=60))
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("kind", "child", "owner"),
    [("Prepare", "Job", ""), ("ServeBase", "RayService", "RolloutPool"), ("TrainReasoning", "RayJob", "RLJob")],
)
async def test_a_round_says_what_kubelet_says(kind: str, child: str, owner: str) -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add({"ServeBase": "serve", "TrainReasoning": "Train"}.get(kind, kind))
    await world.run(until=kind)
    while not world.of_kind(child):
        await world.look()
        world.act()
        world.tick(2)
    held = [p for p in world.of_kind("Pod") if p["status"].get("phase") != "Succeeded"]
    for pod in held:
        meta, began = pod["metadata"], format_time(world.now)
        status = still(startTime=began)["status"]
        world.kube.update("Pod", NS, meta["name"], status=status)
        told = said("FailedMount", MOUNT, name=f"{meta['name']}.1")
        told["metadata"]["namespace"] = NS
        world.kube.seed(told | {"involvedObject": {"uid": meta["uid"]}})
    for kinds in ("RayJob", "RayService"):
        for one in world.of_kind(kinds):
            fresh = {"jobDeploymentStatus": "Initializing"} if kinds == "RayJob" else {}
            world.kube.update(kinds, NS, one["metadata"]["name"], status=fresh)
    for _ in range(4):
        world.tick(30)
        await world.look()
    assert held and MOUNT in world.condition("Ready")["message"]
    if owner:
        (mine,) = world.of_kind(owner)
        assert MOUNT in mine["status"]["progress"]
