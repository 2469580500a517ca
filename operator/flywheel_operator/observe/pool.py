"""A RolloutPool as it is: its RayServices, their clusters and pods, and its stable Service."""

from __future__ import annotations

from datetime import datetime

from flywheel_api.conditions import Reason
from flywheel_api.names import LABEL_POOL, NODE_TYPE
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_operator.model import Meta, Object, PoolSeen, Problem, Revision, RunState
from flywheel_operator.observe import preflight
from flywheel_operator.observe.base import Context
from flywheel_operator.observe.needs import pods_find
from flywheel_operator.observe.nodes import pool_groups
from flywheel_operator.observe.pods import held
from flywheel_operator.observe.services import ready_on, run_of
from flywheel_operator.plan.preflight import pods as pods_allowed
from flywheel_operator.plan.retry import bad_nodes
from flywheel_operator.ports.kinds import PODS, RAYCLUSTERS, RAYSERVICES, SERVICES, labels_of, owner_uid
from flywheel_operator.ports.objects import ObjectStore, StoreProblem
from flywheel_operator.render.rayservice import LABEL_REVISION, fetch_progress, revision, serves


async def see_pool(
    context: Context, meta: Meta, spec: RolloutPoolSpec, status: RolloutPoolStatus, now: datetime
) -> PoolSeen:
    """Everything that the planner decides by."""
    starts = status.child is None
    digest, problem, trouble = await _digest(context, meta, spec, starts)
    nodes = await context.nodes.hold(pool_groups(context.config, meta, spec, digest)) if starts and digest else None
    services = [s for s in await context.owned(RAYSERVICES, meta) if owner_uid(s) == meta.uid]
    pods = await context.kube.list(PODS, meta.namespace, {LABEL_POOL: meta.name})
    pods = await context.words.with_kubelet(context.kube, pods, now)
    serving, conflict = await _stable(context, meta)
    revisions = [await _revision(context, meta, service, pods) for service in services]
    wanted = revision(context.config, spec, digest, bad_nodes(status.attempts)) if digest else ""
    unchanged = status.observed_generation == meta.generation
    good = [
        made.revision
        for service, made in zip(services, revisions, strict=True)
        if made.run.state is RunState.RUNNING and not made.run.child.deleting
        if digest and serves(service, wanted, digest, unchanged)
    ]
    if good and wanted not in good:
        wanted = serving if serving in good else good[0]
    run = next((made.run for made in revisions if made.revision == wanted), None)
    advanced = None
    if digest and run is not None and run.state is RunState.STARTING:
        advanced, trouble = await _fetched(context, meta, spec, wanted, now)
    return PoolSeen(
        problem=problem or (nodes.problem if nodes else None),
        store_problem=trouble,
        digest=digest,
        wanted=wanted,
        revisions=tuple(revisions),
        serving=serving,
        service_conflict=conflict,
        advanced_at=advanced,
        pods=replicas(spec, pods),
        gpus=held(pods, context.config.gpu_resource),
        nodes=nodes,
        store_note=context.stores.note(meta.namespace, spec.store.secret_name),
    )


def replicas(spec: RolloutPoolSpec, pods: list[Object]) -> int:
    """Servers that exist: KubeRay's workers, one for each; without GPUs the head serves as many as were asked for."""
    if not spec.gpus_per_replica:
        return spec.replicas if pods else 0
    return sum(labels_of(pod).get(NODE_TYPE) != "head" for pod in pods)


async def _digest(
    context: Context, meta: Meta, spec: RolloutPoolSpec, starts: bool
) -> tuple[str | None, Problem | None, Problem | None]:
    """(what is to be served, why not, why not because of the store)."""
    templates = {"podTemplate": spec.pod_template, "headTemplate": spec.head_template}
    problem = pods_allowed(templates, context.config.pod_template) or await preflight.kuberay(context.kube)
    if starts:  # what serves has found its volumes
        problem = problem or await pods_find(context.kube, context.words, meta.namespace, templates)
    if problem is not None:
        return None, problem, None
    store, trouble = await context.stores.checked(meta.namespace, spec.store.secret_name)
    if store is None:
        return None, None, trouble
    try:
        if spec.round is not None:
            return *await _promoted(context, store, meta.namespace, spec.round), None
        return *await preflight.own_model(context.results, store, spec.model or ""), None
    except StoreProblem as error:
        return None, None, Problem(error.reason, str(error))


async def _fetched(
    context: Context, meta: Meta, spec: RolloutPoolSpec, wanted: str, now: datetime
) -> tuple[datetime | None, Problem | None]:
    """When bytes of the model came last: they keep the start alive (law 8)."""
    try:
        store = await context.stores.store(meta.namespace, spec.store.secret_name)
        return await context.results.fetched(store, fetch_progress(meta, wanted), now), None
    except StoreProblem as error:
        return None, Problem(error.reason, str(error))


async def _promoted(
    context: Context, store: ObjectStore, namespace: str, name: str
) -> tuple[str | None, Problem | None]:
    """What a round promoted: it stays so, whatever becomes of the round."""
    found = await preflight.promoted(context, store, namespace, name, "spec.round")
    waits = Problem(Reason.WAITING, found.waits_for) if found.waits_for else None
    return (found.base.digest if found.base else None), found.problem or waits


async def _revision(context: Context, meta: Meta, service: Object, pods: list[Object]) -> Revision:
    own = labels_of(service).get(LABEL_REVISION, "")
    status = service.get("status") or {}
    names = [(status.get(p) or {}).get("rayClusterName") for p in ("activeServiceStatus", "pendingServiceStatus")]
    clusters = [await context.kube.get(RAYCLUSTERS, meta.namespace, name) for name in names if name]
    mine = [p for p in pods if labels_of(p).get(LABEL_REVISION) == own]
    return Revision(own, run_of(service, [c for c in clusters if c], mine), ready_on(mine))


async def _stable(context: Context, meta: Meta) -> tuple[str | None, str | None]:
    """(revision that the stable Service selects, why its name cannot be used)."""
    found = await context.kube.get(SERVICES, meta.namespace, meta.name)
    if found is None:
        return None, None
    if owner_uid(found) != meta.uid:
        return None, f"a Service {meta.name!r} that is not ours exists: delete it or rename this pool"
    return (found.get("spec", {}).get("selector") or {}).get(LABEL_REVISION), None
