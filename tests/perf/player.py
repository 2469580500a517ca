"""Plays what needs nodes, cheaply: kubelet, the Job controller, KubeRay (for us) and the stages' programs.

It is driven by watches, not by looking around, so that a thousand rounds at rest cost it nothing. What a stage leaves
in the store comes from the same stories as in every other test.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

from apiserver.actors import Actors, LiveStore, artifacts_now
from flywheel_api import artifacts
from flywheel_api.artifacts import Owner
from flywheel_api.base import format_time
from flywheel_api.canonical import canonical_json
from flywheel_api.names import LABEL_ATTEMPT, LABEL_OWNER_NAME, LABEL_OWNER_UID, LABEL_STAGE
from flywheel_api.stages import STAGE_CONFIG_ENV, TRAIN_STAGE
from perf.gap import STAGE_OF
from perf.rest import Object, Refused, Rest
from perf.shapes import held
from unit.operator.world import env_json, serving_status

HANDS = 24  # children played at the same time
RUNNING: Object = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


class Player:
    """Handles each new object of some kinds once; `pods` holds the one that may be flipped, by owner."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest
        self.pods: dict[str, str] = {}
        self._known: set[str] = set()
        self._todo: asyncio.Queue[tuple[Callable[[Object], Awaitable[None]], Object]] = asyncio.Queue()

    async def play(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for plural, work in self.parts().items():
                group.create_task(self._follow(plural, work))
            for _ in range(HANDS):
                group.create_task(self._work())

    async def flip(self, owner: str, token: str) -> None:
        """Changes the status of one child of `owner`, so that the owner's status repeats `token`."""
        raise NotImplementedError

    def parts(self) -> dict[str, Callable[[Object], Awaitable[None]]]:
        """Resource to what is done with a new object of it."""
        raise NotImplementedError

    async def _follow(self, plural: str, work: Callable[[Object], Awaitable[None]]) -> None:
        async for change, obj in self.rest.watch(plural):
            uid = obj["metadata"].get("uid", "")
            if change == "ADDED" and uid not in self._known:
                self._known.add(uid)
                self._todo.put_nowait((work, obj))

    async def _work(self) -> None:
        while True:
            work, obj = await self._todo.get()
            with contextlib.suppress(Refused):  # gone meanwhile
                await work(obj)


class RoundPlayer(Player):
    """The children of rounds: Jobs (held or done at once), RayJobs (held), RayServices (serving)."""

    def __init__(self, rest: Rest, store: LiveStore) -> None:
        super().__init__(rest)
        self.stories = Actors(cast(Any, rest), store, rest.namespace)
        self.stories.put_model("models/tiny/manifest.json")
        self.running: list[tuple[Owner, str, int]] = []

    def parts(self) -> dict[str, Callable[[Object], Awaitable[None]]]:
        return {"jobs": self._job, "rayjobs": self._ray_job, "rayservices": self._ray_service}

    async def _job(self, job: Object) -> None:
        name, labels = job["metadata"]["name"], job["metadata"]["labels"]
        owner, stage, attempt = identity(job, self.rest.namespace, "FlywheelRound")
        now = format_time(artifacts_now())
        if not held(owner.name, stage):
            config = env_json(job["spec"]["template"]["spec"], STAGE_CONFIG_ENV)
            await asyncio.to_thread(self.stories.commit, owner, stage, attempt, config)
            done = [
                {"type": t, "status": "True", "lastTransitionTime": now} for t in ("SuccessCriteriaMet", "Complete")
            ]
            ended = {"startTime": now, "completionTime": now, "succeeded": 1, "completedIndexes": "0", "ready": 0}
            await self.rest.patch_status("jobs", name, {**ended, "uncountedTerminatedPods": {}, "conditions": done})
            return
        await self.progress(owner, stage, attempt, 0)
        await self._pod(job, job["spec"]["template"], f"{name}-0")
        await self.rest.patch_status("jobs", name, {"startTime": now, "active": 1, "ready": 1})
        self.running.append((owner, stage, attempt))
        self.pods[labels[LABEL_OWNER_NAME]] = f"{name}-0"

    async def _ray_job(self, job: Object) -> None:
        name = job["metadata"]["name"]
        owner, _, attempt = identity(job, self.rest.namespace, "RLJob")
        await self.progress(owner, TRAIN_STAGE, attempt, 0)
        await self._pod(job, job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"], f"{name}-head")
        await self.rest.patch_status("rayjobs", name, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
        self.running.append((owner, TRAIN_STAGE, attempt))

    async def _ray_service(self, service: Object) -> None:
        name = service["metadata"]["name"]
        await self._pod(service, service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"], f"{name}-head")
        status = serving_status(f"{name}-abcde")
        said = {"reason": "Serving", "message": "", "lastTransitionTime": format_time(artifacts_now())}
        status["conditions"] = [c | said for c in status["conditions"]]
        await self.rest.patch_status("rayservices", name, status)

    async def _pod(self, owner: Object, template: Object, name: str) -> None:
        meta = owner["metadata"]
        ref = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [ref | {"controller": True}],
            },
            "spec": template["spec"],
        }
        await self.rest.create("pods", body)
        await self.rest.patch_status("pods", name, RUNNING)

    async def progress(self, owner: Owner, stage: str, attempt: int, done: int) -> None:
        """What a running program writes to the store about itself."""
        now = format_time(artifacts_now())
        record = artifacts.Progress(done=done, total=1000, updated_at=now, heartbeat_at=now)
        key = artifacts.progress_key(owner.uid, stage, attempt)
        await asyncio.to_thread(self.stories.store.put, key, canonical_json(record.dump()))

    async def flip(self, owner: str, token: str) -> None:
        """A child's pod waits for a node, in the scheduler's words; the owner's status repeats them."""
        text = f"0/8 nodes are available: {token}."
        waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
        await self.rest.patch_status("pods", self.pods[owner], {"phase": "Pending", "conditions": [waits]})


class ClusterPlayer(Player):
    """The pods that KubeRay makes run at once."""

    def parts(self) -> dict[str, Callable[[Object], Awaitable[None]]]:
        return {"pods": self._pod}

    async def _pod(self, pod: Object) -> None:
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        if labels.get("ray.io/node-type") == "head":
            self.pods[labels["ray.io/cluster"]] = name
        await self.rest.patch_status("pods", name, {**RUNNING, "podIP": "10.1.1.1", "podIPs": [{"ip": "10.1.1.1"}]})

    async def flip(self, owner: str, token: str) -> None:
        """The head is not ready, for a reason that KubeRay repeats in the RayCluster's status."""
        not_ready = {"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady", "message": token}
        await self.rest.patch_status("pods", self.pods[owner], {"conditions": [not_ready]})


def identity(child: Object, namespace: str, kind: str) -> tuple[Owner, str, int]:
    """(owner, stage, attempt) of a child, from its labels."""
    labels = child["metadata"]["labels"]
    owner = Owner(kind=kind, namespace=namespace, name=labels[LABEL_OWNER_NAME], uid=labels[LABEL_OWNER_UID])
    return owner, STAGE_OF.get(labels[LABEL_STAGE], labels[LABEL_STAGE]), int(labels[LABEL_ATTEMPT])
