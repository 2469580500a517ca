"""VerifyReasoning: consistency labels by independent solutions, after dedup and decontamination (docs/method.md).

The Solver answers each candidate `votes` times with different seeds; `agree` equal final answers, and more than half of
all, make the label. Writes verified.jsonl and votes.jsonl (every vote of every candidate that was voted on, agreed or
not).
"""

from __future__ import annotations

from flywheel_api.records.reasoning import Problem, Vote
from flywheel_api.results import VerifiedResult
from flywheel_api.stages import Stage
from flywheel_jobs.evaluation.suites import reasoning_items
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning.dedup import Contamination
from flywheel_jobs.reasoning.labels import Labeller


async def run(ctx: StageContext) -> StageResult:
    """Candidates with the answer that enough votes agree on, and all votes."""
    candidates = ctx.records(Stage.SYNTHESIZE_REASONING, "candidates.jsonl", Problem)
    contamination = Contamination(reasoning_items(ctx), ctx.reasoning.dedup.decontamination_ngram)
    labeller = Labeller(ctx, ctx.records(Stage.PREPARE, "seeds/reasoning.jsonl", Problem), contamination)
    verified = await labeller.label(candidates)
    agreed = sum(v.agreed for v in labeller.votes)
    return StageResult(
        VerifiedResult(),
        [OutputFile.of("verified.jsonl", Problem, verified), OutputFile.of("votes.jsonl", Vote, labeller.votes)],
        counts=ctx.counts(len(verified)),
        metrics={"agreement": agreed / len(labeller.votes) if labeller.votes else 0.0},
    )
