"""RolloutPool: observes its RayServices, their clusters and pods, and its stable Service."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flywheel_api.names import LABEL_POOL
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_operator.controllers.base import Context
from flywheel_operator.observe import preflight
from flywheel_operator.observe.services import run_of
from flywheel_operator.plan.pool import PoolSeen, Revision, plan_pool
from flywheel_operator.plan.types import Act, Action, Meta, Plan, Problem
from flywheel_operator.ports.kinds import PODS, POOLS, RAYCLUSTERS, RAYSERVICES, SERVICES, Object, labels_of, owner_uid
from flywheel_operator.ports.objects import StoreProblem
from flywheel_operator.render.rayservice import LABEL_REVISION, ray_service, revision, stable_service


@dataclass(frozen=True)
class PoolController:
    """See `controllers.base.Controller`."""

    context: Context
    resource = POOLS
    spec_model = RolloutPoolSpec
    status_model = RolloutPoolStatus

    async def decide(
        self, meta: Meta, spec: RolloutPoolSpec, status: RolloutPoolStatus, now: datetime
    ) -> tuple[Plan[RolloutPoolStatus], PoolSeen]:
        """See Controller."""
        seen = await self._observe(meta, spec, status)
        return plan_pool(meta, spec, status, seen, now, self.context.timings), seen

    def render(
        self, meta: Meta, spec: RolloutPoolSpec, action: Action, status: RolloutPoolStatus, seen: PoolSeen
    ) -> Object:
        """See Controller."""
        digest = seen.digest or spec.model
        if action.act is Act.APPLY_SERVICE:
            return stable_service(meta, digest, action.params["revision"])
        return ray_service(self.context.config, meta, spec, digest, action)

    async def _observe(self, meta: Meta, spec: RolloutPoolSpec, status: RolloutPoolStatus) -> PoolSeen:
        digest, problem = await self._digest(meta, spec, status)
        wanted = revision(self.context.config, spec, digest) if digest else ""
        kube = self.context.kube
        services = [s for s in await self.context.owned(RAYSERVICES, meta) if owner_uid(s) == meta.uid]
        pods = await kube.list(PODS, meta.namespace, {LABEL_POOL: meta.name})
        revisions = tuple([await self._revision(meta, s, pods) for s in services])
        serving, conflict = await self._stable(meta)
        return PoolSeen(problem, digest, wanted, revisions, serving, conflict, len(pods))

    async def _digest(
        self, meta: Meta, spec: RolloutPoolSpec, status: RolloutPoolStatus
    ) -> tuple[str | None, Problem | None]:
        problem = preflight.pod_template(spec.pod_template, self.context.config.pod_template)
        problem = problem or await preflight.kuberay(self.context.kube)
        if problem is not None:
            return None, problem
        store, problem = await self.context.stores.checked(meta.namespace, spec.store.secret_name)
        if store is None:
            return None, problem
        try:
            return await preflight.model(store, spec.model)
        except StoreProblem as error:
            return None, Problem(error.reason, str(error))

    async def _revision(self, meta: Meta, service: Object, pods: list[Object]) -> Revision:
        own = labels_of(service).get(LABEL_REVISION, "")
        status = service.get("status") or {}
        names = [(status.get(p) or {}).get("rayClusterName") for p in ("activeServiceStatus", "pendingServiceStatus")]
        clusters = [await self.context.kube.get(RAYCLUSTERS, meta.namespace, name) for name in names if name]
        mine = [p for p in pods if labels_of(p).get(LABEL_REVISION) == own]
        return Revision(own, run_of(service, [c for c in clusters if c], mine))

    async def _stable(self, meta: Meta) -> tuple[str | None, str | None]:
        """(revision that the stable Service selects, why its name cannot be used)."""
        found = await self.context.kube.get(SERVICES, meta.namespace, meta.name)
        if found is None:
            return None, None
        if owner_uid(found) != meta.uid:
            return None, f"a Service {meta.name!r} that is not ours exists: delete it or rename this pool"
        return (found.get("spec", {}).get("selector") or {}).get(LABEL_REVISION), None
