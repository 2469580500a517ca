"""Plays kubelet, KubeRay and the jobs against a real API server: children are moved through their lives, nothing else.

The Job controller and the garbage collector are the real ones; what is played is what needs a node or a GPU.
"""

from __future__ import annotations

import asyncio
import io
from contextlib import suppress
from dataclasses import replace
from typing import Any

from minio import Minio

from flywheel_api import artifacts
from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.stages import STAGE_CONFIG_ENV, TRAIN_CONFIG_ENV, TRAIN_STAGE
from flywheel_operator.ports.errors import PortError
from flywheel_operator.ports.kinds import JOBS, PODS, RAYJOBS, RAYSERVICES, Resource
from flywheel_operator.ports.kube import Kube, path_of
from flywheel_store.memory import memory_settings
from unit.operator.world import World, env_json, serving_status

Object = dict[str, Any]
MERGE = "application/merge-patch+json"


class LiveStore:
    """The part of FakeStore that the stories use, on a real bucket."""

    def __init__(self, client: Minio, bucket: str, prefix: str = "flywheel") -> None:
        self.client, self.bucket = client, bucket
        self.settings = replace(memory_settings(), bucket=bucket, prefix=prefix)
        self.objects: dict[str, bytes] = {}
        """What was written from here, by whole key."""

    def put(self, key: str, data: bytes) -> None:
        self.objects[self.settings.full_key(key)] = data
        self.client.put_object(self.bucket, self.settings.full_key(key), io.BytesIO(data), len(data))

    def get(self, key: str) -> bytes:
        """From the bucket: what other actors wrote for a round that goes on is in it, too."""
        with self.client.get_object(self.bucket, self.settings.full_key(key)) as response:
            return bytes(response.read())


class Actors(World):
    """`holding` and `fail` as in World. Plays until `ended` is set."""

    def __init__(self, kube: Kube, store: LiveStore, namespace: str) -> None:
        self.live, self.store, self.namespace = kube, store, namespace  # type: ignore[assignment]
        self.begin()
        self.now = artifacts_now()
        self.committed: dict[str, float] = {}
        self.born: dict[str, float] = {}
        self.ended = False

    def read(self, digest: str) -> Manifest:
        return Manifest.model_validate_json(self.store.get(artifacts.manifest_digest_key(digest)))  # type: ignore[arg-type]

    async def play(self) -> None:
        """Looks around ten times a second. Never cancelled: a request that is cut off leaves its TLS socket open."""
        while not self.ended:
            with suppress(PortError):
                await self._turn()
            await asyncio.sleep(0.1)

    async def _turn(self) -> None:
        for job in await self.live.list(JOBS, self.namespace):
            await self._live_job(job)
        for job in await self.live.list(RAYJOBS, self.namespace):
            await self._live_ray_job(job)
        for service in await self.live.list(RAYSERVICES, self.namespace):
            await self._live_ray_service(service)

    async def patch(self, resource: Resource, name: str, status: Object) -> None:
        """A status as its controller would write it."""
        path = path_of(resource, self.namespace, name) + "/status"
        await self.live._call("PATCH", path, None, {"status": status}, MERGE)

    async def _live_job(self, job: Object) -> None:
        name = job["metadata"]["name"]
        self.born.setdefault(name, asyncio.get_running_loop().time())
        if job.get("status", {}).get("conditions"):
            return
        config = env_json(job["spec"]["template"]["spec"], STAGE_CONFIG_ENV)
        owner, stage, attempt = Owner(**config["owner"]), config["stage"], config["attempt"]
        pods = await self.live.list(PODS, self.namespace, {"job-name": name})
        phase = "Running" if stage in self.holding else "Failed" if stage in self.fail else "Succeeded"
        for pod in pods:
            if pod["status"].get("phase") in (phase, "Succeeded", "Failed"):
                continue
            if phase == "Succeeded":
                await asyncio.to_thread(self.commit, owner, stage, attempt, config)
                self.committed.setdefault(stage, asyncio.get_running_loop().time())
            if phase == "Failed":
                self.now = artifacts_now()
                await asyncio.to_thread(self._fail, owner, stage, attempt)
            await self.patch(PODS, pod["metadata"]["name"], {"phase": phase})

    async def _live_ray_job(self, job: Object) -> None:
        name = job["metadata"]["name"]
        self.born.setdefault(name, asyncio.get_running_loop().time())
        template = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
        config = env_json(template["spec"], TRAIN_CONFIG_ENV)
        state = job.get("status", {}).get("jobDeploymentStatus", "")
        if state == "":
            await self._live_pod(job, template)
            await self.patch(RAYJOBS, name, {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
        elif state == "Running" and TRAIN_STAGE not in self.holding:
            owner = Owner(**config["owner"])
            await asyncio.to_thread(self.commit, owner, TRAIN_STAGE, config["attempt"], config)
            await self.patch(RAYJOBS, name, {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})

    async def _live_ray_service(self, service: Object) -> None:
        if not service.get("status", {}).get("conditions"):
            await self._live_pod(service, service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"])
            status = serving_status(f"{service['metadata']['name']}-abcde")
            ready = {"reason": "Serving", "message": "", "lastTransitionTime": "2026-11-23T12:00:00Z"}
            status["conditions"] = [c | ready for c in status["conditions"]]
            await self.patch(RAYSERVICES, service["metadata"]["name"], status)

    async def _live_pod(self, owner: Object, template: Object) -> None:
        meta = owner["metadata"]
        ref = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": meta["name"], "uid": meta["uid"]}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}-head",
                "namespace": self.namespace,
                "labels": template["metadata"]["labels"],
                "ownerReferences": [ref | {"controller": True}],
            },
            "spec": template["spec"],
        }
        try:
            await self.live.create(body)
        except PortError:
            return


def artifacts_now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)
