"""A small world around the operator: Kubernetes and store in memory, actors that play kubelet, KubeRay and jobs.

Actors move children through their lives as the real ones do: pods appear and go with their owners, a stage commits its
manifest before its Job completes, a trainer commits before its RayJob ends.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, FileEntry, Manifest, ManifestKind, Owner, RoleUsage, Usage
from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.stages import STAGE_CONFIG_ENV, TRAIN_CONFIG_ENV, TRAIN_STAGE
from flywheel_operator.ports.errors import PortError
from flywheel_operator.ports.kinds import OWN
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.ports.store_fake import FakeStore
from flywheel_operator.queue import Key
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.runtime import controllers
from flywheel_operator.settings import OperatorConfig

Object = dict[str, Any]
NS = "team"
START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POLL = 1.5

ROUND = """
apiVersion: flywheel.dev/v1alpha1
kind: FlywheelRound
metadata: {name: demo-r1, namespace: team}
spec:
  campaign: demo
  base: {model: s3://flywheel/flywheel/models/tiny}
  endpoints:
    - {role: Teacher, url: http://standin:8000/v1, model: standin}
    - {role: Policy, pool: {gpusPerReplica: 0}}
  reasoning: {seeds: "builtin://arithmetic"}
  agentic: {personas: "builtin://personas", domains: [airline]}
  training: {preset: smollm2-135m-cpu}
  evaluation: {suites: [{name: arithmetic-heldout}]}
  budget: {wallClock: 2h}
"""


def secret() -> Object:
    keys = {"endpoint": "http://fake:9000", "bucket": "flywheel", "accessKey": "a", "secretKey": "canary-secret"}
    data = {k: base64.b64encode(v.encode()).decode() for k, v in keys.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "flywheel-s3", "namespace": NS}, "data": data}


def env_json(pod: Object, name: str) -> Object:
    for container in pod["containers"]:
        for entry in container["env"]:
            if entry["name"] == name:
                loaded: Object = json.loads(entry["value"])
                return loaded
    raise AssertionError(f"{name} is not in the pod")


class World:
    """Kubernetes, a store, the operator's reconciler and a clock that only moves when told."""

    def __init__(self, config: OperatorConfig | None = None) -> None:
        self.kube, self.store = FakeKube(), FakeStore()
        self.config = config or OperatorConfig()
        self.now = START
        self.holding: set[str] = set()
        self.fail: dict[str, tuple[Cause, str]] = {}
        self.created: list[str] = []
        self.kube.seed(secret())
        self.put_model("models/tiny/manifest.json")
        self.restart()

    def restart(self) -> None:
        """A new operator process: nothing is remembered."""
        made = controllers(self.kube, lambda settings: self.store, self.config)
        self.reconcile = Reconciler(self.kube, made, lambda: self.now)

    def put_model(self, key: str) -> str:
        owner = Owner(kind="Import", namespace=NS, name="tiny", uid="import")
        manifest = self.manifest(owner, "Import", 1, ManifestKind.CHECKPOINT)
        self.store.put(key, manifest.canonical())
        return manifest.digest

    def apply(self, text: str) -> Object:
        return self.kube.seed(yaml.safe_load(text))

    def get(self, kind: str, name: str) -> Object:
        return self.kube.objects[(kind, NS, name)]

    def status(self, kind: str = "FlywheelRound", name: str = "demo-r1") -> Object:
        found: Object = self.get(kind, name).get("status", {})
        return found

    def condition(self, kind: str, which: str = "FlywheelRound", name: str = "demo-r1") -> Object:
        found: Object = next(c for c in self.status(which, name)["conditions"] if c["type"] == kind)
        return found

    def of_kind(self, kind: str) -> list[Object]:
        return [o for (k, _, _), o in sorted(self.kube.objects.items()) if k == kind]

    # ---- the operator ---------------------------------------------------------------------------------------------
    async def look(self) -> None:
        """Every object of ours is reconciled once; a crash or a conflict is what a restart has to mend."""
        for resource in OWN:
            for obj in await self.kube.list(resource, NS):
                meta = obj["metadata"]
                try:
                    await self.reconcile(Key(resource.kind, meta["namespace"], meta["name"]))
                except PortError:
                    continue

    async def run(self, rounds: int = 200, until: str | None = None) -> None:
        """Operator and actors by turns until the round ended and everything is at rest."""
        for _ in range(rounds):
            before = len(self.kube.log)
            await self.look()
            self.act()
            self.tick()
            if until is not None:
                if any(s["name"] == until and s["state"] == "Running" for s in self.status().get("stages", [])):
                    return
            elif self.status().get("finishedAt") and len(self.kube.log) == before:
                return

    def tick(self, seconds: float = POLL) -> None:
        """Time goes by."""
        self.now += timedelta(seconds=seconds)

    # ---- kubelet, KubeRay, jobs -----------------------------------------------------------------------------------
    def act(self) -> None:
        for job in self.of_kind("Job"):
            self._job(job)
        for job in self.of_kind("RayJob"):
            self._ray_job(job)
        for service in self.of_kind("RayService"):
            self._ray_service(service)

    def _pod(self, owner: Object, template: Object, phase: str = "Running") -> None:
        name = f"{owner['metadata']['name']}-pod"
        if ("Pod", NS, name) in self.kube.objects:
            return
        ref = {
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
        self.kube.seed(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": NS,
                    "labels": dict(template["metadata"]["labels"]),
                    "ownerReferences": [ref],
                },
                "spec": {},
                "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]},
            }
        )

    def _job(self, job: Object) -> None:
        name = job["metadata"]["name"]
        if job.get("status", {}).get("conditions") or "template" not in job["spec"]:
            return
        template = job["spec"]["template"]
        self._pod(job, template)
        config = env_json(template["spec"], STAGE_CONFIG_ENV)
        if config["stage"] in self.holding:
            return
        owner, stage, attempt = Owner(**config["owner"]), config["stage"], config["attempt"]
        if stage in self.fail:
            self._fail(owner, stage, attempt)
            self.kube.update("Job", NS, name, status={"conditions": [{"type": "Failed", "status": "True"}]})
            return
        self.commit(owner, stage, attempt)
        self.kube.update("Job", NS, name, status={"conditions": [{"type": "Complete", "status": "True"}]})

    def _fail(self, owner: Owner, stage: str, attempt: int) -> None:
        cause, reason = self.fail[stage]
        failure = artifacts.Failure(cause=cause, reason=reason, message=f"{stage} told so", at=format_time(self.now))
        self.store.put(artifacts.failure_key(owner.uid, stage, attempt), artifacts.canonical_json(failure.dump()))

    def _ray_job(self, job: Object) -> None:
        name, cluster = job["metadata"]["name"], job["spec"]["rayClusterSpec"]
        state = job.get("status", {}).get("jobDeploymentStatus", "")
        template = cluster["headGroupSpec"]["template"]
        config = env_json(template["spec"], TRAIN_CONFIG_ENV)
        owner, attempt = Owner(**config["owner"]), config["attempt"]
        if state == "":
            self._pod(job, template)
            status = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": f"{name}-abcde"}
            self.kube.update("RayJob", NS, name, status=status)
        elif state == "Running" and TRAIN_STAGE in self.fail:
            self._fail(owner, TRAIN_STAGE, attempt)
            status = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}
            self.kube.update("RayJob", NS, name, status=status)
        elif state == "Running" and TRAIN_STAGE not in self.holding:
            self.commit(owner, TRAIN_STAGE, attempt)
            self.kube.update("RayJob", NS, name, status={"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})

    def _ray_service(self, service: Object) -> None:
        name = service["metadata"]["name"]
        if service.get("status"):
            return
        self._pod(service, service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"])
        if "serve" in self.holding:
            return
        self.kube.update("RayService", NS, name, status=serving_status(f"{name}-abcde"))

    # ---- the store ------------------------------------------------------------------------------------------------
    def manifest(self, owner: Owner, stage: str, attempt: int, kind: ManifestKind, **extra: Any) -> Manifest:
        data = f"{owner.uid}/{stage}".encode()
        sha = artifacts.digest_of(data).removeprefix("sha256:")
        self.store.put(artifacts.blob_key(sha), data)
        manifest = Manifest(
            kind=kind,
            owner=owner,
            stage=stage,
            attempt=attempt,
            config_digest="sha256:" + "0" * 64,
            files=[FileEntry(path="data.jsonl", sha256=sha, size=len(data))],
            created_at=format_time(START),
            **extra,
        )
        self.store.put(artifacts.manifest_digest_key(manifest.digest), manifest.canonical())
        return manifest

    def commit(self, owner: Owner, stage: str, attempt: int) -> Manifest:
        """What the stage's program commits: create-only, last."""
        kind, details, extra = story(stage, self)
        manifest = self.manifest(owner, stage, attempt, kind, details=details, **extra)
        key = artifacts.manifest_key(owner.uid, stage, attempt)
        if self.store.settings.full_key(key) not in self.store.objects:
            self.store.put(key, manifest.canonical())
        return manifest

    def dataset(self, name: str) -> str:
        owner = Owner(kind="FlywheelRound", namespace=NS, name="demo-r1", uid="data")
        return self.manifest(owner, f"Package-{name}", 1, ManifestKind.DATASET).digest


def serving_status(cluster: str) -> Object:
    """Status of a RayService that answers."""
    return {
        "conditions": [{"type": "Ready", "status": "True"}],
        "activeServiceStatus": {"rayClusterName": cluster, "applicationStatuses": {"llm": {"status": "RUNNING"}}},
    }


def story(stage: str, world: World) -> tuple[ManifestKind, Object, Object]:
    """Kind, details and further fields of a stage's manifest."""
    counts = {"counts": Counts(in_=10, out=8, dropped=[artifacts.Dropped(reason="Duplicate", count=2)])}
    usage = {"usage": Usage(roles=[RoleUsage(role="Teacher", calls=3, prompt_tokens=100, completion_tokens=50)])}
    suites = {"arithmetic-heldout": {"track": "reasoning", "score": 0.25, "interval": [0.2, 0.3], "items": 8}}
    if stage == "EvaluateBase":
        return ManifestKind.EVALUATION, {"suites": suites}, counts
    if stage == "EvaluateCandidate":
        better = {"arithmetic-heldout": suites["arithmetic-heldout"] | {"score": 0.5, "interval": [0.4, 0.6]}}
        return ManifestKind.EVALUATION, {"suites": better}, counts
    if stage == "Package":
        data = {t: {"train": world.dataset(t), "validation": world.dataset(f"{t}-v")} for t in ("reasoning", "agentic")}
        return ManifestKind.DATASET, {"datasets": data}, counts
    if stage == "Gate":
        judged = [{"suite": "arithmetic-heldout", "base": 0.25, "candidate": 0.5, "gain": 0.25, "gate": "Passed"}]
        return ManifestKind.VERDICT, {"verdict": "Promoted", "suites": judged, "reasons": ["every gate passed"]}, {}
    if stage == "Report":
        return ManifestKind.REPORT, {"uri": "s3://flywheel/report.html"}, {}
    if stage == "Train":
        return ManifestKind.CHECKPOINT, {}, {"step": 10, "metrics": {"reward": 0.46}}
    return ManifestKind.DATASET, {}, counts | usage
