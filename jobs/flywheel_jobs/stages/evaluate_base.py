"""EvaluateBase: the base model on the round's held-out suites."""

from __future__ import annotations

from flywheel_jobs.evaluation.runner import evaluate
from flywheel_jobs.harness.context import StageContext, StageResult


async def run(ctx: StageContext) -> StageResult:
    """Scores of the base model, which the gate measures the gain from."""
    return await evaluate(ctx, ctx.config.base_model)
