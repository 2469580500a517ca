"""One held-out item, sampled and scored: a problem with an exact answer, or a task in its environment."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any, Required, TypedDict, Unpack

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import record_id
from flywheel_api.records.evaluation import EvaluationRow
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import Track
from flywheel_api.round import Role
from flywheel_jobs.agentic import drive
from flywheel_jobs.agentic.right import Right
from flywheel_jobs.endpoints.door import TOO_LONG
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.endpoints.llm import CUT, ChatClient
from flywheel_jobs.evaluation.form import form_of
from flywheel_jobs.evaluation.strata import facts_of, strata_of
from flywheel_jobs.reading.thought import kept
from flywheel_jobs.rewards import math

OVERFLOW = "context-overflow"


class Scored(TypedDict, total=False):
    """What a sample came to, as in its row."""

    score: Required[float]
    outcome: str
    expected: str | None
    finish: str
    reason: str
    details: dict[str, float]


@dataclass(frozen=True)
class Item:
    """An item of a suite, to be sampled `repeats` times."""

    suite: str
    record: Problem | Task
    repeats: int

    @property
    def track(self) -> Track:
        """Track of the suite."""
        return Track.REASONING if isinstance(self.record, Problem) else Track.AGENTIC

    @property
    def key(self) -> str:
        """Journal key."""
        return f"{self.suite}/{self.record.id}"

    @property
    def seed(self) -> int:
        """The sampling seed of its first repeat: of the item alone.

        Base, candidate, champion and the models of other rounds then answer with the same numbers.
        """
        said = f"evaluation/{self.suite}/{self.record.content}"
        return int.from_bytes(hashlib.sha256(said.encode()).digest()[:4], "big") >> 1

    def overflow(self, repeat: int, messages: list[dict[str, Any]], expected: str | None) -> EvaluationRow:
        """The row of a conversation that the model's window cannot hold: it did not solve the item."""
        outcome = self.strata.get("outcome") or self.strata.get("family") or "answer"
        return self.row(
            repeat, messages, score=0.0, outcome=outcome, expected=expected, finish="window", reason=OVERFLOW
        )

    @property
    def strata(self) -> dict[str, str]:
        """What its suite can be divided by."""
        return strata_of(self.record)

    def row(self, repeat: int, messages: list[dict[str, Any]], **scored: Unpack[Scored]) -> EvaluationRow:
        """The row of one sample."""
        lineage = self.record.lineage.model_copy(update={"parent_ids": [self.record.id], "operator": "evaluate"})
        return EvaluationRow(
            id=record_id("evaluation", self.suite, self.record.id, repeat, messages),
            lineage=lineage,
            suite=self.suite,
            item=self.record.id,
            content=self.record.content,
            repeat=repeat,
            facts=facts_of(self.record),
            strata=self.strata,
            messages=messages,
            **scored,
        )


async def problem(
    item: Item, of: Problem, policy: ChatClient, temperature: float, max_tokens: int | None, seed: int
) -> list[EvaluationRow]:
    """Repeats of a reasoning problem: success is an exactly right answer; shaping rewards do not count."""
    asked = of.messages()
    try:
        answer = await policy.chat(asked, n=item.repeats, temperature=temperature, max_tokens=max_tokens, seed=seed)
    except RequestRefused as refused:
        _other_than_overflow(refused)
        return [item.overflow(repeat, asked, of.answer) for repeat in range(item.repeats)]
    cuts = [finish in CUT for finish in answer.finish_reasons]
    return [
        item.row(
            repeat,
            [*asked, {"role": "assistant", "content": kept(text, thought)}],
            score=float(math.score(text, of.answer or "", cut=cut)["correct"]),
            outcome=of.family or "answer",
            expected=of.answer,
            finish=finish,
            details=form_of(text, of.answer or "", cut),
        )
        for repeat, (text, finish, cut, thought) in enumerate(
            zip(answer.texts, answer.finish_reasons, cuts, answer.thoughts, strict=True)
        )
    ]


def _other_than_overflow(refused: RequestRefused) -> None:
    """Lets a refusal pass that is not about the length of the model's own conversation."""
    if refused.reason != TOO_LONG or refused.role is not Role.POLICY:
        raise refused


async def task(
    item: Item, of: Task, right: Right, policy: ChatClient, user: ChatClient | None, temperature: float, seed: int
) -> list[EvaluationRow]:
    """Repeats of a task, each in an environment of its own, scored as in training."""

    async def once(repeat: int) -> EvaluationRow:
        turn_seed = (seed + 104729 * repeat) % (1 << 31)
        try:
            episode = await drive.run(of, right, policy, user, temperature=temperature, seed=turn_seed)
        except RequestRefused as refused:
            _other_than_overflow(refused)
            return item.overflow(repeat, of.messages, expected(of))
        done = drive.trajectory(of, episode, Role.POLICY, repeat, of.lineage)
        return item.row(
            repeat,
            episode.messages,
            score=float(done.success),
            outcome=of.outcome,
            expected=expected(of),
            finish=done.closed,
            reason="" if done.success else drive.end_group(done),
            details=done.details,
        )

    return list(await asyncio.gather(*(once(n) for n in range(item.repeats))))


def expected(of: Task) -> str:
    """The right calls, and how each wish ends where it is not simply done."""
    ends = [ending.replace("_", " ") for ending in of.right.endings if ending not in ("done", "replaced")]
    return " then ".join([*(c.name for c in of.right.calls), *ends])
