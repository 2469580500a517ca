"""VerifyReasoning: consistency labels by independent solutions, after dedup and decontamination (docs/method.md).

The Solver answers each candidate `votes` times with different seeds; `agree` equal final answers, and more than half of
all, make the label. Writes verified.jsonl and votes.jsonl (every vote of every candidate that was voted on, agreed or
not).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.records.reasoning import Problem, Vote
from flywheel_api.results import VerifiedResult
from flywheel_api.round import Role, VerificationSpec
from flywheel_api.stages import Stage
from flywheel_jobs.agentic.drive import CUT
from flywheel_jobs.evaluation.suites import reasoning_items
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reading import final
from flywheel_jobs.reading.equality import checkable, equal, normal_form
from flywheel_jobs.reading.values import Kind, read
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.dedup import Contamination, Duplicates
from flywheel_jobs.reasoning.truths import IN_QUESTION, NOT_CHECKABLE, gives_itself_away


@dataclass(frozen=True)
class Ballot:
    """What one solution came as: its text, how it ended, and the endpoint's id of it (empty where it gives none)."""

    text: str
    finish: str = "stop"
    completion: str = ""


async def run(ctx: StageContext) -> StageResult:
    """Candidates with the answer that enough votes agree on, and all votes."""
    rules = ctx.reasoning.verification
    candidates = ctx.records(Stage.SYNTHESIZE_REASONING, "candidates.jsonl", Problem)
    contamination = Contamination(reasoning_items(ctx), ctx.reasoning.dedup.decontamination_ngram)
    distinct = screen(ctx, candidates, contamination)
    solver = ctx.llm(Role.SOLVER)

    async def vote(problem: Problem) -> Vote:
        seeds = [ctx.seed("vote", problem.id, i) for i in range(rules.votes)]
        asked = await solver.chat(roles.solver_messages(problem.question, problem.context), seeds=seeds)
        ballots = [Ballot(*one) for one in zip(asked.texts, asked.finish_reasons, asked.ids, strict=True)]
        return count_votes(problem, ballots, seeds, solver.endpoint.model, rules)

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


def count_votes(
    problem: Problem, ballots: Sequence[Ballot], seeds: list[int], model: str, rules: VerificationSpec
) -> Vote:
    """The votes on a candidate: a label needs `agree` of them, and more than half of all that were asked.

    What counts is readable (marked as the final answer or nothing but a value; understood; no refusal; not cut off) and
    a completion of its own: answers of one id came from a cache.
    """
    answers = [final.find(b.text) for b in ballots]
    seen: set[str] = set()
    readable: list[str] = []
    for ballot, answer in zip(ballots, answers, strict=True):
        fresh = not ballot.completion or ballot.completion not in seen
        seen.add(ballot.completion)
        value = read(answer.text)
        stated = answer.marked or value.kind not in (Kind.WORDS, Kind.SCALAR)
        if fresh and stated and ballot.finish not in CUT and checkable(answer.text):
            readable.append(answer.text)
    agreeing = max(camps(readable), key=len, default=[])
    agreed = len(agreeing) >= rules.agree and 2 * len(agreeing) > len(ballots)
    return Vote(
        id=f"vote-{problem.id}",
        lineage=problem.lineage.model_copy(update={"parent_ids": [problem.id], "operator": "vote"}),
        problem_id=problem.id,
        answers=[a.text[:256] for a in answers],
        normalised=[normal_form(a) for a in readable],
        seeds=seeds,
        model=model,
        agreed=agreed,
        answer=normal_form(agreeing[0]) if agreed else None,
        completions=[b.completion for b in ballots],
    )


def camps(answers: Sequence[str]) -> list[list[str]]:
    """Answers in groups that all equal one another."""
    found: list[list[str]] = []
    for answer in answers:
        camp = next((c for c in found if all(equal(answer, other) for other in c)), None)
        if camp is None:
            found.append([answer])
        else:
            camp.append(answer)
    return found


def labelled(problem: Problem, vote: Vote, contamination: Contamination) -> tuple[Problem | None, str]:
    """The problem with its label, or None and why not."""
    if not vote.agreed or vote.answer is None:
        refused = all(not a or read(a).kind is Kind.REFUSAL for a in vote.answers)
        return None, "votes-disagree" if vote.normalised else "no-answer" if refused else NOT_CHECKABLE
    if not checkable(vote.answer):
        return None, NOT_CHECKABLE
    label = problem.model_copy(update={"answer": vote.answer})
    reason = IN_QUESTION if gives_itself_away(label) else contamination.reason(label)
    return (None, reason) if reason else (label, "")
