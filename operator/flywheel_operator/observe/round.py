"""A FlywheelRound as it is: its Jobs, pools and RLJobs by name and owner, and its stages' results in the store."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from flywheel_api.artifacts import Manifest, result_prefix
from flywheel_api.conditions import Reason
from flywheel_api.content import sources_of
from flywheel_api.results import ImportedResult, PackageResult, Verdict
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus, StageState, StageStatus
from flywheel_api.stages import TRAIN_STAGE, Runs, Stage
from flywheel_operator.model import (
    Content,
    Meta,
    Problem,
    Record,
    RoundSeen,
    Run,
)
from flywheel_operator.observe.attempts import Results, read_promotions
from flywheel_operator.observe.base import Context
from flywheel_operator.observe.children import family_of, pool_pods
from flywheel_operator.observe.keys import DENIALS
from flywheel_operator.observe.pods import stuck
from flywheel_operator.observe.preflight import round_preflight
from flywheel_operator.plan import content, graph, keys
from flywheel_operator.plan.preflight import champion
from flywheel_operator.plan.results import imported
from flywheel_operator.ports.objects import ObjectStore, StoreProblem


async def see_round(
    context: Context, meta: Meta, spec: FlywheelRoundSpec, status: FlywheelRoundStatus, now: datetime
) -> RoundSeen:
    """Everything that the planner decides by."""
    stages = graph.stages_of(spec, status.stages, status.base_digest)
    family, serving = await family_of(context, meta, stages, now), await pool_pods(context, meta, stages)
    seen = RoundSeen(
        runs=family.runs,
        strays=tuple(family.strays),
        trainings=family.trainings,
        accounts=family.accounts,
        pool_pods=len(serving),
        stuck=stuck(serving, now),
    )
    if status.finished_at is not None:
        return seen
    if stages[Stage.PREFLIGHT].state is not StageState.SUCCEEDED:
        found = await round_preflight(context, meta, spec)
        note = context.stores.note(meta.namespace, spec.store.secret_name)
        return replace(seen, **vars(replace(found, store_note=note)))
    if status.verdict is not Verdict.FAILED:
        # an endpoint's address and key, and the hub's, may be changed at any time
        sent = keys.of_round(spec, meta.namespace) if status.verdict is None else keys.of_export(spec)
        denied = await context.keys.problem(meta.namespace, sent)
        if denied is not None and denied.reason in DENIALS:
            return replace(seen, problem=denied)
    try:
        store = await context.stores.store(meta.namespace, spec.store.secret_name)
        seen = replace(seen, store_note=context.stores.note(meta.namespace, spec.store.secret_name))
        return await _Store(context.results, store, meta, spec, status, stages, now).add(seen, family.trained)
    except StoreProblem as error:
        return replace(seen, store_problem=Problem(error.reason, str(error)))


@dataclass
class _Store:
    """One look into the store: running attempts, then whatever could be done next and may be there already."""

    results: Results
    store: ObjectStore
    meta: Meta
    spec: FlywheelRoundSpec
    status: FlywheelRoundStatus
    stages: dict[Stage, StageStatus]
    now: datetime
    records: dict[Stage, Record] = field(default_factory=dict)
    content: dict[Stage, Content] = field(default_factory=dict)
    digests: dict[Stage, str] = field(default_factory=dict)

    async def add(self, seen: RoundSeen, trained: dict[Stage, str]) -> RoundSeen:
        self.digests = graph.digests_of(self.stages)
        await self._running(seen, trained)
        package = await self._package()
        if Stage.PACKAGE in self.digests and package is None:
            return replace(seen, problem=_lost(Stage.PACKAGE, self.digests[Stage.PACKAGE]))
        while todo := [
            d.stage for d in content.next_stages(self.stages, self.digests, package) if d.stage not in self.content
        ]:
            for stage in todo:
                await self._look_up(stage, package)
            package = await self._package()
        for stage, entry in self.stages.items():
            if entry.state is StageState.RUNNING and entry.content_key and stage in seen.runs:
                self.content[stage] = Content(entry.content_key, {})
        finished = (Stage.PACKAGE, Stage.GATE, *(graph.TRAININGS if Stage.GATE in self.digests else ()))
        manifests = {s: m for s in finished if s in self.digests and (m := await self._manifest(s)) is not None}
        return replace(
            seen,
            records=self.records,
            manifests=manifests,
            content=self.content,
            champion=await self._champion(),
            model_uri=self._model_uri(),
        )

    async def _running(self, seen: RoundSeen, trained: dict[Stage, str]) -> None:
        for stage, entry in self.stages.items():
            runs = graph.BY_STAGE[stage].runs
            if entry.state is not StageState.RUNNING or not entry.content_key:
                continue
            if runs is Runs.JOB:
                commit = (self.meta.namespace, entry.content_key)
                record = await self.results.attempt(
                    self.store, self.meta.uid, stage, entry.attempt, commit, seen.runs.get(stage), self.now
                )
            else:
                record = await self._trained(stage, entry.content_key, trained.get(stage), seen.runs.get(stage))
            self._keep(stage, record)
            if stage not in seen.runs and entry.child is None:
                self._made_again(stage, entry)

    async def _trained(self, stage: Stage, key: str, digest: str | None, run: Run | None) -> Record:
        """What a training came to: by its RLJob's word, or in the store when the RLJob is gone."""
        if digest is not None:
            manifest = await self.results.manifest(self.store, digest)
            problem = None if manifest else f"manifest {digest} of {stage} is not in the store"
            return Record(digest if manifest else None, manifest, problem)
        if run is None:
            return await self.results.result(self.store, self.meta.namespace, key, TRAIN_STAGE)
        return Record()

    def _made_again(self, stage: Stage, entry: StageStatus) -> None:
        """The intent was written, the child was not made: what it is made of is needed once more."""
        found = self._of(stage, None, {}) if stage not in graph.TRAININGS else None
        made_of = found.made_of if found and found.key == entry.content_key else {}
        self.content[stage] = Content(entry.content_key or "", made_of)

    async def _look_up(self, stage: Stage, package: PackageResult | None) -> None:
        sources = {}
        if stage is Stage.PREPARE:
            sources = {uri: await self.store.version_of(uri) or "absent" for uri in sources_of(self.spec)}
        made = self._of(stage, package, sources)
        name = TRAIN_STAGE if stage in graph.TRAININGS else stage
        record = await self.results.result(self.store, self.meta.namespace, made.key, name)
        if record.problem is not None:  # somebody's commit lies there and is no good: this round makes its own
            made, record = self._of(stage, package, sources, own=True), Record()
        self.content[stage] = made
        self._keep(stage, record)

    def _of(self, stage: Stage, package: PackageResult | None, sources: dict[str, str], own: bool = False) -> Content:
        return content.of_stage(stage, self.meta, self.spec, self.status, self.digests, package, sources, own)

    def _keep(self, stage: Stage, record: Record) -> None:
        self.records[stage] = record
        if record.digest is not None:
            self.digests[stage] = record.digest
        if record.manifest is not None and isinstance(record.manifest.result, ImportedResult):
            # what is made of the base model is looked up by its digest in this very look
            base = imported(record.manifest.result)
            self.status = self.status.model_copy(update={"base_model": base})

    async def _package(self) -> PackageResult | None:
        return content.package_of(await self._manifest(Stage.PACKAGE))

    async def _manifest(self, stage: Stage) -> Manifest | None:
        record = self.records.get(stage, Record())
        if record.manifest is not None or stage not in self.digests:
            return record.manifest
        return await self.results.manifest(self.store, self.digests[stage])

    async def _champion(self) -> str | None:
        """The verdict that the campaign promoted last, when the gate is about to need it."""
        if Stage.GATE not in self.content or self.stages[Stage.GATE].state is StageState.SUCCEEDED:
            return None
        promotions = await read_promotions(self.store, self.meta.namespace, self.spec.campaign)
        best = champion(promotions, self.meta.uid)
        return best.verdict_digest if best else None

    def _model_uri(self) -> str:
        last = Stage.TRAIN_AGENTIC if Stage.TRAIN_AGENTIC in self.digests else Stage.TRAIN_REASONING
        key = self.stages[last].content_key
        return self.store.settings.uri(result_prefix(self.meta.namespace, key)) if key else ""


def _lost(stage: Stage, digest: str) -> Problem:
    text = f"manifest {digest} of {stage} is not in the store: restore it, or apply a new round under another name"
    return Problem(Reason.MANIFEST_INVALID, text)
