"""Builds a report's model from the round's manifests in the store.

Every part is optional: a manifest that is not there, or holds less than expected, leaves its part of the page out and
is named under "missing" on the page: a report must not fail because one part of a round did. A store that is away is
another matter: that error passes through, and the stage is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from flywheel_api.artifacts import Manifest
from flywheel_api.base import parse_time
from flywheel_api.stages import PIPELINE, Stage, StageConfig
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.report.model import (
    GroupScore,
    Node,
    ReportModel,
    RoleUse,
    Score,
    Series,
    StageRow,
    Suite,
    Training,
)
from flywheel_jobs.report.samples import choose

TRACK_OF: dict[str, str | None] = {d.stage.value: d.track for d in PIPELINE}
ORDER: dict[str, int] = {d.stage.value: i for i, d in enumerate(PIPELINE)}
UNREADABLE = (CorruptArtifact, KeyError, ValueError)
TRAININGS = ((Stage.TRAIN_REASONING, "reasoning"), (Stage.TRAIN_AGENTIC, "agentic"))


class Source(Protocol):
    """What the loader needs of the store."""

    def get_manifest(self, digest: str) -> Manifest:
        """The manifest of that digest, verified."""

    def get_blob(self, sha256_hex: str) -> bytes:
        """A blob's content, verified."""


class _Manifests:
    """Manifests of the round by stage; remembers what could not be read."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.by_stage: dict[str, Manifest] = {}
        self.digests: dict[str, str] = {}
        self.missing: list[str] = []

    def add(self, stage: str, digest: str) -> None:
        """Reads a stage's manifest; one that is absent or damaged is noted."""
        if self.digests.get(stage) == digest:
            return
        try:
            self.by_stage[stage] = self.source.get_manifest(digest)
            self.digests[stage] = digest
        except UNREADABLE as error:
            self.missing.append(f"{stage}: {digest[:19]}… could not be read ({type(error).__name__})")

    def records(self, stage: str, path: str) -> list[dict[str, Any]]:
        """JSONL records of a file of a stage; empty when the stage or the file is absent."""
        manifest = self.by_stage.get(stage)
        entry = next((f for f in manifest.files if f.path == path), None) if manifest else None
        if entry is None:
            return []
        try:
            lines = self.source.get_blob(entry.sha256).decode().splitlines()
            return [json.loads(line) for line in lines if line.strip()]
        except UNREADABLE as error:
            self.missing.append(f"{stage}: {path} could not be read ({type(error).__name__})")
            return []

    def details(self, stage: str) -> Mapping[str, Any]:
        """Details of a stage's manifest; empty when it is absent."""
        manifest = self.by_stage.get(stage)
        return manifest.details if manifest else {}


def load(config: StageConfig, source: Source, now: datetime | None = None) -> ReportModel:
    """The report of the round that `config` (of its Report stage) describes."""
    manifests = _Manifests(source)
    for entry in config.timeline:
        if entry.get("manifest"):
            manifests.add(str(entry["name"]), str(entry["manifest"]))
    for stage, digest in config.inputs.items():
        manifests.add(stage, digest)
    verdict = manifests.details(Stage.GATE)
    everything = list(manifests.by_stage.values())
    notices = [m.notice for m in everything if m.notice]
    suites = tuple(_suites(manifests, [s.name for s in config.spec.evaluation.suites]))
    tracks = {s.name: s.track or "reasoning" for s in suites}
    samples = choose(
        manifests.records(Stage.EVALUATE_BASE, "samples.jsonl"),
        manifests.records(Stage.EVALUATE_CANDIDATE, "samples.jsonl"),
        tracks,
    )
    return ReportModel(
        round=config.owner.name,
        namespace=config.owner.namespace,
        uid=config.owner.uid,
        campaign=config.spec.campaign,
        verdict=str(verdict.get("verdict", "Not decided")),
        reasons=tuple(str(r) for r in verdict.get("reasons", ())),
        standin=any(m.standin for m in everything),
        notice=notices[0] if notices else "",
        base_model=config.base_model,
        model=config.candidate_model or _model_of(verdict, manifests),
        stages=tuple(_row(e) for e in config.timeline),
        suites=suites,
        trainings=tuple(_trainings(manifests)),
        items=samples,
        lineage=tuple(_lineage(manifests, config.base_model)),
        roles=tuple(_roles(everything)),
        images=tuple(sorted({(m.image, m.stage) for m in everything if m.image})),
        versions=tuple(sorted({m.code_version for m in everything if m.code_version})),
        spec=config.spec.dump(),
        missing=tuple(manifests.missing),
        made_at=now or datetime.now(UTC),
    )


def _model_of(verdict: Mapping[str, Any], manifests: _Manifests) -> str | None:
    trained = manifests.digests.get(Stage.TRAIN_AGENTIC) or manifests.digests.get(Stage.TRAIN_REASONING)
    return str(verdict["model"]) if verdict.get("model") else trained


def _time(text: Any) -> datetime | None:
    try:
        return parse_time(str(text)) if text else None
    except ValueError:
        return None


def _count(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _row(entry: Mapping[str, Any]) -> StageRow:
    counts = entry.get("counts") or {}
    name = str(entry["name"])
    return StageRow(
        name=name,
        state=str(entry.get("state", "Pending")),
        track=TRACK_OF.get(name),
        attempt=_count(entry.get("attempt")) or 0,
        started=_time(entry.get("startedAt")),
        finished=_time(entry.get("finishedAt")),
        items_in=_count(counts.get("in")),
        items_out=_count(counts.get("out")),
        dropped=tuple((str(d.get("reason")), _count(d.get("count")) or 0) for d in entry.get("dropped") or ()),
        tokens=sum(_count(t.get("tokens")) or 0 for t in entry.get("tokens") or ()),
        manifest=entry.get("manifest"),
        message=str(entry.get("message") or ""),
    )


def _score(value: Any, interval: Any) -> Score | None:
    try:
        low, high = (float(interval[0]), float(interval[1])) if interval else (None, None)
        return None if value is None else Score(float(value), low, high)
    except (TypeError, ValueError, IndexError):
        return None


def _suites(manifests: _Manifests, order: list[str]) -> Iterator[Suite]:
    """Suites in the order of the spec, then any others."""
    base = manifests.details(Stage.EVALUATE_BASE).get("suites", {})
    candidate = manifests.details(Stage.EVALUATE_CANDIDATE).get("suites", {})
    judged = {s.get("suite"): s for s in manifests.details(Stage.GATE).get("suites", ())}
    for name in dict.fromkeys([*(n for n in order if n in base or n in candidate), *base, *candidate]):
        one, two, gate = base.get(name, {}), candidate.get(name, {}), judged.get(name, {})
        yield Suite(
            name=name,
            track=one.get("track") or two.get("track"),
            items=_count(one.get("items", two.get("items"))),
            repeats=_count(one.get("repeats", two.get("repeats"))),
            base=_score(one.get("score"), one.get("interval")),
            candidate=_score(two.get("score"), two.get("interval")),
            gain=_score(gate.get("gain"), gate.get("gainInterval")),
            gate=_gate_text(gate.get("gate")),
            groups=tuple(_groups(one.get("groups") or {}, two.get("groups") or {})),
            failures=tuple(_failures(one.get("reasons") or {}, two.get("reasons") or {})),
        )


def _failures(base: Mapping[str, Any], candidate: Mapping[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Why samples failed, most frequent first."""
    rows = [
        (reason, _count(base.get(reason)) or 0, _count(candidate.get(reason)) or 0) for reason in {*base, *candidate}
    ]
    yield from sorted(rows, key=lambda row: (-max(row[1:]), row[0]))


def _gate_text(gate: Any) -> str | None:
    """Passed, Failed or None, whether the gate is a word or an object with `passed` or `result`."""
    if isinstance(gate, Mapping):
        gate = gate.get("result", gate.get("passed"))
    if isinstance(gate, bool):
        return "Passed" if gate else "Failed"
    return None if gate in (None, "None", "") else str(gate)


def _groups(base: Mapping[str, Any], candidate: Mapping[str, Any]) -> Iterator[GroupScore]:
    for outcome in sorted({*base, *candidate}):
        one, two = base.get(outcome, {}), candidate.get(outcome, {})
        first, second = _score(one.get("score"), None), _score(two.get("score"), None)
        yield GroupScore(
            outcome,
            first.value if first else None,
            _count(one.get("n")) or 0,
            second.value if second else None,
            _count(two.get("n")) or 0,
        )


def _trainings(manifests: _Manifests) -> Iterator[Training]:
    for stage, track in TRAININGS:
        manifest = manifests.by_stage.get(stage)
        if manifest is None:
            continue
        curve = [p for p in manifest.details.get("curve", ()) if isinstance(p, Mapping) and "step" in p]
        yield Training(
            name=stage.value,
            track=track,
            reward=Series("reward", tuple(_points(curve, "reward"))),
            success=_success(curve),
            by_outcome=tuple(_outcome_series(curve)),
            manifest=manifests.digests[stage],
            rollouts=manifest.details.get("rollouts"),
            step=manifest.step,
            metrics=tuple(sorted(manifest.metrics.items())),
        )


def _points(curve: Iterable[Mapping[str, Any]], key: str) -> Iterator[tuple[float, float]]:
    for point in curve:
        value = point.get(key)
        if isinstance(value, int | float):
            yield float(point["step"]), float(value)


def _outcome_series(curve: list[Mapping[str, Any]]) -> Iterator[Series]:
    """Reward by expected outcome, from each point's `byOutcome: {outcome: {reward, n}}`; none for a single outcome."""
    grouped = [(p["step"], p["byOutcome"]) for p in curve if isinstance(p.get("byOutcome"), Mapping)]
    outcomes = sorted({o for _, groups in grouped for o in groups})
    for outcome in outcomes if len(outcomes) > 1 else ():
        points = [(float(step), _score((g.get(outcome) or {}).get("reward"), None)) for step, g in grouped]
        yield Series(outcome, tuple((step, score.value) for step, score in points if score))


def _success(curve: list[Mapping[str, Any]]) -> Series | None:
    """The share of right answers, where it differs from the reward at all."""
    points = tuple(_points(curve, "success"))
    return Series("right answers", points) if points and points != tuple(_points(curve, "reward")) else None


def _lineage(manifests: _Manifests, base_model: str | None) -> Iterator[Node]:
    """Nodes of the round's manifests in the order of the pipeline, and of what they read from outside it."""
    own = {digest: stage for stage, digest in manifests.digests.items()}
    alias = dict(_sub_manifests(manifests))
    outside: dict[str, str] = {base_model: "base model"} if base_model else {}
    nodes = []
    for stage in sorted(manifests.by_stage, key=lambda s: ORDER.get(s, len(ORDER))):
        manifest, digest = manifests.by_stage[stage], manifests.digests[stage]
        inputs = [(name, alias.get(d, d)) for name, d in sorted(manifest.inputs.items())]
        # what a served policy answered depends on its weights as much as on the files that the stage read
        if isinstance(manifest.details.get("model"), str):
            inputs.append(("model", manifest.details["model"]))
        for name, read in inputs:
            if read not in own:
                outside.setdefault(read, name)
        size = sum(f.size for f in manifest.files)
        nodes.append(Node(digest, stage, manifest.kind.value, tuple(inputs), len(manifest.files), size))
    wanted = {d for n in nodes for _, d in n.inputs}
    yield from (Node(d, label, "input", external=True) for d, label in outside.items() if d in wanted and d not in own)
    yield from nodes


def _sub_manifests(manifests: _Manifests) -> Iterator[tuple[str, str]]:
    """Digests of datasets that a stage committed beside its manifest, as digests of the stage's own manifest."""
    package = manifests.digests.get(Stage.PACKAGE)
    datasets = manifests.details(Stage.PACKAGE).get("datasets", {})
    for splits in datasets.values():
        for digest in splits.values() if isinstance(splits, Mapping) else ():
            if package:
                yield str(digest), package


def _roles(manifests: Iterable[Manifest]) -> list[RoleUse]:
    sums: dict[str, RoleUse] = {}
    for manifest in manifests:
        for use in manifest.usage.roles:
            old = sums.get(use.role, RoleUse(use.role, 0, 0, 0, 0.0))
            sums[use.role] = RoleUse(
                use.role,
                old.calls + use.calls,
                old.prompt_tokens + use.prompt_tokens,
                old.completion_tokens + use.completion_tokens,
                old.seconds + use.seconds,
                old.model,
                old.owned_by,
                old.standin,
            )
        for served in manifest.served_by:
            old = sums.get(served.role, RoleUse(served.role, 0, 0, 0, 0.0))
            sums[served.role] = RoleUse(
                served.role,
                old.calls,
                old.prompt_tokens,
                old.completion_tokens,
                old.seconds,
                served.model,
                served.owned_by or "",
                old.standin or served.standin,
            )
    return [sums[role] for role in sorted(sums)]
