"""MineReasoning: what the served policy fails at (docs/method.md, "Mining").

Samples every seed problem n times, bands it by pass rate, and sends `hard` and `frontier` problems on; `solved` ones
are dropped and counted. Writes mined.jsonl and samples.jsonl (every sample of every problem). Problems that the base
round trained on and still failed come first: its rollouts are kept for that.
"""

from __future__ import annotations

from typing import Any, Literal

from flywheel_api.artifacts import ManifestKind
from flywheel_api.round import MiningSpec
from flywheel_jobs.evaluation.suites import reasoning_items
from flywheel_jobs.harness.runner import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning.dedup import Contamination
from flywheel_jobs.reasoning.rollouts import failed_problems
from flywheel_jobs.records import PROBLEM_SCHEMA, SAMPLE_SCHEMA, PassRate, ReasoningProblem, Sample
from flywheel_jobs.rewards import math

Band = Literal["hard", "frontier", "solved"]


async def run(ctx: StageContext) -> StageResult:
    """See the module."""
    assert ctx.spec.reasoning is not None
    mining = ctx.spec.reasoning.mining
    problems = choose(ctx)
    policy = ctx.llm("Policy")

    async def sample(problem: ReasoningProblem) -> dict[str, Any]:
        answer = await policy.chat(
            problem.messages(),
            n=mining.samples,
            temperature=float(mining.temperature),
            max_tokens=mining.max_response_tokens,
            seed=ctx.seed("sample", problem.id),
        )
        return score(problem, answer.texts).dump()

    sampled = await ctx.map_items(problems, lambda p: p.id, sample, text="sampling the policy")
    samples = {key: Sample.model_validate(value) for key, value in sampled.items()}
    mined = [banded(p, samples[p.id], mining) for p in problems if p.id in samples]
    kept = [p for p in mined if p.band != "solved"]
    ctx.dropped["solved"] += len(mined) - len(kept)
    bands = {band: sum(p.band == band for p in mined) for band in ("hard", "frontier", "solved")}
    rates = [p.policy_pass.rate for p in mined if p.policy_pass]
    return StageResult(
        ManifestKind.DATASET,
        [
            OutputFile("mined.jsonl", [p.dump() for p in kept], PROBLEM_SCHEMA),
            OutputFile("samples.jsonl", [samples[p.id].dump() for p in problems if p.id in samples], SAMPLE_SCHEMA),
        ],
        counts=ctx.counts(len(kept)),
        metrics={"passRate": sum(rates) / len(rates) if rates else 0.0},
        details={"bands": bands},
    )


def choose(ctx: StageContext) -> list[ReasoningProblem]:
    """Problems to sample: failures of the base round's training first, then seeds; without repeats, at most
    maxProblems.

    Seeds were cleaned in Prepare; a failure of an earlier round may be an item of a suite that is new in this one.
    """
    assert ctx.spec.reasoning is not None
    contamination = Contamination(reasoning_items(ctx), ctx.spec.reasoning.dedup.decontamination_ngram)
    found: dict[str, ReasoningProblem] = {}
    for digest in ctx.config.previous_rollouts:
        for problem in failed_problems(ctx.store, digest):
            reason = contamination.reason(problem.question, problem.answer)
            if reason:
                ctx.dropped[reason] += 1
            else:
                found.setdefault(problem.id, problem)
    for value in ctx.records("Prepare", "seeds/reasoning.jsonl"):
        problem = ReasoningProblem.model_validate(value)
        found.setdefault(problem.id, problem)
    return list(found.values())[: ctx.spec.reasoning.mining.max_problems]


def score(problem: ReasoningProblem, texts: list[str]) -> Sample:
    """The samples of a problem with their scores."""
    scored = [math.score(text, problem.answer or "") for text in texts]
    return Sample(
        id=f"sample-{problem.id}",
        lineage=problem.lineage.model_copy(update={"parent_ids": [problem.id], "operator": "sample"}),
        problem_id=problem.id,
        texts=texts,
        scores=[s["score"] for s in scored],
        correct=[s["correct"] for s in scored],
    )


def banded(problem: ReasoningProblem, sample: Sample, mining: MiningSpec) -> ReasoningProblem:
    """The problem with its pass rate and band."""
    passed = PassRate(n=len(sample.correct), k=sum(sample.correct))
    return problem.model_copy(update={"policy_pass": passed, "band": band_of(passed.rate, mining)})


def band_of(rate: float, mining: MiningSpec) -> Band:
    """`hard` up to frontierAbove, `frontier` above it up to frontierUpTo, `solved` beyond."""
    if rate <= float(mining.frontier_above):
        return "hard"
    return "frontier" if rate <= float(mining.frontier_up_to) else "solved"
