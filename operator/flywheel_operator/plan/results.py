"""What a round takes over from its manifests: counts, tokens, scores, verdict, model and report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flywheel_api.artifacts import Manifest, Progress
from flywheel_api.base import format_duration, parse_time
from flywheel_api.common import ModelStatus
from flywheel_api.resources import RLJOB
from flywheel_api.results import (
    EvaluationResult,
    ExportedResult,
    GateOutcome,
    ImportedResult,
    MatrixRow,
    MeasuredResult,
    PreparedResult,
    ReportResult,
    TrainingResult,
    Verdict,
    VerdictResult,
)
from flywheel_api.round import (
    DropCount,
    EndpointStatus,
    FlywheelRoundStatus,
    RoleTokens,
    ScoreStatus,
    StageCounts,
    StageStatus,
)
from flywheel_api.round_status import RoundScores, SuiteMean
from flywheel_api.stages import Stage
from flywheel_operator.model import Meta
from flywheel_operator.plan import budget, graph

_DROPS_KEPT = 8


def made_by(manifest: Manifest, meta: Meta, status: StageStatus) -> bool:
    """Whether an attempt of this round committed a manifest, itself or through an RLJob of its own."""
    owner = manifest.owner
    if owner.uid == meta.uid:
        return True
    own = {graph.child_of(meta, Stage(status.name), number + 1) for number in range(status.attempt)}
    return owner.kind == RLJOB.kind and owner.name in own


def tokens(known: Sequence[RoleTokens], spent: Mapping[str, int]) -> list[RoleTokens]:
    """A stage's tokens by role, brought up to date.

    They only grow: shards report one after the other, and a lost attempt's tokens were spent all the same.
    """
    most = {entry.role: int(entry.tokens) for entry in known}
    for role, count in spent.items():
        most[role] = max(count, most.get(role, 0))
    return budget.as_list(most)


def counted(manifest: Manifest) -> dict[str, Any]:
    """Fields of a StageStatus that come from its manifest; the most frequent reasons of dropping are kept."""
    counts = manifest.counts
    dropped = sorted(counts.dropped, key=lambda d: (-d.count, d.reason))
    rest = dropped[_DROPS_KEPT - 1 :] if len(dropped) > _DROPS_KEPT else []
    shown = [
        DropCount(reason=d.reason[:64], count=str(d.count)) for d in (dropped[: _DROPS_KEPT - 1] if rest else dropped)
    ]
    if rest:
        shown.append(DropCount(reason="other", count=str(sum(d.count for d in rest))))
    note = manifest.result.note[:512] if isinstance(manifest.result, MeasuredResult) else ""
    return {
        "note": note or None,
        "counts": StageCounts(
            in_=str(counts.in_), out=str(counts.out), dropped=str(sum(d.count for d in counts.dropped))
        ),
        "dropped": shown,
    }


def scores_of(row: MatrixRow, now: MatrixRow) -> RoundScores:
    """A row of the forgetting matrix: only what compares with the newest one, as columns have no mark."""
    kept = {s: v for s, v in row.scores.items() if row.compares(now, s)}
    return RoundScores(round=row.round, scores=[SuiteMean(suite=s, score=decimal(v)) for s, v in kept.items()])


def taken_over(
    done: StageStatus, manifest: Manifest, status: FlywheelRoundStatus, uri: str, progress: Progress | None = None
) -> dict[str, object]:
    """Fields of the round's status that follow from a stage's result. `uri` is where a checkpoint is to be found."""
    match manifest.result:
        case PreparedResult() as result:
            anew = progress.endpoints if progress is not None else []
            by = done.reused_from.name if done.reused_from and not anew else None
            listed = (anew or result.endpoints)[:8]
            endpoints = [EndpointStatus(**dict(found), found_by=by) for found in listed]
            return {"endpoints": endpoints, "domains": result.domains[:32]}
        case ImportedResult() as result:
            return {"base_model": imported(result)}
        case EvaluationResult() as result if done.name == Stage.EVALUATE_BASE:
            scores = base_scores(result)
            return {"scores": scores, "score": column(scores)}
        case EvaluationResult() as result:
            scores = with_candidate(list(status.scores), result)
            return {"scores": scores, "score": column(scores)}
        case VerdictResult() as result:
            scores = judged(result) or list(status.scores)
            found: dict[str, object] = {"scores": scores, "score": column(scores), "verdict": result.verdict}
            found["forgetting"] = [scores_of(row, result.matrix[-1]) for row in result.matrix[-16:]]
            if result.verdict is Verdict.PROMOTED:
                found["model"] = ModelStatus(uri=uri, digest=result.model, step=result.step)
            return found
        case ExportedResult() as result:
            return {"exported": result.uri[:1024]}
        case ReportResult() as result:
            return {"report": result.uri[:1024] or None}
    return {}


def imported(result: ImportedResult) -> ModelStatus:
    """The base model that was imported."""
    return ModelStatus(uri=result.source, digest=result.model)


def reasons(gate: Manifest | None) -> str:
    """Why the gate decided as it did, in its own words."""
    result = gate.result if gate is not None else None
    return "; ".join(result.reasons) if isinstance(result, VerdictResult) else ""


def spent(stages: Mapping[Stage, StageStatus], manifests: Mapping[Stage, Manifest], took: timedelta) -> str:
    """`582 steps, 131.4 GPU-h`; without GPUs the time instead. What a finished round shows as its progress."""
    trained = [manifests[s].result for s in graph.TRAININGS if s in manifests and stages[s].reused_from is None]
    steps = sum(r.made for r in trained if isinstance(r, TrainingResult))
    hours = sum(float(s.gpu_seconds or 0) for s in stages.values()) / 3600
    cost = f"{hours:.1f} GPU-h" if hours else format_duration(timedelta(seconds=int(took.total_seconds())))
    return f"{steps} steps, {cost}" if steps else cost


def with_usage(old: FlywheelRoundStatus, new: FlywheelRoundStatus, now: datetime) -> FlywheelRoundStatus:
    """Usage is brought up to date together with other changes only: time alone writes nothing (law 11)."""
    usage = old.usage.model_copy(update={"tokens": budget.as_list(budget.tokens_used(new.stages))})
    new = new.model_copy(update={"usage": usage})
    if new == old or new.started_at is None or old.finished_at is not None:
        return new
    took = timedelta(seconds=int((now - parse_time(new.started_at)).total_seconds()))
    seconds = sum(budget.stage_seconds(stage, now) for stage in new.stages)
    spent = {"wall_clock": format_duration(took), "gpu_hours": f"{seconds / 3600:.2f}" if seconds else "0"}
    return new.model_copy(update={"usage": usage.model_copy(update=spent)})


def decimal(value: float) -> str:
    """A score as a decimal string of three places."""
    return f"{value:.3f}"


def interval(value: Iterable[float]) -> list[str]:
    """An interval as decimal strings."""
    return [decimal(v) for v in value]


def base_scores(result: EvaluationResult) -> list[ScoreStatus]:
    """Scores after EvaluateBase, in the order of the spec."""
    return [ScoreStatus(suite=s.name, base=decimal(s.score), base_interval=interval(s.interval)) for s in result.suites]


def with_candidate(scores: list[ScoreStatus], result: EvaluationResult) -> list[ScoreStatus]:
    """Scores after EvaluateCandidate; gains come with the gate, which pairs the items."""
    found = []
    for score in scores:
        new = result.suite(score.suite)
        update = {"candidate": decimal(new.score), "candidate_interval": interval(new.interval)} if new else {}
        found.append(score.model_copy(update=update))
    return found


def judged(result: VerdictResult) -> list[ScoreStatus]:
    """Scores as the gate judged them."""
    return [
        ScoreStatus(
            suite=s.suite,
            base=decimal(s.base),
            base_interval=interval(s.base_interval),
            candidate=decimal(s.candidate),
            candidate_interval=interval(s.candidate_interval),
            gain=decimal(s.gain),
            gain_interval=interval(s.gain_interval),
            gate=GateOutcome(s.gate),
        )
        for s in result.suites
    ][:32]


def column(scores: list[ScoreStatus]) -> str | None:
    """`23.8 → 41.2`: percent of the first suite, for `kubectl get`."""
    if not scores or scores[0].base is None:
        return None
    first = scores[0]
    new = f" {float(first.candidate) * 100:.1f}" if first.candidate is not None else ""
    return f"{float(first.base or 0) * 100:.1f} →{new}"
