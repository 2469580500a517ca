"""An RLJob as it is: its RayJobs, their pods, and what is in the store of what it trains."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from flywheel_api.artifacts import checkpoint_key, checkpoints_prefix, result_prefix
from flywheel_api.base import StatusModel
from flywheel_api.capacity.memory import checkpoint
from flywheel_api.capacity.shape import Shape
from flywheel_api.capacity.training import adapters_of
from flywheel_api.common import Reuse, ReusedFrom
from flywheel_api.content import content_key, training_content
from flywheel_api.names import child_name
from flywheel_api.rljob import Algorithm, RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.stages import TRAIN_STAGE
from flywheel_operator.model import Content, Ended, Meta, Object, Problem, Record, RLJobSeen, Run
from flywheel_operator.observe import preflight
from flywheel_operator.observe.attempts import parse
from flywheel_operator.observe.base import Context
from flywheel_operator.observe.needs import pods_find
from flywheel_operator.observe.nodes import job_groups
from flywheel_operator.observe.pods import at_node, held, stuck
from flywheel_operator.observe.rayjobs import child_of, run_of
from flywheel_operator.plan import keys
from flywheel_operator.plan.preflight import job_fits, rljob_spec
from flywheel_operator.plan.rljob import is_open
from flywheel_operator.ports.kinds import PODS, RAYCLUSTERS, RAYJOBS, RLJOBS, owner_uid
from flywheel_operator.ports.objects import ObjectStore, StoreProblem


async def see_rljob(context: Context, meta: Meta, spec: RLJobSpec, status: RLJobStatus, now: datetime) -> RLJobSeen:
    """Everything that the planner decides by. An RLJob at rest is asked nothing about."""
    if status.finished_at is not None and status.child is None:
        return RLJobSeen()
    jobs = [j for j in await context.owned(RAYJOBS, meta) if owner_uid(j) == meta.uid]
    pods = await context.words.with_kubelet(context.kube, await context.owned(PODS, meta), now)
    current = child_name(meta.name, meta.uid, TRAIN_STAGE, status.attempt) if is_open(status) else ""
    job = next((j for j in jobs if j["metadata"]["name"] == current), None)
    if job is None and current and status.child is not None:
        lost = await context.kube.refresh(RAYJOBS, meta.namespace, current)  # somebody may have taken its labels off
        job = lost if lost is not None and owner_uid(lost) == meta.uid else None
    others = tuple(child_of(j) for j in jobs if j["metadata"]["name"] != current)
    seen = RLJobSeen(
        run=await _run(context, meta, job, pods),
        others=others,
        pods=len(pods),
        stuck=stuck(pods, now),
        gpus=held(pods, context.config.gpu_resource),
    )
    if status.finished_at is not None:
        return seen
    try:
        if is_open(status):
            seen = await _attempt(context, meta, spec, status, seen, pods, now)
        else:
            seen = await _between(context, meta, spec, status, seen, now)
        return replace(seen, store_note=context.stores.note(meta.namespace, spec.store.secret_name))
    except StoreProblem as error:
        return replace(seen, store_problem=Problem(error.reason, str(error)))


async def _run(context: Context, meta: Meta, job: Object | None, pods: list[Object]) -> Run | None:
    if job is None:
        return None
    name = (job.get("status") or {}).get("rayClusterName")
    cluster = await context.kube.get(RAYCLUSTERS, meta.namespace, name) if name else None
    return run_of(job, cluster, pods)


def _at_node(record: Record, pods: list[Object]) -> Record:
    """The program knows the address of the pod whose hardware failed; the next attempt has to avoid the node."""
    failure = record.failure
    if failure is None or failure.node is None:
        return record
    found = at_node(Ended(failure.cause, failure.reason, failure.message, failure.node), pods)
    return replace(record, failure=failure.model_copy(update={"node": found.node, "message": found.message}))


async def _attempt(
    context: Context,
    meta: Meta,
    spec: RLJobSpec,
    status: RLJobStatus,
    seen: RLJobSeen,
    pods: list[Object],
    now: datetime,
) -> RLJobSeen:
    store = await context.stores.store(meta.namespace, spec.store.secret_name)
    key = status.content_key or ""
    record = await context.results.attempt(
        store, meta.uid, TRAIN_STAGE, status.attempt, (meta.namespace, key), seen.run, now
    )
    record = _at_node(record, pods)
    seen = replace(seen, record=record, model_uri=store.settings.uri(result_prefix(meta.namespace, key)))
    if seen.run is not None:
        return seen
    made_again, model = await _content(context, store, meta, spec)  # the intent was written, the child was not made
    size = _checkpoint_bytes(spec, await _shape(context, store, spec))
    made_of = made_again.made_of if made_again else {}
    return replace(seen, model=model, content=Content(key, made_of), checkpoint_bytes=size)


async def _between(
    context: Context, meta: Meta, spec: RLJobSpec, status: RLJobStatus, seen: RLJobSeen, now: datetime
) -> RLJobSeen:
    templates = {"podTemplate": spec.pod_template, "headTemplate": spec.head_template}
    problem = rljob_spec(spec, context.config.pod_template) or await preflight.kuberay(context.kube)
    problem = problem or await pods_find(context.kube, context.words, meta.namespace, templates)
    problem = problem or await context.keys.problem(meta.namespace, keys.of_training(spec))
    store, trouble = await context.stores.checked(meta.namespace, spec.store.secret_name)
    if store is None or problem is not None:
        return replace(seen, problem=problem, store_problem=trouble)
    problem = (await preflight.own_model(context.results, store, spec.model))[1]
    problem = problem or await preflight.data(context.results, store, spec)
    shape = await _shape(context, store, spec) if problem is None else ""
    problem = problem or _fits(context, spec, shape)
    made_of, model = await _content(context, store, meta, spec)
    if problem is not None or made_of is None:
        return replace(seen, problem=problem)
    record = await context.results.result(store, meta.namespace, made_of.key, TRAIN_STAGE)
    if record.problem is not None:  # somebody's commit lies there and is no good: this job makes its own
        made_of, record = Content(content_key(made_of.made_of, meta.uid), made_of.made_of), Record()
    if status.attempt == 0 and record.manifest is None:  # a later attempt has had its nodes
        nodes = await context.nodes.hold(job_groups(context.config, meta, spec))
        seen = replace(seen, problem=nodes.problem, nodes=nodes)
    return replace(
        seen,
        record=record,
        model=model,
        model_uri=store.settings.uri(result_prefix(meta.namespace, made_of.key)),
        content=made_of,
        reusable=await _checkpoint_of_others(context, store, meta, made_of.key) if status.attempt == 0 else None,
        twin=await _twin(context, meta, made_of.key),
        checkpoint_bytes=_checkpoint_bytes(spec, shape),
    )


async def _shape(context: Context, store: ObjectStore, spec: RLJobSpec) -> Shape | str:
    """Of the model, or why it is not known."""
    digest = await context.results.resolve(store, spec.model)
    return await preflight.shape_in(context.results, store, digest) if digest else f"there is no {spec.model}"


def _fits(context: Context, spec: RLJobSpec, shape: Shape | str) -> Problem | None:
    if not spec.gpus_per_node:
        return None
    return job_fits(spec, shape, preflight.hardware_of(context.config.gpu, spec.pod_template, spec.head_template))


def _checkpoint_bytes(spec: RLJobSpec, shape: Shape | str) -> float | None:
    """PPO's value model has the policy's shape."""
    if not isinstance(shape, Shape):
        return None
    value = checkpoint(shape) if spec.algorithm.type is Algorithm.PPO else 0.0
    return checkpoint(shape, adapters_of(spec, shape)) + value


async def _content(
    context: Context, store: ObjectStore, meta: Meta, spec: RLJobSpec
) -> tuple[Content | None, str | None]:
    """What is trained, and the digest of the model that it starts from."""
    model, _ = await preflight.model(context.results, store, spec.model)
    if model is None:
        return None, None
    files = [uri for uri in spec.datasets if uri.startswith("s3://")]
    made_of = training_content(spec, model, {uri: await store.version_of(uri) or "absent" for uri in files})
    only_for = None
    if spec.reuse is Reuse.NEVER:
        # a round's trainings share one content over the RLJobs that the round makes for a stage
        own = await context.kube.get(RLJOBS, meta.namespace, meta.name)
        only_for = (owner_uid(own) if own is not None else None) or meta.uid
    return Content(content_key(made_of, only_for), made_of), model


async def _checkpoint_of_others(context: Context, store: ObjectStore, meta: Meta, key: str) -> ReusedFrom | None:
    """Who committed the newest checkpoint of the same content, if it was somebody else."""
    keys = await store.keys(checkpoints_prefix(meta.namespace, key) + "/")
    steps = [int(part) for k in keys if (part := k.rpartition("/step-")[2].partition("/")[0]).isdigit()]
    if not steps:
        return None
    manifest = parse(await store.get(checkpoint_key(meta.namespace, key, max(steps))))
    if manifest is None or manifest.owner.uid == meta.uid:
        return None
    return ReusedFrom(kind=manifest.owner.kind, name=manifest.owner.name, attempt=manifest.attempt, step=max(steps))


class _Claim(StatusModel):
    """What another RLJob trains: that much is read of one that another release wrote, too."""

    content_key: str | None = None
    finished_at: str | None = None


async def _twin(context: Context, meta: Meta, key: str) -> str | None:
    """An RLJob that trains the same content right now: two would write each other's checkpoints."""
    for other in await context.kube.list(RLJOBS, meta.namespace):
        try:
            claim = _Claim.model_validate(other.get("status") or {})
        except ValidationError:
            continue
        same = claim.content_key == key and claim.finished_at is None
        if same and other["metadata"]["uid"] != meta.uid and "deletionTimestamp" not in other["metadata"]:
            return str(other["metadata"]["name"])
    return None
