"""What a round's status takes over when a stage succeeds, and what it sums up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from flywheel_api.artifacts import Manifest
from flywheel_api.base import format_duration, parse_time
from flywheel_api.common import ModelStatus
from flywheel_api.round import FlywheelRoundStatus, StageStatus, UsageStatus
from flywheel_api.stages import Stage
from flywheel_operator.plan import budget, outcome


def results(
    stage: Stage,
    manifest: Manifest,
    suites: list[str],
    status: FlywheelRoundStatus,
    models: Mapping[Stage, ModelStatus],
) -> dict[str, object]:
    """Fields of the round's status that follow from a stage's manifest."""
    if stage is Stage.EVALUATE_BASE:
        scores = outcome.base_scores(manifest, suites)
        return {"scores": scores, "score": outcome.column(scores)}
    if stage is Stage.EVALUATE_CANDIDATE:
        scores = outcome.with_candidate(list(status.scores), manifest)
        return {"scores": scores, "score": outcome.column(scores)}
    if stage is Stage.GATE:
        scores = outcome.judged(manifest) or list(status.scores)
        verdict = str(manifest.details.get("verdict", "Held"))
        model = models.get(Stage.TRAIN_AGENTIC) or models.get(Stage.TRAIN_REASONING)
        found: dict[str, object] = {"scores": scores, "score": outcome.column(scores), "verdict": verdict}
        return found | ({"model": model} if verdict == "Promoted" else {})
    if stage is Stage.REPORT:
        return {"report": str(manifest.details.get("uri", ""))[:1024] or None}
    return {}


def reasons(gate: Manifest) -> str:
    """Why the gate decided as it did, in its own words."""
    said = gate.details.get("reasons")
    return "; ".join(str(reason) for reason in said) if isinstance(said, list) else ""


def spent(stages: Iterable[StageStatus], models: Mapping[Stage, ModelStatus], took: timedelta) -> str:
    """`582 steps, 131.4 GPU-h`; without GPUs the time instead. What a finished round shows as its progress."""
    steps = sum(model.step or 0 for model in models.values())
    hours = sum(float(s.gpu_seconds or 0) for s in stages) / 3600
    cost = f"{hours:.1f} GPU-h" if hours else format_duration(timedelta(seconds=int(took.total_seconds())))
    return f"{steps} steps, {cost}" if steps else cost


def with_usage(old: FlywheelRoundStatus, new: FlywheelRoundStatus, now: datetime) -> FlywheelRoundStatus:
    """Usage is brought up to date together with other changes only: time alone writes nothing (law 11)."""
    seconds = sum(float(s.gpu_seconds or 0) for s in new.stages)
    used = budget.tokens_used(new.stages)
    usage = UsageStatus(
        gpu_hours=f"{seconds / 3600:.2f}" if seconds else "0",
        wall_clock=old.usage.wall_clock,
        tokens=budget.as_list(used),
    )
    new = new.model_copy(update={"usage": usage})
    if new == old or new.started_at is None:
        return new
    if old.finished_at is not None:
        return new
    spent = now - parse_time(new.started_at)
    rounded = timedelta(seconds=int(spent.total_seconds()))
    return new.model_copy(update={"usage": usage.model_copy(update={"wall_clock": format_duration(rounded)})})
