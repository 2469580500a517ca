"""Labels by consistency: independent solutions of a candidate, and what they agree on (docs/method.md, "Verification").

No label comes from the writer of a variant, or from the problem that it was made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flywheel_api.records.reasoning import Problem, Vote
from flywheel_api.round import Role, VerificationSpec
from flywheel_jobs.endpoints.llm import CUT
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.reading import final
from flywheel_jobs.reading.equality import checkable, equal, normal_form
from flywheel_jobs.reading.kinds import Kind
from flywheel_jobs.reading.values import read
from flywheel_jobs.reasoning import roles
from flywheel_jobs.reasoning.dedup import Contamination, Duplicates
from flywheel_jobs.reasoning.truths import IN_QUESTION, NOT_CHECKABLE, gives_itself_away


@dataclass(frozen=True)
class Ballot:
    """What one solution came as: its text, how it ended, and the endpoint's id of it (empty where it gives none)."""

    text: str
    finish: str = "stop"
    completion: str = ""


class Labeller:
    """Candidates in, those with a label out; it knows every problem that it was shown, so that none comes twice."""

    def __init__(self, ctx: StageContext, known: Iterable[Problem], contamination: Contamination) -> None:
        self._ctx, self._contamination = ctx, contamination
        self._duplicates = Duplicates(float(ctx.reasoning.dedup.minhash_threshold))
        self.votes: list[Vote] = []
        for problem in known:
            self._duplicates.add(problem)

    async def label(self, candidates: Iterable[Problem], phase: str = "items") -> list[Problem]:
        """Candidates that are new, stand in no suite, and whose votes agree; the others are counted."""
        distinct = self._screen(candidates)
        votes = await self._vote(distinct, phase)
        self.votes += [votes[p.id] for p in distinct if p.id in votes]
        found = []
        for problem in distinct:
            if problem.id not in votes:
                continue
            label, reason = labelled(problem, votes[problem.id], self._contamination)
            if label is None:
                self._ctx.dropped[reason] += 1
            else:
                found.append(label)
        return found

    def _screen(self, candidates: Iterable[Problem]) -> list[Problem]:
        kept = []
        for problem in candidates:
            reason = self._contamination.reason(problem) or self._duplicates.add(problem)
            if reason:
                self._ctx.dropped[reason] += 1
            else:
                kept.append(problem)
        return kept

    async def _vote(self, problems: Sequence[Problem], phase: str) -> dict[str, Vote]:
        ctx, rules, solver = self._ctx, self._ctx.reasoning.verification, self._ctx.llm(Role.SOLVER)

        async def vote(problem: Problem) -> Vote:
            seeds = [ctx.seed("vote", problem.id, i) for i in range(rules.votes)]
            asked = await solver.chat(roles.solver_messages(problem.question, problem.context), seeds=seeds)
            ballots = [Ballot(*one) for one in zip(asked.texts, asked.finish_reasons, asked.ids, strict=True)]
            return count_votes(problem, ballots, seeds, solver.endpoint.model, rules)

        return await ctx.map_items(problems, lambda p: p.id, vote, Vote, phase, "voting on answers")


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
    shown = next(b.text for b, a in zip(ballots, answers, strict=True) if a.text == agreeing[0]) if agreed else ""
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
        solution=shown,
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
