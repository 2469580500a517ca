"""What MeasureReasoning found, and what it cost beside what training costs."""

from __future__ import annotations

from flywheel_api.records.reasoning import Band
from flywheel_api.results import MeasuredResult, TrainingResult
from flywheel_jobs.report.model import Cost, MeasuredView


def measuring(result: MeasuredResult | None, training: TrainingResult | None) -> MeasuredView | None:
    """What the report shows; None where nothing was measured."""
    if result is None or not result.bands:
        return None
    costs = [Cost("measuring variants", result.samples, result.tokens)]
    if training is not None and training.curve:
        counted = [(p.trajectories or 0, (p.prompt_tokens or 0) + (p.response_tokens or 0)) for p in training.curve]
        costs.append(Cost("training", sum(n for n, _ in counted), round(sum(n * tokens for n, tokens in counted))))
    families = sorted(result.families.items(), key=lambda pair: (-pair[1], pair[0]))
    bands = tuple((band.value, result.bands[band]) for band in Band if band in result.bands)
    return MeasuredView(bands, tuple(families), result.note, tuple(costs))
