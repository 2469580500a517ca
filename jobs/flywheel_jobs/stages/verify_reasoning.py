"""VerifyReasoning: consistency labels by independent solutions, after dedup and decontamination (docs/method.md).

The Solver answers each candidate `votes` times with different seeds; `agree` equal final answers make the label. Writes
verified.jsonl and votes.jsonl (every vote of every candidate that was voted on, agreed or not).
"""

from __future__ import annotations

from collections import Counter

from flywheel_api.records.reasoning import Problem, Vote
from flywheel_api.results import VerifiedResult
from flywheel_api.round import Role, VerificationSpec
from flywheel_api.stages import Stage
from flywheel_jobs.evaluation.suites import reasoning_items
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.dedup import Contamination, Duplicates
from flywheel_jobs.rewards import math


async def run(ctx: StageContext) -> StageResult:
    """Candidates with the answer that enough votes agree on, and all votes."""
    rules = ctx.reasoning.verification
    candidates = ctx.records(Stage.SYNTHESIZE_REASONING, "candidates.jsonl", Problem)
    contamination = Contamination(reasoning_items(ctx), ctx.reasoning.dedup.decontamination_ngram)
    distinct = screen(ctx, candidates, contamination)
    solver = ctx.llm(Role.SOLVER)

    async def vote(problem: Problem) -> Vote:
        seeds = [ctx.seed("vote", problem.id, i) for i in range(rules.votes)]
        messages = roles.solver_messages(problem.question)
        asked = await solver.chat(messages, seeds=seeds)
        return count_votes(problem, asked.texts, seeds, solver.endpoint.model, rules)

    votes = await ctx.map_items(distinct, lambda p: p.id, vote, Vote, text="voting on answers")
    verified = []
    for problem in distinct:
        if problem.id not in votes:
            continue
        label, reason = labelled(problem, votes[problem.id], contamination)
        if label is None:
            ctx.dropped[reason] += 1
        else:
            verified.append(label)
    agreed = sum(v.agreed for v in votes.values())
    return StageResult(
        VerifiedResult(),
        [
            OutputFile.of("verified.jsonl", Problem, verified),
            OutputFile.of("votes.jsonl", Vote, [votes[p.id] for p in distinct if p.id in votes]),
        ],
        counts=ctx.counts(len(verified)),
        metrics={"agreement": agreed / len(votes) if votes else 0.0},
    )


def screen(ctx: StageContext, candidates: list[Problem], contamination: Contamination) -> list[Problem]:
    """Candidates worth a vote: no repeat of a seed or of each other, nothing of a suite; drops are counted."""
    duplicates = Duplicates(float(ctx.reasoning.dedup.minhash_threshold))
    for seed in ctx.records(Stage.PREPARE, "seeds/reasoning.jsonl", Problem):
        duplicates.add(seed)
    kept = []
    for problem in candidates:
        reason = contamination.reason(problem) or duplicates.add(problem)
        if reason:
            ctx.dropped[reason] += 1
        else:
            kept.append(problem)
    return kept


def count_votes(problem: Problem, texts: list[str], seeds: list[int], model: str, rules: VerificationSpec) -> Vote:
    """The votes on a candidate; an empty answer never counts for anything."""
    answers = [math.final_answer(t) for t in texts]
    forms = [math.normalise(a) for a in answers]
    best, count = max(Counter(f for f in forms if f).items(), key=lambda item: item[1], default=("", 0))
    agreed = count >= rules.agree
    return Vote(
        id=f"vote-{problem.id}",
        lineage=problem.lineage.model_copy(update={"parent_ids": [problem.id], "operator": "vote"}),
        problem_id=problem.id,
        answers=[a[:256] for a in answers],
        normalised=forms,
        seeds=seeds,
        model=model,
        agreed=agreed,
        answer=best if agreed else None,
    )


def labelled(problem: Problem, vote: Vote, contamination: Contamination) -> tuple[Problem | None, str]:
    """The problem with its label, or None and why not."""
    if not vote.agreed or vote.answer is None:
        return None, "votes-disagree" if any(vote.normalised) else "no-answer"
    if math.value_of(vote.answer) is None and vote.answer[:1] not in "{([":
        return None, "answer-not-checkable"
    label = problem.model_copy(update={"answer": vote.answer})
    reason = contamination.reason(label)
    return (None, reason) if reason else (label, "")
