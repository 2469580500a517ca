"""What the operator makes of the examples, as files: `python -m golden` in tests/ writes them, a unit test compares.

A difference in review shows what a change of the code does to real objects.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.common import ModelStatus
from flywheel_api.content import content_key, training_content
from flywheel_api.names import child_name
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.resources import POOL, RLJOB, ROUND
from flywheel_api.results import PackagedDataset, PackageResult, Split, Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus
from flywheel_api.stages import TRAIN_STAGE, Runs, Stage, serves_base
from flywheel_operator.model import Act, Action, Content, Meta, Object, PoolSeen, RLJobSeen, RoundSeen
from flywheel_operator.plan import content, graph
from flywheel_operator.reconcile import meta_of
from flywheel_operator.render import rayjob, rayservice
from flywheel_operator.render import round as rounds
from flywheel_operator.settings import OperatorConfig

FOLDER = Path(__file__).resolve().parent
EXAMPLES = FOLDER.parents[1] / "examples"
ROUNDS = ("round", "round-8b", "round-30b-a3b")
BASE = "sha256:" + "a" * 64
DATA = "sha256:" + "d" * 64


def load(name: str) -> tuple[Meta, Object]:
    """An example's identity, with a uid made from its name, and its spec."""
    body = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())
    meta = body["metadata"]
    return Meta(meta["name"], meta["namespace"], f"uid-of-{meta['name']}", 1), body["spec"]


def pool_objects(config: OperatorConfig, meta: Meta, spec: RolloutPoolSpec) -> list[Object]:
    """A pool's RayService and Service."""
    rev = rayservice.revision(config, spec, spec.model or "")
    seen = PoolSeen(digest=spec.model, wanted=rev)
    actions = [
        Action(Act.CREATE, "RayService", f"{meta.name}-{rev}", params={"revision": rev}),
        Action(Act.APPLY, "Service", meta.name, params={"revision": rev}),
    ]
    return [rayservice.child(config, meta, spec, RolloutPoolStatus(), seen, action) for action in actions]


def job_objects(config: OperatorConfig, meta: Meta, spec: RLJobSpec) -> list[Object]:
    """The RayJob of an RLJob's first attempt."""
    action = Action(Act.CREATE, "RayJob", child_name(meta.name, meta.uid, TRAIN_STAGE, 1), TRAIN_STAGE, 1)
    made_of = training_content(spec, spec.model)
    key = content_key(made_of)
    seen = RLJobSeen(model=spec.model, content=Content(key, made_of))
    return [rayjob.ray_job(config, meta, spec, RLJobStatus(content_key=key), seen, action)]


def round_objects(config: OperatorConfig, meta: Meta, spec: FlywheelRoundSpec) -> list[Object]:
    """A round's first stage Job, its policy pool and the RayJobs of both trainings."""
    package = PackageResult(
        datasets=[PackagedDataset(track=t, split=s, digest=DATA, records=1) for t in Track for s in Split]
    )
    owner = Owner(kind=ROUND.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)
    packed = Manifest(owner=owner, stage=Stage.PACKAGE, attempt=1, result=package, created_at="")
    status = FlywheelRoundStatus(base_model=ModelStatus(uri=BASE, digest=BASE))
    prepare = content.of_stage(Stage.PREPARE, meta, spec, status, {}, None, {})
    stages = graph.stages_of(spec, [])
    stages[Stage.PREPARE] = stages[Stage.PREPARE].model_copy(update={"content_key": prepare.key})
    status = status.model_copy(update={"stages": list(stages.values())})
    seen = RoundSeen(manifests={Stage.PACKAGE: packed}, content={Stage.PREPARE: prepare})
    found = []
    for stage in (Stage.PREPARE, Stage.SERVE_BASE, *graph.TRAININGS):
        runs = graph.BY_STAGE[stage].runs
        action = Action(Act.CREATE, graph.CHILD_KIND[runs], graph.child_of(meta, stage, 1), stage, 1)
        body = rounds.child(config, meta, spec, status, seen, action)
        if runs is Runs.JOB:
            found.append(body)
        elif runs is Runs.POOL and serves_base(spec):
            found += pool_objects(config, _identity(body), RolloutPoolSpec.model_validate(body["spec"]))
        elif runs is Runs.RLJOB:
            found += job_objects(config, _identity(body), RLJobSpec.model_validate(body["spec"]))
    return found


def _identity(body: Object) -> Meta:
    """A child's, as its own look reads it."""
    meta = body["metadata"]
    return meta_of({"metadata": {**meta, "uid": f"uid-of-{meta['name']}", "generation": 1}})


def rendered() -> dict[str, list[Object]]:
    """All objects by the name of their example."""
    config = OperatorConfig(service_account_name="flywheel-jobs")
    found = {}
    for name in ROUNDS:
        meta, spec = load(name)
        found[name] = round_objects(config, meta, FlywheelRoundSpec.model_validate(spec))
    meta, spec = load(RLJOB.singular)
    found[RLJOB.singular] = job_objects(config, meta, RLJobSpec.model_validate(spec))
    meta, spec = load(POOL.singular)
    found[POOL.singular] = pool_objects(config, meta, RolloutPoolSpec.model_validate(spec))
    return found


def text_of(objects: list[Object]) -> str:
    """A golden file."""
    return yaml.safe_dump_all(objects, sort_keys=False, width=120, allow_unicode=True)


def pods(objects: list[Object]) -> list[Object]:
    """The pod templates inside rendered objects, each with labels and spec."""
    found = []
    for body in objects:
        cluster = body.get("spec", {}).get("rayClusterSpec") or body.get("spec", {}).get("rayClusterConfig")
        if cluster:
            groups = [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]
            found += [group["template"] for group in groups]
        elif "template" in body.get("spec", {}):
            found.append(body["spec"]["template"])
    return found
