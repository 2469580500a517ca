"""A small world around the operator: Kubernetes and store in memory, actors that play kubelet, KubeRay and jobs.

Actors move children through their lives as the real ones do: pods appear and go with their owners, a stage commits its
manifest before its Job completes, a trainer commits before its RayJob ends.
"""

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, FileEntry, Manifest, Owner, RoleUsage, Usage
from flywheel_api.base import format_time
from flywheel_api.canonical import canonical_json, digest_of
from flywheel_api.causes import Cause
from flywheel_api.hosts import ALLOWED_HOSTS
from flywheel_api.results import (
    DatasetResult,
    EndpointFinding,
    EvaluationResult,
    ExpandedResult,
    ExportedResult,
    GateOutcome,
    ImportedResult,
    InvertedResult,
    MeasuredResult,
    MinedResult,
    ModelResult,
    PackagedDataset,
    PackageResult,
    PreparedResult,
    ReportResult,
    Result,
    RolloutsResult,
    SeededResult,
    SolvedResult,
    Split,
    SuiteInfo,
    SuiteScore,
    SuiteVerdict,
    SynthesizedResult,
    Track,
    TrainingResult,
    TrainingStateResult,
    Verdict,
    VerdictResult,
    VerifiedResult,
)
from flywheel_api.stages import STAGE_CONFIG_ENV, TRAIN_CONFIG_ENV, TRAIN_STAGE, Stage
from flywheel_operator.ports.errors import PortError
from flywheel_operator.ports.kinds import OWN
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.ports.store_fake import FakeStore
from flywheel_operator.queue import Key
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.settings import OperatorConfig
from flywheel_operator.subjects import subjects

Object = dict[str, Any]
NS = "team"
HUB_MODEL, COMMIT = "hf://acme/small-1", "c0ffee" + "0" * 34
IMPORTED = Owner(kind="Import", namespace="", name=f"hub/acme/small-1/{COMMIT}", uid="import-small")
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
  reasoning: {seeds: "builtin://numeracy"}
  agentic: {personas: "builtin://personas", domains: [{name: booking}]}
  training: {preset: smollm2-135m-cpu}
  evaluation: {suites: [{name: numeracy-heldout}]}
  budget: {wallClock: 2h}
"""


def secret() -> Object:
    keys = {"endpoint": "http://fake:9000", "bucket": "flywheel", "accessKey": "a", "secretKey": "canary-secret"}
    data = {k: base64.b64encode(v.encode()).decode() for k, v in keys.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "flywheel-s3", "namespace": NS}, "data": data}


def key_secret(name: str, hosts: str | None, **data: str) -> Object:
    """A Secret with a key, in base64, that its owner lets go to these hosts."""
    notes = {} if hosts is None else {"annotations": {ALLOWED_HOSTS: hosts}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NS, **notes}, "data": data}


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
        self.begin()
        self.kube.seed(secret())
        self.put_model("models/tiny/manifest.json")
        self.restart()

    def begin(self) -> None:
        """What is told of stages, before any has run."""
        self.holding: set[str] = set()
        self.fail: dict[str, tuple[Cause, str]] = {}
        self.told = "told so"
        self.verdict = Verdict.PROMOTED  # of rounds that get as far as Gate
        self.ran: list[str] = []
        self.given: dict[tuple[str, str], Any] = {}  # what a round's stages were configured with, last attempts
        self.trained: list[str] = []

    def restart(self) -> None:
        """A new operator process: nothing is remembered."""
        made = subjects(self.kube, lambda settings: self.store, self.config, lambda: (self.now - START).total_seconds())
        self.reconcile = Reconciler(self.kube, made, lambda: self.now, chance=lambda: 0.0)

    def fork(self) -> World:
        """The same state before a new operator process: what many runs have in common is played once."""
        twin = copy.copy(self)
        twin.kube, twin.store = copy.deepcopy(self.kube), FakeStore()
        twin.store.objects.update(self.store.objects)
        twin.holding, twin.fail = set(self.holding), dict(self.fail)
        twin.ran, twin.trained, twin.given = list(self.ran), list(self.trained), dict(self.given)
        twin.restart()
        return twin

    def put_model(self, key: str) -> str:
        owner = Owner(kind="Import", namespace=NS, name="tiny", uid="import")
        manifest = self.manifest(owner, "Import", 1, ModelResult())
        self.store.put(key, manifest.canonical())
        return manifest.digest

    def apply(self, text: str) -> Object:
        return self.kube.seed(yaml.load(text, yaml.CSafeLoader))

    def apply_as(self, name: str, **spec: Any) -> Object:
        """The round under another name, with other parts of its spec."""
        body = yaml.load(ROUND, yaml.CSafeLoader)
        body["metadata"]["name"] = name
        body["spec"] |= spec
        return self.kube.seed(body)

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

    async def run(
        self, rounds: int = 200, until: str | None = None, until_of: tuple[str, str] = ("demo-r1", "")
    ) -> None:
        """Operator and actors, one after the other, until a stage runs, or the round ended and all is at rest."""
        name, stage = until_of
        stage = until or stage
        for _ in range(rounds):
            before = len(self.kube.log)
            await self.look()
            self.act()
            self.tick()
            status = self.status(name=name)
            if stage:
                if any(s["name"] == stage and s["state"] != "Pending" for s in status.get("stages", [])):
                    return
            elif status.get("finishedAt") and len(self.kube.log) == before:
                return

    async def finish(self, name: str, rounds: int = 300) -> None:
        """The same until that round has ended; time goes by faster than any back-off."""
        for _ in range(rounds):
            await self.look()
            self.act()
            self.tick(10)
            if self.status(name=name).get("finishedAt"):
                return
        raise AssertionError(f"{name} did not end: {self.status(name=name).get('progress')}")

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

    def _pod(self, owner: Object, template: Object, groups: list[Object] | None = None) -> None:
        """One pod, which has the containers of a Ray cluster's workers as well."""
        work = [c for g in groups or [] for c in g["template"]["spec"]["containers"] * g["replicas"]]
        containers = [{"resources": c.get("resources", {})} for c in [*template["spec"]["containers"], *work]]
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
                "spec": {"nodeName": "node-1", "containers": containers},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
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
        self.ran.append(stage)
        if stage in self.fail:
            self._fail(owner, stage, attempt)
            self.kube.update("Job", NS, name, status={"conditions": [{"type": "Failed", "status": "True"}]})
            return
        self.commit(owner, stage, attempt, config)
        self.kube.update("Job", NS, name, status={"conditions": [{"type": "Complete", "status": "True"}]})

    def _fail(self, owner: Owner, stage: str, attempt: int) -> None:
        cause, reason = self.fail[stage]
        failure = artifacts.Failure(
            cause=cause, reason=reason, message=f"{stage} {self.told}", at=format_time(self.now)
        )
        self.store.put(artifacts.failure_key(owner.uid, stage, attempt), canonical_json(failure.dump()))

    def _ray_job(self, job: Object) -> None:
        name, cluster = job["metadata"]["name"], job["spec"]["rayClusterSpec"]
        state = job.get("status", {}).get("jobDeploymentStatus", "")
        template = cluster["headGroupSpec"]["template"]
        config = env_json(template["spec"], TRAIN_CONFIG_ENV)
        owner, attempt = Owner(**config["owner"]), config["attempt"]
        if state == "":
            self._pod(job, template, cluster.get("workerGroupSpecs"))
            status = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": f"{name}-abcde"}
            self.kube.update("RayJob", NS, name, status=status)
        elif state == "Running" and TRAIN_STAGE in self.fail:
            self._fail(owner, TRAIN_STAGE, attempt)
            status = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed"}
            self.kube.update("RayJob", NS, name, status=status)
        elif state == "Running" and TRAIN_STAGE not in self.holding:
            self.trained.append(owner.name)
            self.commit(owner, TRAIN_STAGE, attempt, config)
            self.kube.update("RayJob", NS, name, status={"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})

    def _ray_service(self, service: Object) -> None:
        name = service["metadata"]["name"]
        if service.get("status"):
            return
        cluster = service["spec"]["rayClusterConfig"]
        self._pod(service, cluster["headGroupSpec"]["template"], cluster.get("workerGroupSpecs"))
        if "serve" in self.holding:
            return
        self.kube.update("RayService", NS, name, status=serving_status(f"{name}-abcde"))

    # ---- the store ------------------------------------------------------------------------------------------------
    def manifest(self, owner: Owner, stage: str, attempt: int, result: Result, **extra: Any) -> Manifest:
        data = f"{owner.uid}/{stage}".encode()
        sha = digest_of(data).removeprefix("sha256:")
        self.store.put(artifacts.blob_key(sha), data)
        manifest = Manifest(
            owner=owner,
            stage=stage,
            attempt=attempt,
            files=[FileEntry(path="data.jsonl", sha256=sha, size=len(data))],
            result=result,
            created_at=format_time(START),
            **extra,
        )
        self.store.put(artifacts.manifest_digest_key(manifest.digest), manifest.canonical())
        return manifest

    def commit(self, owner: Owner, stage: str, attempt: int, config: Object) -> Manifest:
        """What the stage's program commits: create-only, last, where its content says."""
        self.given[owner.name, stage] = config
        result, extra = story(stage, self, config)
        key = config["contentKey"]
        manifest = self.manifest(
            owner, stage, attempt, result, content_key=key, made_of=config.get("madeOf", {}), **extra
        )
        if isinstance(result, VerdictResult) and result.verdict is Verdict.PROMOTED:
            self.promote(owner, config, manifest)
        place = artifacts.manifest_key(owner.namespace, key)
        if self.store.settings.full_key(place) not in self.store.objects:
            self.store.put(place, manifest.canonical())
        return manifest

    def promote(self, owner: Owner, config: Object, verdict: Manifest) -> None:
        assert isinstance(verdict.result, VerdictResult)
        record = artifacts.Promotion(
            round=owner,
            campaign=config["spec"]["campaign"],
            model_digest=verdict.result.model,
            model_step=verdict.result.step,
            verdict_digest=verdict.digest,
            number=config["number"],
            rollouts=[
                result.rollouts
                for stage in ("TrainReasoning", "TrainAgentic")
                if (digest := config["inputs"].get(stage))
                and isinstance(result := self.read(digest).result, TrainingResult)
                and result.rollouts
            ],
            suites=[s["name"] for s in config["spec"]["evaluation"]["suites"]],
            at=format_time(self.now),
        )
        key = artifacts.promotion_key(owner.namespace, record.campaign, owner.uid)
        self.store.put(key, canonical_json(record.dump()))

    def read(self, digest: str) -> Manifest:
        """A manifest of the store by its digest."""
        key = self.store.settings.full_key(artifacts.manifest_digest_key(digest))
        return Manifest.model_validate_json(self.store.objects[key])

    def promotions(self) -> list[artifacts.Promotion]:
        """The promotions of the campaign, oldest first."""
        found = [v for k, v in self.store.objects.items() if "/promotions/" in k]
        return sorted((artifacts.Promotion.model_validate_json(v) for v in found), key=lambda p: p.at)

    async def content_key_of_training(self) -> str:
        """The content of the RLJob that runs now."""
        for _ in range(6):
            await self.look()
            self.tick()
            for job in self.of_kind("RLJob"):
                if (job.get("status") or {}).get("contentKey"):
                    return str(job["status"]["contentKey"])
        raise AssertionError("no RLJob has started")

    def checkpoint(self, key: str, step: int, name: str) -> None:
        """What a trainer commits on its way."""
        owner = Owner(kind="RLJob", namespace=NS, name=name, uid="earlier")
        manifest = self.manifest(owner, "Train", 1, TrainingStateResult(step=step), content_key=key)
        self.store.put(artifacts.checkpoint_key(NS, key, step), manifest.canonical())

    def dataset(self, track: Track, split: Split) -> PackagedDataset:
        owner = Owner(kind="FlywheelRound", namespace=NS, name="demo-r1", uid="data")
        manifest = self.manifest(owner, f"Package-{track}-{split}", 1, DatasetResult(track=track, split=split))
        return PackagedDataset(track=track, split=split, digest=manifest.digest, records=8)

    def evaluated(self, config: Object) -> str:
        """The model that the evaluation given to the gate is about."""
        result = self.read(config["inputs"]["EvaluateCandidate"]).result
        assert isinstance(result, EvaluationResult) and result.model == config["candidateModel"]
        return result.model

    def rollouts(self, of: str = "demo") -> str:
        owner = Owner(kind="RLJob", namespace=NS, name=of, uid=of)
        return self.manifest(owner, "Rollouts", 1, RolloutsResult(step=10)).digest


def serving_status(cluster: str) -> Object:
    """Status of a RayService that answers."""
    return {
        "conditions": [{"type": "Ready", "status": "True"}],
        "activeServiceStatus": {"rayClusterName": cluster, "applicationStatuses": {"llm": {"status": "RUNNING"}}},
    }


SUITE = "numeracy-heldout"


def evaluation(model: str | None, score: float) -> EvaluationResult:
    found = SuiteScore(
        name=SUITE, track=Track.REASONING, score=score, interval=[score - 0.1, score + 0.1], n=32, items=8, repeats=4
    )
    return EvaluationResult(model=model, suites=[found])


def story(stage: str, world: World, config: Object) -> tuple[Result, Object]:
    """A stage's result, built from the models that the real stage builds, and further fields of its manifest."""
    counts = {"counts": Counts(in_=10, out=8, dropped=[artifacts.Dropped(reason="Duplicate", count=2)])}
    usage = {"usage": Usage(roles=[RoleUsage(role="Teacher", calls=3, prompt_tokens=100, completion_tokens=50)])}
    candidate = config.get("candidateModel")
    match stage:
        case "Prepare":
            info = SuiteInfo(name=SUITE, track=Track.REASONING, items=8)
            shaken = [EndpointFinding(role=e["role"], model=e["model"]) for e in config.get("endpoints", [])]
            return PreparedResult(suites=[info], endpoints=shaken), counts | usage
        case "ImportModel":
            made = world.manifest(IMPORTED, "Import", 1, ModelResult())
            return ImportedResult(model=made.digest, source=f"{HUB_MODEL}@{COMMIT}", bytes=9), {}
        case "EvaluateBase":
            return evaluation(config.get("baseModel"), 0.25), counts
        case "EvaluateCandidate":
            return evaluation(candidate, 0.5), counts
        case "Package":
            tracks = [t for t in Track if config["spec"].get(t.value) is not None]
            return PackageResult(datasets=[world.dataset(t, s) for t in tracks for s in Split]), counts
        case "Gate":
            judged = SuiteVerdict(
                suite=SUITE,
                base=0.25,
                base_interval=[0.15, 0.35],
                candidate=0.5,
                candidate_interval=[0.4, 0.6],
                gain=0.25,
                gain_interval=[0.1, 0.4],
                gate=GateOutcome.PASSED,
            )
            evaluated = world.evaluated(config)
            return (
                VerdictResult(
                    verdict=world.verdict, model=evaluated, step=10, reasons=["every gate passed"], suites=[judged]
                ),
                {},
            )
        case "Export":
            return ExportedResult(model="sha256:0", uri="s3://out/r1", bytes=1), {}
        case "Report":
            return ReportResult(uri="s3://flywheel/report.html"), {}
        case "Train":
            result = TrainingResult(step=10, total_steps=10, rollouts=world.rollouts(config["owner"]["name"]))
            return result, {"metrics": {"reward": 0.46}}
    return _QUIET[Stage(stage)], counts | usage


_QUIET: dict[Stage, Result] = {
    Stage.MINE_REASONING: MinedResult(),
    Stage.SYNTHESIZE_REASONING: SynthesizedResult(),
    Stage.VERIFY_REASONING: VerifiedResult(),
    Stage.MEASURE_REASONING: MeasuredResult(note="20 hard, 24 frontier, 9 solved"),
    Stage.SEED_AGENTIC: SeededResult(),
    Stage.EXPAND_AGENTIC: ExpandedResult(),
    Stage.INVERT_AGENTIC: InvertedResult(),
    Stage.SOLVE_AGENTIC: SolvedResult(),
}
"""Results that the operator reads counts and tokens of, nothing more."""
