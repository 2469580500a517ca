"""One held-out item, sampled: with which seeds, and what a conversation that outgrows the window is worth."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

import pytest

from flywheel_api.common import Role
from flywheel_api.records.agentic import Task
from flywheel_api.records.reasoning import Problem
from flywheel_jobs.agentic import shelves
from flywheel_jobs.core.errors import ItemDropped, ValidationFailure
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.endpoints.llm import ChatResult
from flywheel_jobs.evaluation import runner
from flywheel_jobs.evaluation.items import OVERFLOW, Item
from flywheel_jobs.evaluation.strata import facts_of, strata_of
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.seeds import numeracy
from unit.agentic import world

PROBLEM = numeracy.suite(random.Random(1), 1)[0]


class Policy:
    """Answers with one text and keeps the seeds; or is refused."""

    def __init__(self, text: str = "", refused: RequestRefused | None = None) -> None:
        self.text, self.refused, self.seeds = text, refused, list[int]()
        self.endpoint = type("Endpoint", (), {"max_tokens": 64})

    async def chat(self, _messages: object, n: int = 1, seed: int = 0, **_more: object) -> ChatResult:
        self.seeds.append(seed)
        if self.refused is not None:
            raise self.refused
        return ChatResult([self.text] * n, ["stop"] * n, [""] * n, [str(k) for k in range(n)])


class Context:
    """What `runner.sample` asks of a stage; another round seed and stage must change nothing."""

    def __init__(self, policy: Policy, stage: str = "EvaluateBase", seed: int = 0) -> None:
        self.policy, self.stage, self.number = policy, stage, seed
        self.spec = type(
            "Spec", (), {"seed": seed, "reasoning": None, "evaluation": type("E", (), {"temperature": "0.8"})}
        )

    def llm(self, _role: Role) -> Policy:
        return self.policy

    def seed(self, *parts: object) -> int:
        return hash((self.stage, self.number, parts)) & 0x7FFFFFFF


def sampled(item: Item, policy: Policy, **context: Any) -> list[Any]:
    ctx = cast(StageContext, Context(policy, **context))
    shelves._SHELVES[ctx] = world.shelf()
    return asyncio.run(runner.sample(ctx, item))


def test_base_candidate_and_champion_answer_with_the_same_seeds() -> None:
    seeds = set()
    for stage, seed in (("EvaluateBase", 0), ("EvaluateCandidate", 0), ("EvaluateCandidate", 7)):
        policy = Policy("7")
        sampled(Item("s", PROBLEM, 2), policy, stage=stage, seed=seed)
        seeds.update(policy.seeds)
    assert len(seeds) == 1
    other = Policy("7")
    sampled(Item("s", PROBLEM.model_copy(update={"question": "1 plus 1"}), 2), other)
    sampled(Item("t", PROBLEM, 2), other)
    assert len({*seeds, *other.seeds}) == 3


@pytest.mark.parametrize("record", [PROBLEM, None], ids=["problem", "task"])
def test_a_conversation_beyond_the_window_is_a_failure_of_the_model(record: Problem | None) -> None:
    item = Item("s", record or task(), 3)
    rows = sampled(item, Policy(refused=RequestRefused("too-long", "maximum context", Role.POLICY)))
    assert [(r.score, r.reason, r.finish, r.repeat) for r in rows] == [(0.0, OVERFLOW, "window", n) for n in range(3)]
    score = runner.summary("s", [item], rows, 0.95)
    assert (score.score, score.lost, score.reasons) == (0.0, 0, {OVERFLOW: 3})
    for refused in (RequestRefused("filtered", "", Role.POLICY), RequestRefused("too-long", "", Role.USER_SIMULATOR)):
        with pytest.raises(ItemDropped):
            sampled(item, Policy(refused=refused))
    with pytest.raises(ValidationFailure, match="lost 1 of 1 items"):
        runner.summary("s", [item], [], 0.95)


def task() -> Task:
    return world.task()


def test_wordings_of_a_case_share_its_facts() -> None:
    def facts(question: str, *values: int, family: str = "add") -> str:
        typed = {"family": family, "values": list(values)}
        return facts_of(Problem(id=question, question=question, answer="7", family=family, typed=typed))

    assert facts("3 plus 4", 3, 4) == facts("4+3 is", 4, 3) != facts("3 plus 5", 3, 5)
    assert facts("3 plus 4", 3, 4) != facts("3 times 4", 3, 4, family="mul")
    own = [Problem(id="x", question=q, answer="7") for q in ("a?", "b?")]
    assert facts_of(own[0]) != facts_of(own[1])
    one = task()
    again = one.model_copy(update={"messages": [{"role": "user", "content": "other words"}]})
    assert facts_of(one) == facts_of(again)
    assert strata_of(one) == {"outcome": one.outcome, "kind": "normal"}
    assert strata_of(PROBLEM) == {"family": "add", "level": "1"} and strata_of(own[0]) == {}


def test_tasks_about_the_same_rows_of_a_world_share_their_facts_and_others_do_not() -> None:
    """Two wishes about one booking move together; two bookings of one world are drawn as if from two worlds."""

    def facts(*proof: str, **case: Any) -> str:
        one = task()
        right = one.right.model_copy(update={"proof": list(proof)})
        return facts_of(one.model_copy(update={"right": right, "case": one.case | case}))

    one = facts("bookings/5/fare")
    assert one == facts("bookings/5/owner", "bookings/5/fare", wants=[{"wish": "another"}])
    assert one == facts("bookings/5/fare", "bookings/*/owner=P5"), "a table that was searched is no row of their own"
    assert one not in (facts("bookings/6/fare"), facts("bookings/5/fare", seed=7))
    assert facts() == facts(persona="other") != facts(wants=[{"wish": "another"}]), "without rows, what is asked"


def test_repeats_are_read_strictly_and_leniently() -> None:
    item = Item("s", PROBLEM, 2)
    rows = sampled(item, Policy(f"that makes {PROBLEM.answer}"))
    form = runner.summary("s", [item], rows, 0.95).form
    assert [r.score for r in rows] == [0.0, 0.0] and form is not None
    assert (form.format_rate, form.lenient) == (0.0, 1.0)
