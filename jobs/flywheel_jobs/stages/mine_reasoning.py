"""MineReasoning: what the served policy fails at (docs/method.md, "Mining").

Samples every problem n times and bands it by pass rate. Problems are seeds, and up to a share of what earlier rounds
left: their rollouts propose, the samples of now decide. Writes mined.jsonl (`hard` and `frontier` ones, which variants
are made of), solved.jsonl, samples.jsonl (every sample of every problem), and for MeasureReasoning pool.jsonl and
known.jsonl, what the campaign's earlier rounds left.
"""

from __future__ import annotations

import asyncio
import math

from flywheel_api.records.reasoning import Band, Problem, Sample
from flywheel_api.results import MinedResult
from flywheel_api.stages import Stage
from flywheel_jobs.evaluation.suites import reasoning_items
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning.bands import limits_of, sampled, tally
from flywheel_jobs.reasoning.dedup import Contamination
from flywheel_jobs.reasoning.past import TRAINED_BEFORE, Past, past


async def run(ctx: StageContext) -> StageResult:
    """Problems with the policy's pass rate and band, and every sample that these come from."""
    limits = limits_of(ctx.spec, ctx.config.number)
    before = await asyncio.to_thread(past, ctx)
    carried, fresh = choose(ctx, before)
    problems = [*carried, *fresh]
    samples = await sampled(ctx, problems, ctx.reasoning.mining.samples)
    tried = [limits.banded(p, samples[p.id]) for p in problems if p.id in samples]
    kept = [p for p in tried if p.band is not Band.SOLVED]
    solved = [p for p in tried if p.band is Band.SOLVED]
    ctx.dropped["solved"] += len(solved)
    rates = [p.policy_pass.rate for p in tried if p.policy_pass]
    return StageResult(
        MinedResult(bands=tally(tried), low=limits.low, high=limits.high, carried=len(carried)),
        [
            OutputFile.of("mined.jsonl", Problem, kept),
            OutputFile.of("solved.jsonl", Problem, solved),
            OutputFile.of("samples.jsonl", Sample, [samples[p.id] for p in tried]),
            *before.files(),
        ],
        counts=ctx.counts(len(kept)),
        metrics={"passRate": sum(rates) / len(rates) if rates else 0.0},
    )


def choose(ctx: StageContext, before: Past) -> tuple[list[Problem], list[Problem]]:
    """At most maxProblems different problems to sample: what earlier rounds left, and seeds, `freshShare` at least.

    Seeds were cleaned in Prepare; what an earlier round left may be an item of a suite that is new in this one. A seed
    that an earlier round trained on comes back as replay or not at all.
    """
    most, dropped = ctx.reasoning.mining.max_problems, ctx.dropped
    contamination = Contamination(reasoning_items(ctx), ctx.reasoning.dedup.decontamination_ngram)
    carried: dict[str, Problem] = {}
    limit = most - math.ceil(float(ctx.reasoning.fresh_share) * most)
    for problem in before.proposed():
        reason = contamination.reason(problem)
        if reason:
            dropped[reason] += 1
        elif len(carried) < limit:
            carried.setdefault(problem.id, problem)
    trained = before.trained
    fresh: dict[str, Problem] = {}
    for problem in ctx.records(Stage.PREPARE, "seeds/reasoning.jsonl", Problem):
        if problem.content in trained:
            dropped[TRAINED_BEFORE] += 1
        elif problem.id not in carried:
            fresh.setdefault(problem.id, problem)
    return list(carried.values()), list(fresh.values())[: most - len(carried)]
