"""EvaluateCandidate: the trained model on the same items, by the same code as the base."""

from __future__ import annotations

from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation.runner import evaluate
from flywheel_jobs.harness.context import StageContext, StageResult


async def run(ctx: StageContext) -> StageResult:
    """Scores of the trained model. Raises ValidationFailure when training committed none."""
    if not ctx.config.candidate_model:
        raise ValidationFailure("EvaluateCandidate was given no candidateModel: training committed none")
    return await evaluate(ctx, ctx.config.candidate_model)
