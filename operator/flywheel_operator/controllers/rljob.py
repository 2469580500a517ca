"""RLJob: observes its RayJobs, their pods and the attempt in the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flywheel_api.artifacts import attempt_prefix
from flywheel_api.names import child_name
from flywheel_api.rljob import RLJobSpec, RLJobStatus
from flywheel_api.stages import TRAIN_STAGE
from flywheel_operator.controllers.base import Context
from flywheel_operator.observe import preflight
from flywheel_operator.observe.artifacts import read_attempt
from flywheel_operator.observe.rayjobs import child_of, run_of
from flywheel_operator.plan.rljob import RLJobSeen, is_open, plan_rljob
from flywheel_operator.plan.types import Action, Meta, Plan, Problem, Record, Run
from flywheel_operator.ports.kinds import PODS, RAYCLUSTERS, RAYJOBS, RLJOBS, Object, owner_uid
from flywheel_operator.ports.objects import StoreProblem
from flywheel_operator.render.rayjob import ray_job


@dataclass(frozen=True)
class RLJobController:
    """See `controllers.base.Controller`."""

    context: Context
    resource = RLJOBS
    spec_model = RLJobSpec
    status_model = RLJobStatus

    async def decide(
        self, meta: Meta, spec: RLJobSpec, status: RLJobStatus, now: datetime
    ) -> tuple[Plan[RLJobStatus], RLJobSeen]:
        """See Controller."""
        seen = await self._observe(meta, spec, status)
        return plan_rljob(meta, spec, status, seen, now, self.context.timings), seen

    def render(self, meta: Meta, spec: RLJobSpec, action: Action, status: RLJobStatus, seen: RLJobSeen) -> Object:
        """See Controller."""
        return ray_job(self.context.config, meta, spec, seen.model or spec.model, action)

    async def _observe(self, meta: Meta, spec: RLJobSpec, status: RLJobStatus) -> RLJobSeen:
        if status.finished_at is not None and status.child is None:
            return RLJobSeen()  # at rest: nothing is asked of anybody
        jobs = [j for j in await self.context.owned(RAYJOBS, meta) if owner_uid(j) == meta.uid]
        pods = await self.context.owned(PODS, meta)
        current = child_name(meta.name, meta.uid, TRAIN_STAGE, status.attempt) if is_open(status) else ""
        run = await self._run(meta, next((j for j in jobs if j["metadata"]["name"] == current), None), pods)
        others = tuple(child_of(j) for j in jobs if j["metadata"]["name"] != current)
        common = RLJobSeen(run=run, others=others, pods=len(pods))
        if status.finished_at is not None:
            return common
        return await (self._attempt if is_open(status) else self._before)(meta, spec, status, common)

    async def _run(self, meta: Meta, job: Object | None, pods: list[Object]) -> Run | None:
        if job is None:
            return None
        name = (job.get("status") or {}).get("rayClusterName")
        cluster = await self.context.kube.get(RAYCLUSTERS, meta.namespace, name) if name else None
        return run_of(job, cluster, pods)

    async def _attempt(self, meta: Meta, spec: RLJobSpec, status: RLJobStatus, seen: RLJobSeen) -> RLJobSeen:
        uri, record, problem, model = "", Record(), None, None
        try:
            store = await self.context.stores.store(meta.namespace, spec.store.secret_name)
            record = await read_attempt(store, meta.uid, TRAIN_STAGE, status.attempt)
            uri = store.settings.uri(attempt_prefix(meta.uid, TRAIN_STAGE, status.attempt))
            if seen.run is None:
                model, _ = await preflight.model(store, spec.model)
        except StoreProblem as error:
            problem = Problem(error.reason, str(error))
        return RLJobSeen(None, problem, seen.run, seen.others, seen.pods, record, uri, model)

    async def _before(self, meta: Meta, spec: RLJobSpec, status: RLJobStatus, seen: RLJobSeen) -> RLJobSeen:
        model, problem = None, preflight.pod_template(spec.pod_template, self.context.config.pod_template)
        problem = problem or preflight.overrides(spec) or await preflight.kuberay(self.context.kube)
        store, trouble = await self.context.stores.checked(meta.namespace, spec.store.secret_name)
        if store is not None and problem is None:
            try:
                model, problem = await preflight.model(store, spec.model)
                problem = problem or await preflight.data(store, spec)
            except StoreProblem as error:
                trouble = Problem(error.reason, str(error))
        return RLJobSeen(problem, trouble, seen.run, seen.others, seen.pods, model=model)
