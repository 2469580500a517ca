"""MineReasoning: what the served policy fails at (docs/method.md, "Mining").

Samples every seed problem n times, bands it by pass rate, and sends `hard` and `frontier` problems on; `solved` ones
are dropped and counted. Writes mined.jsonl and samples.jsonl (every sample of every problem). Problems that the base
round trained on and still failed come first: its rollouts are kept for that.
"""

from __future__ import annotations

from flywheel_api.records.base import PassRate
from flywheel_api.records.reasoning import Band, Problem, Sample
from flywheel_api.results import MinedResult
from flywheel_api.round import MiningSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic.drive import CUT
from flywheel_jobs.evaluation.suites import reasoning_items
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reading import thought
from flywheel_jobs.reasoning.dedup import Contamination
from flywheel_jobs.reasoning.rollouts import failed_problems
from flywheel_jobs.rewards import math
from flywheel_jobs.storage.datasets import read_rollouts


async def run(ctx: StageContext) -> StageResult:
    """Problems with the policy's pass rate and band, and every sample that these come from."""
    mining = ctx.reasoning.mining
    problems = choose(ctx)
    policy = ctx.llm(Role.POLICY)

    async def sample(problem: Problem) -> Sample:
        answer = await policy.chat(
            problem.messages(),
            n=mining.samples,
            temperature=float(mining.temperature),
            max_tokens=mining.max_response_tokens,
            seed=ctx.seed("sample", problem.id),
        )
        return score(problem, list(map(thought.kept, answer.texts, answer.thoughts)), answer.finish_reasons)

    samples = await ctx.map_items(problems, lambda p: p.id, sample, Sample, text="sampling the policy")
    mined = [banded(p, samples[p.id], mining) for p in problems if p.id in samples]
    kept = [p for p in mined if p.band is not Band.SOLVED]
    ctx.dropped["solved"] += len(mined) - len(kept)
    bands = {band.value: sum(p.band is band for p in mined) for band in Band}
    rates = [p.policy_pass.rate for p in mined if p.policy_pass]
    return StageResult(
        MinedResult(bands=bands),
        [
            OutputFile.of("mined.jsonl", Problem, kept),
            OutputFile.of("samples.jsonl", Sample, [samples[p.id] for p in problems if p.id in samples]),
        ],
        counts=ctx.counts(len(kept)),
        metrics={"passRate": sum(rates) / len(rates) if rates else 0.0},
    )


def choose(ctx: StageContext) -> list[Problem]:
    """At most maxProblems different problems to sample: failures of the base round's training first, then seeds.

    Seeds were cleaned in Prepare; a failure of an earlier round may be an item of a suite that is new in this one.
    """
    contamination = Contamination(reasoning_items(ctx), ctx.reasoning.dedup.decontamination_ngram)
    found: dict[str, Problem] = {}
    for digest in ctx.config.previous_rollouts:
        for problem in failed_problems(read_rollouts(ctx.store, digest)):
            reason = contamination.reason(problem)
            if reason:
                ctx.dropped[reason] += 1
            else:
                found.setdefault(problem.id, problem)
    for problem in ctx.records(Stage.PREPARE, "seeds/reasoning.jsonl", Problem):
        found.setdefault(problem.id, problem)
    return list(found.values())[: ctx.reasoning.mining.max_problems]


def score(problem: Problem, texts: list[str], finishes: list[str]) -> Sample:
    """The samples of a problem with their scores."""
    ended = zip(texts, finishes, strict=True)
    scored = [math.score(text, problem.answer or "", cut=finish in CUT) for text, finish in ended]
    return Sample(
        id=f"sample-{problem.id}",
        lineage=problem.lineage.model_copy(update={"parent_ids": [problem.id], "operator": "sample"}),
        problem_id=problem.id,
        texts=texts,
        scores=[s["score"] for s in scored],
        correct=[s["correct"] for s in scored],
    )


def banded(problem: Problem, sample: Sample, mining: MiningSpec) -> Problem:
    """The problem with its pass rate and band."""
    passed = PassRate(n=len(sample.correct), k=sum(sample.correct))
    return problem.model_copy(update={"policy_pass": passed, "band": band_of(passed.rate, mining)})


def band_of(rate: float, mining: MiningSpec) -> Band:
    """`hard` up to frontierAbove, `frontier` above it up to frontierUpTo, `solved` beyond."""
    if rate <= float(mining.frontier_above):
        return Band.HARD
    return Band.FRONTIER if rate <= float(mining.frontier_up_to) else Band.SOLVED
