"""What the operator makes of the examples, as files: `python -m golden` in tests/ writes them, a unit test compares.

A difference in review shows what a change of the code does to real objects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from flywheel_api.artifacts import Owner
from flywheel_api.names import child_name
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.presets import training_spec
from flywheel_api.resources import POOL, RLJOB, ROUND
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec, Role
from flywheel_api.stages import TRAIN_STAGE, Stage, StageConfig
from flywheel_operator.plan.types import Act, Action, Meta
from flywheel_operator.render.job import stage_job
from flywheel_operator.render.rayjob import ray_job
from flywheel_operator.render.rayservice import ray_service, revision, stable_service
from flywheel_operator.settings import OperatorConfig

Object = dict[str, Any]
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
    rev = revision(config, spec, spec.model)
    action = Action(Act.CREATE, "RayService", f"{meta.name}-{rev}", params={"revision": rev})
    return [ray_service(config, meta, spec, spec.model, action), stable_service(meta, spec.model, rev)]


def job_objects(config: OperatorConfig, meta: Meta, spec: RLJobSpec) -> list[Object]:
    """The RayJob of an RLJob's first attempt."""
    name = child_name(meta.name, meta.uid, TRAIN_STAGE, 1)
    return [ray_job(config, meta, spec, spec.model, Action(Act.CREATE, "RayJob", name, TRAIN_STAGE, 1))]


def round_objects(config: OperatorConfig, meta: Meta, spec: FlywheelRoundSpec) -> list[Object]:
    """A round's first stage Job, its policy pool and the RayJobs of both trainings."""
    owner = Owner(kind=ROUND.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)
    stage = StageConfig(stage=Stage.PREPARE, owner=owner, attempt=1, spec=spec, shards=config.job.shards)
    job = child_name(meta.name, meta.uid, Stage.PREPARE, 1)
    found = [stage_job(config, meta, stage, Action(Act.CREATE, "Job", job, Stage.PREPARE, 1))]
    policy = next(endpoint for endpoint in spec.endpoints if endpoint.role is Role.POLICY)
    if policy.pool is not None:
        pool = RolloutPoolSpec.model_validate({**policy.pool.dump(), "model": BASE, "store": spec.store.dump()})
        found += pool_objects(config, _child(meta, Stage.SERVE_BASE), pool)
    for track, training in (("reasoning", Stage.TRAIN_REASONING), ("agentic", Stage.TRAIN_AGENTIC)):
        job_spec = training_spec(spec, track, BASE, DATA, DATA)  # type: ignore[arg-type]
        found += job_objects(config, _child(meta, training), job_spec)
    return found


def _child(meta: Meta, stage: Stage) -> Meta:
    name = child_name(meta.name, meta.uid, stage, 1)
    return Meta(name, meta.namespace, f"uid-of-{name}", 1)


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
