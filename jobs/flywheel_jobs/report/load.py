"""Builds a report's model from the round's manifests in the store.

Every part is optional: a manifest that is not there leaves its part of the page out and is named under "missing" on
the page: a report must not fail because one part of a round did. A store that is away is another matter: that error
passes through, and the stage is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from flywheel_api.artifacts import Manifest, RoleUsage, ServedBy, StepRecord, steps_prefix
from flywheel_api.base import StatusModel, parse_time
from flywheel_api.common import AttemptStatus
from flywheel_api.records.base import Record
from flywheel_api.records.evaluation import EvaluationRow
from flywheel_api.results import (
    CurvePoint,
    EvaluationResult,
    GateOutcome,
    MeasuredResult,
    PackageResult,
    SolvedResult,
    SuiteScore,
    TrainingResult,
    Verdict,
    VerdictResult,
)
from flywheel_api.round_status import StageStatus
from flywheel_api.stages import PIPELINE, Stage, StageConfig
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.harness.journal import add_usage
from flywheel_jobs.report.answering import changes_of
from flywheel_jobs.report.difficulty import difficulty
from flywheel_jobs.report.measuring import measuring
from flywheel_jobs.report.model import (
    AttemptRow,
    GroupScore,
    Node,
    ReportModel,
    RoleUse,
    SampleItem,
    Score,
    Series,
    StageRow,
    Suite,
    Training,
)
from flywheel_jobs.report.samples import choose
from flywheel_jobs.report.vitals import vitals
from flywheel_jobs.storage.datasets import read_model, read_records
from flywheel_store.store import BlobStore

R = TypeVar("R", bound=Record)
M = TypeVar("M", bound=StatusModel)
_READERS = 8
LOG_LINES = 40  # of a failed attempt, on the page
TRACK_OF = {d.stage: d.track for d in PIPELINE}
ORDER = [d.stage for d in PIPELINE]


class _Manifests:
    """Manifests of the round by stage; remembers what could not be read."""

    def __init__(self, source: BlobStore, digests: Mapping[str, str]) -> None:
        self.source = source
        self.by_stage: dict[Stage, Manifest] = {}
        self.missing: list[str] = []
        for stage in sorted(map(Stage, digests), key=ORDER.index):
            digest = digests[stage]
            try:
                self.by_stage[stage] = source.get_manifest(digest)
            except CorruptArtifact as error:
                self.missing.append(f"{stage}: {digest[:19]}… could not be read ({type(error).__name__})")

    def result(self, stage: Stage, kind: type[M]) -> M | None:
        """A stage's result; None when it is absent."""
        manifest = self.by_stage.get(stage)
        if manifest is None:
            return None
        if not isinstance(manifest.result, kind):
            self.missing.append(f"{stage}: its manifest holds a {manifest.kind} result")
            return None
        return manifest.result

    def records(self, stage: Stage, path: str, kind: type[R]) -> list[R]:
        """Records of a file of a stage; empty when the stage or the file is absent."""
        entry = self.by_stage[stage].file(path) if stage in self.by_stage else None
        try:
            return [] if entry is None else list(read_records(self.source, entry, kind))
        except CorruptArtifact as error:
            self.missing.append(f"{stage}: {path} could not be read ({type(error).__name__})")
            return []


def load(
    config: StageConfig,
    source: BlobStore,
    now: datetime | None = None,
    samples: bool = True,
    curve: Sequence[CurvePoint] = (),
) -> ReportModel:
    """The report of the round as it stood when the stage of `config` began.

    Without `samples` nothing large is read. `curve` is what that stage, a training, has come to since.
    """
    digests = {s.name: s.manifest for s in config.timeline if s.manifest}
    manifests = _Manifests(source, {**digests, **config.inputs})
    verdict = manifests.result(Stage.GATE, VerdictResult)
    everything = list(manifests.by_stage.values())
    suites = tuple(_suites(manifests, verdict, [s.name for s in config.spec.evaluation.suites]))
    return ReportModel(
        round=config.owner.name,
        namespace=config.owner.namespace,
        uid=config.owner.uid,
        campaign=config.spec.campaign,
        verdict=verdict.verdict if verdict else Verdict.FAILED if config.failed else None,
        reasons=tuple(verdict.reasons) if verdict else (config.failed,) if config.failed else (),
        standin=any(m.standin for m in everything),
        notice=next((m.notice for m in everything if m.notice), ""),
        base_model=config.base_model,
        held_base=config.spec.base.round if config.previous_held else None,
        model=verdict.model if verdict else config.candidate_model,
        stages=tuple(_row(s) for s in config.timeline),
        attempts=tuple(_attempt(a, source) for a in config.attempts),
        suites=suites,
        matrix=tuple(verdict.matrix) if verdict else (),
        trainings=tuple(_trainings(manifests, config, curve)),
        difficulty=difficulty(manifests.result(Stage.SOLVE_AGENTIC, SolvedResult)),
        measured=measuring(
            manifests.result(Stage.MEASURE_REASONING, MeasuredResult),
            manifests.result(Stage.TRAIN_REASONING, TrainingResult),
        ),
        items=_items(manifests, suites) if samples else (),
        lineage=tuple(_lineage(manifests.by_stage, config.base_model)),
        roles=tuple(_roles(everything, config.owner.uid)),
        images=tuple(sorted({(m.image, m.stage) for m in everything if m.image})),
        versions=tuple(sorted({m.code_version for m in everything if m.code_version})),
        spec=config.spec.dump(),
        missing=tuple(manifests.missing),
        made_at=now or datetime.now(UTC),
    )


def _items(manifests: _Manifests, suites: Iterable[Suite]) -> tuple[SampleItem, ...]:
    return choose(
        manifests.records(Stage.EVALUATE_BASE, "samples.jsonl", EvaluationRow),
        manifests.records(Stage.EVALUATE_CANDIDATE, "samples.jsonl", EvaluationRow),
        {s.name: s.track for s in suites},
    )


def _row(status: StageStatus) -> StageRow:
    return StageRow(
        name=status.name,
        state=status.state,
        track=TRACK_OF[Stage(status.name)],
        attempt=status.attempt,
        started=parse_time(status.started_at) if status.started_at else None,
        finished=parse_time(status.finished_at) if status.finished_at else None,
        items_in=int(status.counts.in_) if status.counts and status.counts.in_ else None,
        items_out=int(status.counts.out) if status.counts and status.counts.out else None,
        dropped=tuple((d.reason, int(d.count)) for d in status.dropped),
        tokens=sum(int(t.tokens) for t in status.tokens),
        manifest=status.manifest,
        reused_from=status.reused_from.name if status.reused_from else None,
    )


def _attempt(ended: AttemptStatus, source: BlobStore) -> AttemptRow:
    where = ended.log or ""
    pieces = [key for key in source.list_keys(where) if key.endswith(".log")] if where else []
    last = source.get_bytes(pieces[-1]) if pieces else None
    return AttemptRow(
        stage=ended.stage or "",
        attempt=ended.attempt,
        cause=f"{ended.cause.value}/{ended.reason}" if ended.reason else ended.cause.value,
        message=ended.message,
        log=source.uri(where) if pieces else "",
        tail=b"\n".join((last or b"").splitlines()[-LOG_LINES:]).decode(errors="replace"),  # bytes: at newlines only
    )


def _suites(manifests: _Manifests, verdict: VerdictResult | None, order: list[str]) -> Iterator[Suite]:
    """Suites that were evaluated, in the order of the spec, then any others."""
    base = _by_name(manifests.result(Stage.EVALUATE_BASE, EvaluationResult))
    candidate = _by_name(manifests.result(Stage.EVALUATE_CANDIDATE, EvaluationResult))
    judged = {s.suite: s for s in verdict.suites} if verdict else {}
    found = {**base, **candidate}
    for name in dict.fromkeys([*(n for n in order if n in found), *found]):
        one, two, gate = base.get(name), candidate.get(name), judged.get(name)
        either = found[name]
        yield Suite(
            name=name,
            track=either.track,
            items=either.items,
            repeats=either.repeats,
            base=Score(one.score, *one.interval) if one else None,
            candidate=Score(two.score, *two.interval) if two else None,
            gain=Score(gate.gain, *gate.gain_interval) if gate else None,
            gate=gate.gate if gate and gate.gate is not GateOutcome.NONE else None,
            groups=tuple(_groups(one, two)),
            failures=tuple(_failures(one.reasons if one else {}, two.reasons if two else {})),
            forms=(one.form if one else None, two.form if two else None),
            by_form=gate.by_form if gate else False,
            losses=tuple(loss for loss in verdict.losses if loss.suite == name) if verdict else (),
        )


def _by_name(evaluation: EvaluationResult | None) -> dict[str, SuiteScore]:
    return {s.name: s for s in evaluation.suites} if evaluation else {}


def _failures(base: Mapping[str, int], candidate: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """Why samples failed, most frequent first."""
    rows = [(reason, base.get(reason, 0), candidate.get(reason, 0)) for reason in {*base, *candidate}]
    return sorted(rows, key=lambda row: (-max(row[1:]), row[0]))


def _groups(base: SuiteScore | None, candidate: SuiteScore | None) -> Iterator[GroupScore]:
    one, two = base.groups if base else {}, candidate.groups if candidate else {}
    for outcome in sorted({*one, *two}):
        first, second = one.get(outcome), two.get(outcome)
        n = second.n if second else first.n if first else 0
        yield GroupScore(outcome, first.score if first else None, second.score if second else None, n)


def _trainings(manifests: _Manifests, config: StageConfig, running: Sequence[CurvePoint]) -> Iterator[Training]:
    keys = {s.name: s.content_key for s in config.timeline if s.content_key and s.attempt}
    for stage in (Stage.TRAIN_REASONING, Stage.TRAIN_AGENTIC):
        result = manifests.result(stage, TrainingResult)
        curve: Sequence[CurvePoint] = result.curve if result else running if stage is config.stage else ()
        curve = curve or _steps(manifests.source, config.owner.namespace, keys.get(stage))
        if result is None and not curve:
            continue
        reward = tuple((float(p.step), p.reward) for p in curve if p.reward is not None)
        success = tuple((float(p.step), p.success) for p in curve if p.success is not None)
        yield Training(
            name=stage,
            reward=Series("reward", reward),
            # the share of right answers, where it differs from the reward at all
            success=Series("right answers", success) if success and success != reward else None,
            by_outcome=tuple(_outcome_series(curve)),
            vitals=tuple(vitals(curve)),
            warm_up=result.warm_up if result else None,
            manifest=manifests.by_stage[stage].digest if result else None,
            rollouts=result.rollouts if result else None,
            step=result.step if result else curve[-1].step,
        )


def _steps(source: BlobStore, namespace: str, content_key: str | None) -> list[CurvePoint]:
    """The curve of a training that has not ended, or never will, from the records of its steps."""
    keys = source.list_keys(steps_prefix(namespace, content_key)) if content_key else []
    with ThreadPoolExecutor(max_workers=_READERS) as pool:
        found = [record.point for record in pool.map(partial(_step, source), keys) if record is not None]
    return sorted(found, key=lambda point: point.step)


def _step(source: BlobStore, key: str) -> StepRecord | None:
    try:
        return read_model(source, key, StepRecord)
    except CorruptArtifact:
        return None


def _outcome_series(curve: Sequence[CurvePoint]) -> Iterator[Series]:
    """Reward by expected outcome; none for a single outcome."""
    outcomes = sorted({o for p in curve for o in p.by_outcome})
    for outcome in outcomes if len(outcomes) > 1 else ():
        points = [(float(p.step), p.by_outcome[outcome].reward) for p in curve if outcome in p.by_outcome]
        yield Series(outcome, tuple(points))


def _lineage(by_stage: Mapping[Stage, Manifest], base_model: str | None) -> list[Node]:
    """Nodes of the round's manifests in the order of the pipeline, and of what they read from outside it."""
    digests = {stage: manifest.digest for stage, manifest in by_stage.items()}
    alias = dict(_parts(by_stage))
    outside: dict[str, str] = {base_model: "base model"} if base_model else {}
    nodes = []
    for stage, manifest in by_stage.items():
        inputs = [(name, alias.get(d, d)) for name, d in sorted(manifest.inputs.items())]
        # what a served policy answered depends on its weights as much as on the files that the stage read
        if isinstance(manifest.result, EvaluationResult | VerdictResult) and manifest.result.model:
            inputs.append(("model", manifest.result.model))
        for name, read in inputs:
            if read not in digests.values():
                outside.setdefault(read, name)
        size = sum(f.size for f in manifest.files)
        nodes.append(Node(digests[stage], stage, manifest.kind, tuple(inputs), len(manifest.files), size))
    wanted = {d for n in nodes for _, d in n.inputs} - set(digests.values())
    return [*(Node(d, label, "input", external=True) for d, label in outside.items() if d in wanted), *nodes]


def _parts(by_stage: Mapping[Stage, Manifest]) -> Iterator[tuple[str, str]]:
    """Digests of data sets that a stage committed beside its manifest, as digests of the stage's own manifest."""
    package = by_stage.get(Stage.PACKAGE)
    if package is not None and isinstance(package.result, PackageResult):
        yield from ((d.digest, package.digest) for d in package.result.datasets)


def _roles(manifests: Iterable[Manifest], uid: str) -> list[RoleUse]:
    """Who played each role, and what this round spent on it: a stage that was taken over cost it nothing."""
    spent: dict[str, RoleUsage] = {}
    served: dict[str, ServedBy] = {}
    changes: dict[str, list[str]] = {}
    for manifest in manifests:
        for role, change in changes_of(manifest):
            changes.setdefault(role, []).append(change)
        for use in manifest.usage.roles if manifest.owner.uid == uid else ():
            spent[use.role] = add_usage(spent.get(use.role), use)
        for server in manifest.served_by:
            if server.role not in served or not served[server.role].standin:  # a stand-in is never hidden
                served[server.role] = server
    return [
        RoleUse(
            spent.get(role) or RoleUsage(role=role),
            served.get(role) or ServedBy(role=role, model=""),
            tuple(changes.get(role, ())),
        )
        for role in sorted({*spent, *served})
    ]
