"""What turns the flywheel: held-out suites, balance, the stand-in's scripts, and the way from one round to the next."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from flywheel_api.records.agentic import Seed, Task, TreeRecord, Workflow
from flywheel_api.records.base import Lineage
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Track
from flywheel_api.round import AcceptanceSpec, Role
from flywheel_jobs.agentic import accept, balance, drive, expansion, heldout, rounds, tree
from flywheel_jobs.agentic.inversion import INVERT, UserText, build_task, case_of, text_problems
from flywheel_jobs.core.errors import ItemDropped, ValidationFailure
from flywheel_jobs.endpoints.llm import ChatResult
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.seeds import personas
from flywheel_jobs.stages.seed_agentic import most_mixed
from flywheel_standin import agentic as script
from flywheel_standin.protocol import ChatRequest
from unit.agentic.world import AIRLINE, ANN, KEY, LOCKED, TRAP, WITHHELD, branch, task


class Scripted:
    """A client whose answers come from a function of the messages."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []

    async def chat(self, messages: list[dict[str, Any]], **options: Any) -> ChatResult:
        self.asked.append((messages, options))
        return ChatResult(texts=[self.answer(messages)], finish_reasons=["stop"])


def standin(messages: list[dict[str, Any]]) -> str:
    """The stand-in's answer."""
    answer = script.respond(ChatRequest(model="teacher", messages=list(messages)))
    assert answer is not None
    return answer.text


def seed(of: Task | None = None) -> Seed:
    chosen = of or task()
    return Seed(
        id="seed-1",
        lineage=chosen.lineage,
        domain="airline",
        persona=ANN,
        workflow=Workflow(goal="Undo a booking.", workflow=["get_booking", "cancel"]),
        task=chosen,
    )


def expanded(observed: dict[str, int], branches: int = 4, of: Seed | None = None) -> TreeRecord:
    payload = expansion.expand_payload(AIRLINE, of or seed(), [], branches) | {"observed": observed}
    answer = tree.Tree.model_validate_json(standin(messages_for(expansion.expand_instruction(), payload)))
    chosen = of or seed()
    assert tree.problems(answer, AIRLINE, chosen.path) == []
    return TreeRecord(
        id="tree-1",
        lineage=chosen.lineage,
        domain="airline",
        persona=ANN,
        parent=list(chosen.path),
        observed=observed,
        tree=answer,
    )


# ---- held-out suites ----
def test_heldout_items_share_no_persona_key_or_wording_with_training() -> None:
    training, held = personas.split(personas.builtin(), 0.2)
    items = heldout.build("airline-heldout", 24, held, random.Random("s"))
    assert Counter(t.outcome for t in items) == {"cancel": 12, "refund": 12}
    assert len({t.id for t in items}) == 24
    used = {t.normal_path[0].arguments["id"] for t in items}
    assert not used & set(heldout.keys(AIRLINE, heldout=False))
    assert not {t.lineage.persona_id for t in items} & {p.id for p in training}
    assert not set(heldout.TEMPLATES["airline"]) & set(script.REQUESTS)
    again = heldout.build("airline-heldout", 24, held, random.Random("s"))
    assert [t.id for t in items] == [t.id for t in again]


def test_too_large_a_suite_says_its_limit() -> None:
    with pytest.raises(ValidationFailure, match="at most"):
        heldout.build("airline-heldout", 10_000, personas.builtin(), random.Random(0))
    with pytest.raises(ValidationFailure, match="held-out personas"):
        heldout.build("airline-heldout", 2, [], random.Random(0))


# ---- the stand-in ----
@pytest.mark.parametrize("observed", [{}, {"early-write": 3, "success": 1}, {"success": 4}, {"tool-error": 2}])
def test_the_catalogue_gives_valid_trees(observed: dict[str, int]) -> None:
    for branches in (1, 4, 8):
        record = expanded(observed, branches)
        assert len(record.tree.branches[0].next) == branches


def test_what_was_observed_decides_what_is_probed() -> None:
    def first(observed: dict[str, int]) -> str:
        return expanded(observed).tree.branches[0].next[0].id

    assert (first({"success": 4}), first({"tool-error": 4})) == ("other-fare", "number-withheld")
    assert first({"wrong-write": 3, "success": 1}) == "wish-against-fare"


def test_depth_grows_with_the_rounds() -> None:
    depths = []
    current = seed()
    for _ in range(3):
        record = expanded({"success": 1}, 4, current)
        target = balance.targets([record])[1]
        depths.append(len(target.chain))
        text = UserText(task=f"I am Ann. Undo booking {KEY}.", user_background=f"booking {KEY}")
        lineage = Lineage(operator="invert", branch_path=[b.id for b in target.chain])
        made = build_task(AIRLINE, target.chain, ANN, KEY, text, random.Random(0), lineage)
        current = seed(made)
    assert depths == [2, 3, 4]


@pytest.mark.parametrize("push", [False, True])
def test_user_texts_of_the_stand_in_pass_the_checks(push: bool) -> None:
    for one in (branch(), TRAP, LOCKED, WITHHELD):
        pushed = push and bool(one.trap)
        text = UserText.model_validate_json(standin(messages_for(INVERT, case_of(AIRLINE, one, ANN, KEY, pushed))))
        assert text_problems(text, AIRLINE, one, KEY, pushed) == []
    if push:
        trap = UserText.model_validate_json(standin(messages_for(INVERT, case_of(AIRLINE, TRAP, ANN, KEY, True))))
        assert script.PUSHES["refund"] in trap.task


def test_other_requests_are_not_answered() -> None:
    assert script.respond(ChatRequest(model="m", messages=[{"role": "user", "content": "2+2"}])) is None
    assert script.respond(ChatRequest(model="m", messages=[{"role": "user", "content": "{}"}])) is None


async def test_the_oracle_solves_every_branch_even_where_it_has_to_ask() -> None:
    for one in (branch(), TRAP, LOCKED, WITHHELD):
        chosen = task(one)
        solver, user = Scripted(standin), Scripted(standin)
        episode = await drive.run(chosen, solver, user, max_turns=6)  # type: ignore[arg-type]
        assert accept.verdict(chosen, episode, AcceptanceSpec()) == "accepted", one.id
        assert bool(user.asked) == one.withheld


async def test_a_user_without_an_answer_gives_up() -> None:
    silent = Scripted(lambda _m: "Hm?")
    episode = await drive.run(task(WITHHELD), silent, Scripted(standin), max_turns=9)  # type: ignore[arg-type]
    assert (
        episode.env.closed == "user-stop"
        and drive.end_group(drive.trajectory(task(WITHHELD), episode, Role.POLICY, 0, Lineage(operator="t")))
        == "no-write"
    )


# ---- structured answers ----
class Point(BaseModel):
    model_config = ConfigDict(extra="forbid")
    x: int


async def test_one_repair_then_a_counted_drop() -> None:
    answers = iter(['{"x": "many"}', '```json\n{"x": 4}\n```'])
    client = Scripted(lambda _m: next(answers))
    assert (await ask(client, messages_for("do", {}), Point)).x == 4  # type: ignore[arg-type]
    assert "x: Input should be a valid integer" in client.asked[1][0][-1]["content"]
    stubborn = Scripted(lambda _m: '{"x": 1}')
    with pytest.raises(ItemDropped, match="invalid-point: x is 1"):
        await ask(stubborn, messages_for("do", {}), Point, "point", lambda p: [f"x is {p.x}"])  # type: ignore[arg-type]
    assert len(stubborn.asked) == 2


def test_payloads_survive_the_request() -> None:
    assert ChatRequest("m", list(messages_for("do", {"a": [1, "ü"]}))).data == {"a": [1, "ü"]}
    for other in ("hello", "{not json}", "[1]"):
        assert ChatRequest("m", [{"role": "user", "content": other}]).data is None


# ---- balance ----
@pytest.mark.parametrize(("legal", "trap", "limit"), [(0.5, 0.5, 40), (0.75, 0.0, 20), (1.0, 0.5, 10), (0.0, 1.0, 10)])
def test_shares_are_kept(legal: float, trap: float, limit: int) -> None:
    records = [expanded({"success": n % 3}, 5).model_copy(update={"id": f"tree-{n}"}) for n in range(20)]
    chosen = balance.choose(balance.targets(records), limit, legal, trap, random.Random(0))
    illegal = [t for t in chosen if not t.branch.legal]
    assert len(chosen) == limit
    assert len(chosen) - len(illegal) == round(limit * legal)
    assert sum(t.push for t in illegal) == round(len(illegal) * trap)
    assert len({t.tree.id for t in chosen}) >= min(10, limit)


# ---- rounds ----
def rollout(name: str, step: int, score: float | None, of: Task | None) -> Trajectory:
    """A trajectory as training keeps it; masked without a score."""
    return Trajectory(
        id=name,
        track=Track.AGENTIC if of else Track.REASONING,
        item=of.id if of else "sum",
        step=step,
        score=score,
        outage=None if score is not None else "the simulator was away",
        details={"early_write": 1.0},
        task=of,
    )


def test_trained_tasks_seed_the_next_round() -> None:
    kept = [rollout(f"t{n}", n, None if n == 3 else 0.0, task(TRAP)) for n in range(12)]
    seeds, seen = rounds.from_rollouts([*kept, rollout("m", 1, 1.0, None)], "round-2", [ANN])
    assert (
        len(seeds) == 1
        and seeds[0].path == ("trap",)
        and seeds[0].lineage.operator == "previous-round"
        and seeds[0].persona == ANN
    )
    assert len(seen) == rounds.ROLLOUTS_KEPT and seen[-1].id == "t11"
    assert expansion.observed(seen) == {"early-write": 8}
    grown = expanded(expansion.observed(seen), 3, seeds[0])
    assert all(len(path) <= 2 for path, _ in tree.walk(grown.tree.branches))


def test_what_the_policy_solved_half_the_time_seeds_first() -> None:
    made = {}
    for name, scores in (("never", [0.0] * 4), ("always", [1.0] * 4), ("half", [1.0, 0.0]), ("some", [1.0, 0, 0, 0])):
        chosen = task().model_copy(update={"id": name})
        kept = [rollout(f"{name}{n}", n, score, chosen) for n, score in enumerate(scores)]
        made[name] = rounds.from_rollouts(kept, "r", [ANN])
    seeds = [s for found, _ in made.values() for s in found]
    rollouts = [t for _, found in made.values() for t in found]
    assert [s.task.id for s in most_mixed(seeds, rollouts, 2)] == ["half", "some"]
