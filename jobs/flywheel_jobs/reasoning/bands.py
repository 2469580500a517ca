"""Measured difficulty of problems: samples of the served policy, the pass rate that they give, and its band."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flywheel_api.presets import band
from flywheel_api.records.base import PassRate
from flywheel_api.records.reasoning import Band, Problem, Sample
from flywheel_api.round import FlywheelRoundSpec, Role
from flywheel_jobs.endpoints.llm import CUT
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.reading import thought
from flywheel_jobs.rewards import math


@dataclass(frozen=True)
class Limits:
    """The band that a round trains on. Rates of 0 and 1 are outside always: equal rewards have no gradient."""

    low: float
    high: float

    def band(self, rate: float) -> Band:
        """Where a pass rate lies."""
        if rate <= 0 or rate < self.low:
            return Band.HARD
        return Band.SOLVED if rate >= 1 or rate > self.high else Band.FRONTIER

    def banded(self, problem: Problem, sample: Sample) -> Problem:
        """The problem with its pass rate and band."""
        passed = PassRate(n=len(sample.correct), k=sum(sample.correct))
        return problem.model_copy(update={"policy_pass": passed, "band": self.band(passed.rate)})


def limits_of(spec: FlywheelRoundSpec, number: int) -> Limits:
    """The limits of a round by its number in its campaign, as it or its preset states them."""
    low, high = band(spec, number)
    return Limits(float(low), float(high))


async def sampled(ctx: StageContext, problems: Sequence[Problem], n: int, phase: str = "items") -> dict[str, Sample]:
    """`n` answers of the policy to each problem, by its id: the one way in which the reasoning track is sampled."""
    mining, policy = ctx.reasoning.mining, ctx.llm(Role.POLICY)

    async def sample(problem: Problem) -> Sample:
        answer = await policy.chat(
            problem.messages(),
            n=n,
            temperature=float(mining.temperature),
            max_tokens=mining.max_response_tokens,
            seed=ctx.seed("sample", problem.id),
        )
        return scored(problem, list(map(thought.kept, answer.texts, answer.thoughts)), answer.finish_reasons)

    return await ctx.map_items(problems, lambda p: p.id, sample, Sample, phase, "sampling the policy")


async def measured(
    ctx: StageContext, problems: Sequence[Problem], n: int, limits: Limits, phase: str
) -> tuple[list[Problem], list[Sample]]:
    """The problems with pass rates and bands, and their samples; those that could not be sampled are counted."""
    samples = await sampled(ctx, problems, n, phase)
    kept = [p for p in problems if p.id in samples]
    return [limits.banded(p, samples[p.id]) for p in kept], [samples[p.id] for p in kept]


def scored(problem: Problem, texts: list[str], finishes: list[str]) -> Sample:
    """The samples of a problem with their scores."""
    ended = zip(texts, finishes, strict=True)
    scores = [math.score(text, problem.answer or "", cut=finish in CUT) for text, finish in ended]
    return Sample(
        id=f"sample-{problem.id}",
        lineage=problem.lineage.model_copy(update={"parent_ids": [problem.id], "operator": "sample"}),
        problem_id=problem.id,
        texts=texts,
        scores=[s["score"] for s in scores],
        correct=[s["correct"] for s in scores],
    )


def tally(problems: Iterable[Problem]) -> dict[str, int]:
    """Problems by band."""
    found = Counter(p.band for p in problems)
    return {band.value: found[band] for band in Band}
