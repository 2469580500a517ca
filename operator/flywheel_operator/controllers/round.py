"""FlywheelRound: observes its Jobs, pools, RLJobs and the attempts in the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from flywheel_api.artifacts import Manifest, Promotion, canonical_json, digest_of
from flywheel_api.base import parse_time
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.rljob import RLJobSpec, RLJobStatus
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus, StageState
from flywheel_api.stages import Runs, Stage
from flywheel_operator.controllers.base import Context
from flywheel_operator.observe import children
from flywheel_operator.observe.artifacts import read_attempt, read_manifest
from flywheel_operator.observe.children import Family
from flywheel_operator.observe.rounds import RoundPreflight
from flywheel_operator.plan import graph
from flywheel_operator.plan.round import plan_round
from flywheel_operator.plan.seen import RoundSeen
from flywheel_operator.plan.types import Action, Meta, Plan, Problem, Record
from flywheel_operator.ports.kinds import JOBS, PODS, POOLS, RLJOBS, ROUNDS, Object
from flywheel_operator.ports.objects import ObjectStore, StoreProblem
from flywheel_operator.render.round import RoundFacts, child

_CACHED = 256  # manifests by digest: immutable, small, and read again at every look otherwise


@dataclass(frozen=True)
class RoundController:
    """See `controllers.base.Controller`."""

    context: Context
    resource = ROUNDS
    spec_model = FlywheelRoundSpec
    status_model = FlywheelRoundStatus
    _manifests: dict[str, Manifest] = field(default_factory=dict)

    async def decide(
        self, meta: Meta, spec: FlywheelRoundSpec, status: FlywheelRoundStatus, now: datetime
    ) -> tuple[Plan[FlywheelRoundStatus], RoundFacts]:
        """See Controller."""
        seen, facts = await self._observe(meta, spec, status, now)
        return plan_round(meta, spec, status, seen, now, self.context.timings), facts

    def render(
        self, meta: Meta, spec: FlywheelRoundSpec, action: Action, status: FlywheelRoundStatus, seen: RoundFacts
    ) -> Object:
        """See Controller."""
        return child(self.context.config, meta, spec, status, action, seen)

    async def _observe(
        self, meta: Meta, spec: FlywheelRoundSpec, status: FlywheelRoundStatus, now: datetime
    ) -> tuple[RoundSeen, RoundFacts]:
        family = await self._family(meta, status, now)
        common = RoundSeen(
            runs=family.runs,
            models=family.models,
            strays=family.strays,
            gpu_seconds=family.gpu_seconds,
            pool_pods=family.pool_pods,
            training_holds=family.training_holds,
            spec_hash=spec_hash(spec),
        )
        if status.finished_at is not None:
            return common, RoundFacts()
        started = any(s.name == Stage.PREFLIGHT and s.state is StageState.SUCCEEDED for s in status.stages)
        if not started:
            return await self._preflight(meta, spec, common), RoundFacts()
        try:
            store = await self.context.stores.store(meta.namespace, spec.store.secret_name)
            records = await self._records(store, meta, status, family)
            manifests = await self._finished(store, status)
            facts = await self._facts(store, meta, spec, status, manifests, records)
        except StoreProblem as error:
            return replace_seen(common, store_problem=Problem(error.reason, str(error))), RoundFacts()
        return replace_seen(common, records=records, manifests=manifests), facts

    async def _preflight(self, meta: Meta, spec: FlywheelRoundSpec, common: RoundSeen) -> RoundSeen:
        found = await RoundPreflight(self.context.kube, self.context.stores).check(meta.namespace, spec)
        return replace_seen(
            common,
            problem=found.problem,
            store_problem=found.store_problem,
            waits_for=found.waits_for,
            base=found.base,
        )

    async def _family(self, meta: Meta, status: FlywheelRoundStatus, now: datetime) -> Family:
        context = self.context
        jobs, pools, rljobs = [await context.owned(r, meta) for r in (JOBS, POOLS, RLJOBS)]
        pods = await context.owned(PODS, meta) if any(not children.job_ended(j) for j in jobs) else []
        if not pods and any(children.job_failed(j) for j in jobs):
            pods = await context.owned(PODS, meta)
        serving = []
        for stage in (Stage.SERVE_BASE, Stage.SERVE_CANDIDATE):
            attempt = next((s.attempt for s in status.stages if s.name == stage), 0)
            for number in range(max(1, attempt - 1), attempt + 1):
                name = graph.child_name_of(meta, stage, number)
                serving += await context.kube.list(PODS, meta.namespace, {children.LABEL_POOL: name})
        return children.family(
            meta,
            status,
            children.Listed(jobs, pods, _parsed_pools(pools), _parsed_rljobs(rljobs), len(serving)),
            now,
        )

    async def _records(
        self, store: ObjectStore, meta: Meta, status: FlywheelRoundStatus, family: Family
    ) -> dict[Stage, Record]:
        """Attempts of running Jobs, and the verified checkpoints of RLJobs that succeeded."""
        records: dict[Stage, Record] = {}
        for entry in status.stages:
            stage = Stage(entry.name)
            if entry.state is not StageState.RUNNING:
                continue
            if graph.BY_STAGE[stage].runs is Runs.JOB:
                records[stage] = await read_attempt(store, meta.uid, stage, entry.attempt)
            elif stage in family.trained:
                digest = family.trained[stage]
                manifest = await self._manifest(store, digest)
                problem = None if manifest else f"manifest {digest} of {stage} is not in the store"
                records[stage] = Record(digest if manifest else None, manifest, problem)
        return records

    async def _finished(self, store: ObjectStore, status: FlywheelRoundStatus) -> dict[Stage, Manifest]:
        """Package's manifest, which names the data of training, and the gate's, which says why it decided so."""
        found = {}
        for entry in status.stages:
            if entry.manifest is None or entry.name not in (Stage.PACKAGE, Stage.GATE):
                continue
            manifest = await self._manifest(store, entry.manifest)
            if manifest is not None:
                found[Stage(entry.name)] = manifest
        return found

    async def _facts(
        self,
        store: ObjectStore,
        meta: Meta,
        spec: FlywheelRoundSpec,
        status: FlywheelRoundStatus,
        manifests: dict[Stage, Manifest],
        records: dict[Stage, Record],
    ) -> RoundFacts:
        package = manifests.get(Stage.PACKAGE) or records.get(Stage.PACKAGE, Record()).manifest
        states = {s.name: s.state for s in status.stages}
        champion = None
        if states.get(Stage.GATE) is not StageState.SUCCEEDED and states.get(Stage.EVALUATE_CANDIDATE) in (
            StageState.RUNNING,
            StageState.SUCCEEDED,
        ):
            champion = await self._champion(store, meta, spec)
        rollouts: tuple[str, ...] = ()
        if spec.base.round is not None and states.get(Stage.PACKAGE) is StageState.PENDING:
            rollouts = await self._rollouts(store, meta, spec.base.round)
        return RoundFacts(package, rollouts, champion)

    async def _champion(self, store: ObjectStore, meta: Meta, spec: FlywheelRoundSpec) -> str | None:
        """The campaign's newest promoted verdict of another round."""
        best: Promotion | None = None
        for key in await store.keys(f"campaigns/{meta.namespace}/{spec.campaign}/promotions/"):
            data = await store.get(key)
            record = Promotion.model_validate_json(data) if data else None
            if record is not None and record.round.uid != meta.uid:
                best = record if best is None or parse_time(record.at) > parse_time(best.at) else best
        return best.verdict_digest if best else None

    async def _rollouts(self, store: ObjectStore, meta: Meta, base: str) -> tuple[str, ...]:
        """Rollout datasets of the base round's trainings: what this round mines from (the flywheel)."""
        found = await self.context.kube.get(ROUNDS, meta.namespace, base)
        status = FlywheelRoundStatus.model_validate((found or {}).get("status") or {})
        digests = []
        for entry in status.stages:
            if entry.name in (Stage.TRAIN_REASONING, Stage.TRAIN_AGENTIC) and entry.manifest:
                manifest = await self._manifest(store, entry.manifest)
                rollouts = manifest.details.get("rollouts") if manifest else None
                digests += [str(rollouts)] if rollouts else []
        return tuple(digests)

    async def _manifest(self, store: ObjectStore, digest: str) -> Manifest | None:
        if digest not in self._manifests:
            manifest = await read_manifest(store, digest)
            if manifest is None:
                return None
            if len(self._manifests) >= _CACHED:
                self._manifests.pop(next(iter(self._manifests)))
            self._manifests[digest] = manifest
        return self._manifests[digest]


def replace_seen(seen: RoundSeen, **changes: object) -> RoundSeen:
    """A copy with other values."""
    return RoundSeen(**{**seen.__dict__, **changes})


def spec_hash(spec: FlywheelRoundSpec) -> str:
    """Hash of what a round is made of; budget and suspend may change while it runs."""
    facts = {k: v for k, v in spec.dump().items() if k not in ("budget", "suspend")}
    return digest_of(canonical_json(facts))[:23]


def _parsed_pools(objects: list[Object]) -> list[tuple[Object, RolloutPoolSpec, RolloutPoolStatus]]:
    return [
        (o, RolloutPoolSpec.model_validate(o["spec"]), RolloutPoolStatus.model_validate(o.get("status") or {}))
        for o in objects
    ]


def _parsed_rljobs(objects: list[Object]) -> list[tuple[Object, RLJobSpec, RLJobStatus]]:
    return [
        (o, RLJobSpec.model_validate(o["spec"]), RLJobStatus.model_validate(o.get("status") or {})) for o in objects
    ]
