"""What turns the flywheel: cases drawn per rule, branches accepted by replay, twins, suites, rounds, no repeats."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from flywheel_api.records.agentic import Branch, BranchKind, Seed, Task
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Track
from flywheel_api.round import AcceptanceSpec, Check, Role
from flywheel_domains.case import Case, Edit
from flywheel_jobs.agentic import (
    accept,
    balance,
    drive,
    expansion,
    growth,
    heldout,
    kinds,
    pairs,
    policy,
    rounds,
    words,
)
from flywheel_jobs.agentic.distinct import EARLIER, HELD_OUT, NEAR, Distinct, fingerprint, near_right
from flywheel_jobs.agentic.drawing import Side, draw_cases, personas, wordings
from flywheel_jobs.agentic.expansion import Expansion
from flywheel_jobs.agentic.observed import observed
from flywheel_jobs.agentic.right import dump_case, read_case, summary
from flywheel_jobs.agentic.words import WORDS, UserText
from flywheel_jobs.core.errors import ItemDropped, ValidationFailure
from flywheel_jobs.domains import packages
from flywheel_jobs.endpoints.llm import ChatResult
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.seeds import personas as people
from flywheel_standin import agentic as script
from flywheel_standin.protocol import ChatRequest
from unit.agentic.world import (
    ANN,
    CANCEL,
    KEY,
    LOCKED,
    LOOK,
    OTHER,
    PACKAGE,
    REFUND,
    REFUNDABLE,
    TRAP,
    WITHHELD,
    case,
    domain,
    other,
    play,
    right,
    shelf,
    task,
)  # fmt: skip

BOOKING = packages.builtin("booking")


class Scripted:
    """A client whose answers come from a function of the messages."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []

    async def chat(self, messages: list[dict[str, Any]], **options: Any) -> ChatResult:
        self.asked.append((messages, options))
        return ChatResult(texts=[self.answer(messages)], finish_reasons=["stop"])


def standin(messages: list[dict[str, Any]]) -> str:
    """The stand-in's answer, a right one."""
    for seed in range(20):
        request = ChatRequest(model="teacher", messages=list(messages), seed=seed)
        if request.rng("wrong").random() >= script.WRONG:
            answer = script.respond(request)
            assert answer is not None
            return answer.text
    raise AssertionError


def oracle(of: Case) -> Any:
    """The stand-in's solver, without its wrong turns."""
    about = {"package": PACKAGE, "case": json.dumps(dump_case(of))}
    return lambda messages: script.solve(ChatRequest(model="s", messages=list(messages), metadata=about), rate=0.0)


# ---- cases -----------------------------------------------------------------------------------------------------------
def test_every_rule_is_the_last_word_and_equal_seeds_draw_equal_cases() -> None:
    found = list(draw_cases(domain(), Side.TRAINING, "t", 48))
    rules = {rule for r in found for rule in r.behaviour.rules}
    assert rules == {"cancelable", "refundable", "locked", "owner", "done"}
    assert {str(e) for r in found for e in r.behaviour.endings} >= {"replaced", "denied"}
    again = [dump_case(r.case) for r in draw_cases(domain(), Side.TRAINING, "t", 48)]
    assert again == [dump_case(r.case) for r in found]
    speakers = Counter(r.case.persona for r in found)
    assert max(speakers.values()) - min(speakers.values()) <= 1, "personas take turns"
    assert all(read_case(dump_case(r.case)).wants[0].said == r.case.wants[0].said for r in found)


@pytest.mark.parametrize("name", ["booking", "airline"])
def test_training_and_evaluation_share_no_persona_wording_or_world(name: str) -> None:
    one = domain(name)
    training, held = personas(one, Side.TRAINING), personas(one, Side.HELD_OUT)
    assert training and held and not {p.id for p in training} & {p.id for p in held}
    for wish, declared in one.wishes.items():
        apart = set(wordings(one, wish, Side.TRAINING)) & set(wordings(one, wish, Side.HELD_OUT))
        assert bool(apart) == (len(declared.words) == 1), wish


def test_a_suite_is_fixed_by_name_size_and_package_and_holds_every_ending() -> None:
    training, held = people.split(people.builtin(), 0.2)
    items = heldout.build("booking-heldout", 24, held, BOOKING, shelf())
    assert [t.id for t in items] == [t.id for t in heldout.build("booking-heldout", 24, held, BOOKING, shelf())]
    assert len({t.id for t in items}) == 24 and {t.package for t in items} == {PACKAGE}
    assert {"cancel", "refund", "denied"} == {t.outcome for t in items}
    assert not {t.lineage.persona_id for t in items} & {p.id for p in training}
    drawn = {dump_case(r.case)["seed"] for r in draw_cases(domain(), Side.TRAINING, "t", 20)}
    assert not drawn & {t.case["seed"] for t in items}
    with pytest.raises(ValidationFailure, match="at most"):
        heldout.build("booking-heldout", 10_000, held, BOOKING, shelf())
    with pytest.raises(ValidationFailure, match="held-out personas"):
        heldout.build("booking-heldout", 2, [], BOOKING, shelf())


@pytest.mark.parametrize(
    ("of", "kind", "legal", "outcome"),
    [
        (case(), "variation", True, "cancel"), (TRAP, "trap", False, "cancel"),
        (LOCKED, "precondition", False, "denied"), (case("leave"), "normal", True, "cancel"),
        (WITHHELD, "missing-data", True, "cancel"), (case(done="already refunded"), "validation", False, "denied"),
        (case("money", fare="locked"), "trap", False, "denied"),
    ],
)  # fmt: skip
def test_kinds_are_read_from_what_is_right(of: Case, kind: str, legal: bool, outcome: str) -> None:
    found = right(of)
    assert (kinds.kind_of(found), kinds.legal(found), kinds.outcome_of(found)) == (kind, legal, outcome)


# ---- branches --------------------------------------------------------------------------------------------------------
def cell(column: str, value: Any, row: str = KEY) -> dict[str, Any]:
    return {"table": "bookings", "row": row, "column": column, "value": value}


def test_offers_change_what_is_right_and_sides_take_turns() -> None:
    parent = right()
    offers = growth.offers(parent, random.Random(1), 8)
    marks = {growth.mark(o.right) for o in offers}
    assert len(offers) >= 4 and len(marks) == len(offers) and growth.mark(parent) not in marks
    assert {BranchKind.PRECONDITION, BranchKind.VALIDATION} <= {o.kind for o in offers}
    (deeper,) = [o for o in offers if o.deeper]
    assert deeper.kind is BranchKind.MISSING_DATA and offers[0] is deeper, "one more thing to find out"
    assert len({o.legal for o in offers[1:3]}) == 2


def test_branches_of_a_large_domain_go_deeper_by_what_must_be_found_out() -> None:
    for one in draw_cases(domain("airline"), Side.TRAINING, "g", 3):
        offers = growth.offers(one, random.Random(1), 6)
        deeper = [o for o in offers if o.deeper]
        assert deeper and all(len(o.right.behaviour.read) >= len(one.behaviour.read) for o in deeper)
        assert all(o.branch.condition and read_case(dump_case(o.right.case)) for o in offers)


def test_of_a_kind_the_longest_branch_is_offered_first_or_where_the_policy_fails_the_shortest() -> None:
    (one,) = draw_cases(domain("airline"), Side.TRAINING, "long", 1)
    for longest in (True, False):
        steps: dict[tuple[bool, bool, str], list[int]] = {}
        for o in growth.offers(one, random.Random(1), 24, longest=longest):
            steps.setdefault((o.deeper, o.legal, o.kind), []).append(o.depth.steps)
        assert any(len(set(found)) > 1 for found in steps.values()), "of some kind there is a choice"
        assert all(found == sorted(found, reverse=longest) for found in steps.values())


def test_patches_of_all_ancestors_compose() -> None:
    """What a review found shallow: the parent's owner has to be in the child's state."""
    current, fired = right(), []
    for column, value in (("owner", "booked by another person"), ("done", "already refunded"), ("fare", "locked")):
        made = growth.accepted(current, growth.state_patch([cell(column, value)]), "one more condition")
        assert isinstance(made, growth.Offer)
        current = made.right
        fired.append(len(current.behaviour.results[-1].decision.fired))
    assert fired == [2, 3, 3] and len(current.case.edits) == 3
    assert {e.column: e.value for e in current.case.edits} == {
        "fare": "locked", "owner": "booked by another person", "done": "already refunded",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("patched", "why"),
    [
        (cell("fare", "cancelable"), growth.SAME),
        (cell("fare", "locked", OTHER), growth.SAME),
        (cell("fare", "free"), growth.INVALID),
        (cell("price", 3), growth.INVALID),
        (cell("fare", "locked", "no such row"), growth.INVALID),
    ],
)
def test_a_branch_that_changes_nothing_or_cannot_be_is_refused(patched: dict[str, Any], why: str) -> None:
    assert growth.accepted(right(), growth.state_patch([patched])) == why


def test_the_teachers_choice_is_taken_as_far_as_it_is_valid() -> None:
    parent = right()
    offers = growth.offers(parent, random.Random(1), 12)
    both = [cell("fare", "locked"), cell("owner", "booked by another person")]
    edit = {"condition": "Locked and of another person.", "cells": both}
    bad = {"condition": "Nothing.", "cells": [cell("fare", "cancelable")]}
    answer = Expansion.model_validate({"picks": [offers[3].branch.id, "made-up"], "edits": [edit, bad]})
    refused: dict[str, int] = {}
    taken, spare = expansion.chosen(parent, answer, offers, 4, refused)
    assert refused == {growth.SAME: 1, expansion.UNKNOWN: 1} and len(taken) == 4
    assert taken[0].branch.condition == edit["condition"] and taken[1] is offers[3]
    assert spare and not {o.branch.id for o in spare} & {o.branch.id for o in taken}


def test_what_the_policy_did_is_shown_with_the_tools_answers() -> None:
    of = task()
    failed = drive.trajectory(of, play(None, REFUND, "Done."), Role.POLICY, 0, of.lineage)
    seed = Seed(id="s", persona=ANN, task=of)
    shown = expansion.payload(right(), seed, [failed], [], 4)
    assert shown["observed"] == observed([failed]) == {"trap": 1}
    assert shown["trajectories"][0]["calls"] == ["refund ok: ok"]  # type: ignore[index]


def test_more_branches_grow_where_the_policy_fails_and_as_many_in_all() -> None:
    seeds = [Seed(id=f"s{n}", persona=ANN, task=task().model_copy(update={"id": f"t{n}"})) for n in range(4)]
    found = expansion.allotted(seeds, {"t0": 1.0, "t1": 1.0, "t2": 0.0, "t3": 0.5}, 6)
    assert found == {"s0": 3, "s1": 3, "s2": 9, "s3": 9}
    assert expansion.allotted(seeds, {f"t{n}": 1.0 for n in range(4)}, 6) == dict.fromkeys(found, 6)


def test_a_branch_that_was_asked_before_is_not_offered_again() -> None:
    parent = right()
    first = [o.right for o in growth.offers(parent, random.Random(1), 4)]
    asked = {near_right(PACKAGE, r) for r in first}
    again = growth.offers(parent, random.Random(1), 8, lambda r: near_right(PACKAGE, r) in asked)
    assert again and not {near_right(PACKAGE, o.right) for o in again} & asked


# ---- documents and twins ---------------------------------------------------------------------------------------------
def test_twins_have_the_same_words_and_document_and_another_end() -> None:
    for of in (case(), LOCKED, TRAP, case(owner="booked by another person")):
        one = right(of)
        found = pairs.twin(one, random.Random(0))
        assert found is not None and found.same_words
        two = found.right
        assert words.payload(one, ANN)["words"] == words.payload(two, ANN)["words"]
        assert policy.rule_ids(one, two) == policy.rule_ids(two, one)
        assert [r.call.name for r in one.behaviour.results] != [r.call.name for r in two.behaviour.results] or (
            one.behaviour.endings != two.behaviour.endings
        )


def test_a_document_never_gives_the_answer_away() -> None:
    """A review's sopleak: a refusal rule in the document meant that the right answer is one, without exception."""
    found = [task(r.case) for r in draw_cases(domain(), Side.TRAINING, "t", 60)]
    refusing = {"locked", "owner", "done"}
    with_refusal = [t for t in found if refusing & set(t.rule_ids)]
    assert len(with_refusal) == len(found), "every document holds one"
    assert {t.outcome for t in with_refusal} >= {"cancel", "refund", "denied"}
    assert all({"cancelable", "refundable"} <= set(t.rule_ids) for t in found)
    assert all(len(t.rule_ids) <= 4 for t in found), "the small model's prompt stays short"


# ---- the user's words ------------------------------------------------------------------------------------------------
def test_words_must_say_what_they_must_and_no_more() -> None:
    def wrong(of: Case, said: str) -> list[str]:
        return words.problems(UserText(task=said, background="b"), right(of))

    assert wrong(case(), f"I am Ann. Undo booking {KEY}.") == []
    assert wrong(case(), "I am Ann. Undo my booking.") == [f"task must contain {KEY}"]
    assert wrong(WITHHELD, f"Undo booking {KEY}.") == [f"task must not contain {KEY}"]
    assert "policy" in wrong(case(), f"By your policy undo {KEY}.")[0]
    assert wrong(case(), f"Use get_booking on {KEY}.") == ["task names the tool get_booking"]


def test_a_card_knows_one_name_and_one_trade() -> None:
    """The tables' name and the wording's trade: who plays the card would else speak as somebody unknown."""
    asked = words.payload(right(), ANN)
    assert isinstance(asked["persona"], dict) and asked["persona"]["name"] == "Ann Cole"
    assert asked["persona"]["trade"] == "baker" and "baker" in str(asked["words"])
    assert ANN.trade not in str(asked["background"]) and "Ann Cole is a baker" in str(asked["background"])


def test_texts_of_the_stand_in_pass_the_checks_but_at_a_set_rate() -> None:
    wrong = 0
    for one in draw_cases(domain(), Side.TRAINING, "t", 40):
        data = messages_for(WORDS, words.payload(one, ANN))
        for seed in range(8):
            answer = script.respond(ChatRequest(model="teacher", messages=list(data), seed=seed))
            assert answer is not None
            wrong += bool(words.problems(UserText.model_validate_json(answer.text), one))
    assert 4 < wrong < 60, "validators have something to reject"


# ---- the stand-in's solver -------------------------------------------------------------------------------------------
async def test_the_oracle_solves_every_case_even_where_it_has_to_ask() -> None:
    for of in (case(), TRAP, LOCKED, REFUNDABLE, WITHHELD):
        solver, user = Scripted(oracle(of)), Scripted(standin)
        episode = await drive.run(task(of), right(of), solver, user, max_turns=6)  # type: ignore[arg-type]
        assert accept.verdict(episode, AcceptanceSpec()) == "accepted"
        assert bool(user.asked) == (of is WITHHELD)


async def test_the_oracle_plays_a_large_domain_from_its_declaration() -> None:
    airline = packages.builtin("airline")
    for one in draw_cases(domain("airline"), Side.TRAINING, "o", 6):
        made = heldout.build_task(airline.digest, one, ANN, UserText(task="x" * 9, background="b"), task().lineage)
        about = {"package": airline.digest, "case": json.dumps(made.case)}
        solver = Scripted(
            lambda m, about=about: script.solve(ChatRequest(model="s", messages=list(m), metadata=about), rate=0.0)
        )
        episode = await drive.run(made, one, solver)  # type: ignore[arg-type]
        assert accept.verdict(episode, AcceptanceSpec()) == "accepted", (one.case, episode.said)


def test_a_wrong_solver_is_rejected_by_what_it_did() -> None:
    def verdict(of: Case, *turns: str, **checks: Any) -> str:
        return accept.verdict(play(of, *turns), AcceptanceSpec(**checks))

    assert verdict(case(), LOOK, REFUND) == "trap-taken"
    assert verdict(case(), LOOK, "I did nothing.") == "database-differs"
    assert verdict(case(), CANCEL) == "untraceable"
    assert verdict(LOCKED, LOOK, "It is done.") == "branch-missed"
    assert verdict(case(), LOOK, LOOK, LOOK) == "never-ended"
    assert verdict(case(), CANCEL, traceability=Check.ADVISORY) == "accepted"
    assert accept.advice(play(case(), CANCEL), AcceptanceSpec(traceability=Check.ADVISORY)) == ["untraceable"]


def test_other_requests_are_not_answered() -> None:
    assert script.respond(ChatRequest(model="m", messages=[{"role": "user", "content": "2+2"}])) is None
    assert script.respond(ChatRequest(model="m", messages=[{"role": "user", "content": "{}"}])) is None
    with pytest.raises(ValueError, match="no package sha256:f"):
        script.solve(ChatRequest("m", [], metadata={"package": "sha256:" + "f" * 64, "case": "{}"}))


# ---- structured answers ----------------------------------------------------------------------------------------------
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
    for text in ("hello", "{not json}", "[1]"):
        assert ChatRequest("m", [{"role": "user", "content": text}]).data is None


# ---- balance and repeats ---------------------------------------------------------------------------------------------
def chosen(pools: Any, limit: int, share: float) -> list[Any]:
    return balance.choose(pools, limit, share, lambda i: i[0], [lambda i: i[1]], [lambda i: i[2]])


@pytest.mark.parametrize(("share", "limit"), [(0.5, 40), (0.75, 20), (1.0, 10), (0.0, 10)])
def test_shares_are_kept_and_strata_and_trees_take_turns(share: float, limit: int) -> None:
    items = [(n % 2 == 0, "abc"[n % 3] if n < 90 else "a", n % 7) for n in range(200)]
    found = chosen([items], limit, share)
    assert len(found) == limit and sum(i[0] for i in found) == round(limit * share)
    kinds_ = Counter(i[1] for i in found if i[0] == (share > 0))
    assert len(kinds_) == 3 and max(kinds_.values()) - min(kinds_.values()) <= 2
    assert len({i[2] for i in found}) == 7


def test_a_share_never_throws_a_good_task_away() -> None:
    """Rounds that lost tasks: of 18 refusals and 2 allowed ones, 4 were kept for the sake of an even share."""
    mostly = [(n < 2, "a", n) for n in range(20)]
    assert len(chosen([mostly], 20, 0.5)) == 20
    spare = [(True, "b", 100 + n) for n in range(20)]
    found = chosen([mostly, spare], 20, 0.5)
    assert sum(i[0] for i in found) == 10 and {i for i in found if i[0]} >= set(mostly[:2])


def test_a_kind_that_trees_have_too_little_of_comes_from_a_later_pool() -> None:
    """Five rounds of the airline ended at one kind: what trees offered went first, whatever it was."""
    trees = [(n % 2 == 0, "mixed", n) for n in range(20)]
    plain = [(n % 2 == 0, "abc"[n % 3], n) for n in range(20, 50)]
    found = Counter(kind for _, kind, _ in chosen([trees, plain], 16, 0.5))
    assert set(found) == set("abc") | {"mixed"} and max(found.values()) - min(found.values()) <= 2
    assert {n for _, kind, n in chosen([trees, plain], 16, 0.5) if kind == "mixed"} < set(range(20))
    mostly = [(True, "mixed", n) for n in range(6)] + [(True, "a", 9)]
    beside = [(True, "a", n) for n in range(10, 20)]
    found = Counter(n < 10 for _, kind, n in chosen([mostly, beside], 6, 1.0) if kind == "a")
    assert found == {True: 1, False: 2}, "within a kind the trees' own goes first"


def test_what_was_asked_is_not_asked_again_by_whomever_in_whatever_words() -> None:
    of = task()
    reworded = right(other(case(), persona="teacher", claims={"x": 1}))
    distinct = Distinct()
    assert distinct.add(PACKAGE, right()) == "" and distinct.add(PACKAGE, reworded) == NEAR
    assert distinct.add(PACKAGE, right(REFUNDABLE)) == "" and distinct.add("sha256:other", right()) == ""
    assert Distinct([fingerprint(of)]).add(PACKAGE, reworded) == EARLIER
    assert Distinct([], [of]).add(PACKAGE, reworded) == HELD_OUT
    shuffled = right(other(case(), edits=case().edits[::-1]))
    assert Distinct([fingerprint(of)]).reason(PACKAGE, shuffled) == EARLIER


def test_a_patch_that_no_verdict_rests_on_makes_no_other_task() -> None:
    """By text it was another one: the same question, with the state of somebody else's booking changed."""
    elsewhere = right(other(case(), edits=(*case().edits, Edit("bookings", OTHER, "fare", "locked"))))
    assert near_right(PACKAGE, elsewhere) == near_right(PACKAGE, right())
    here = right(other(case(), edits=(*case().edits, Edit("bookings", KEY, "fare", "locked"))))
    assert near_right(PACKAGE, here) != near_right(PACKAGE, right())


# ---- rounds ----------------------------------------------------------------------------------------------------------
def rollout(name: str, step: int, score: float | None, of: Task | None) -> Trajectory:
    """A trajectory as training keeps it; masked without a score."""
    return Trajectory(
        id=name,
        track=Track.AGENTIC if of else Track.REASONING,
        item=of.id if of else "sum",
        step=step,
        score=score,
        reason="" if score else "unproven",
        outage=None if score is not None else "the simulator was away",
        task=of,
    )


def test_trained_tasks_seed_the_next_round() -> None:
    of = task(TRAP, chain=[Branch(id="trap", kind=BranchKind.TRAP, condition="x")])
    kept = [rollout(f"t{n}", n, None if n == 10 else 0.0, of) for n in range(12)]
    seeds, seen = rounds.from_rollouts([*kept, rollout("m", 1, 1.0, None)], "round-2", [ANN])
    assert len(seeds) == 1 and seeds[0].path == ("trap",) and not seeds[0].fresh
    assert seeds[0].lineage.operator == "previous-round" and seeds[0].persona == ANN
    assert [t.id for t in seen] == [f"t{n}" for n in (3, 4, 5, 6, 7, 8, 9, 11)], "what an outage ended is left out"
    assert observed(seen) == {"unproven": 8}


def test_trees_grow_where_the_policy_fails_and_not_where_it_is_hopeless_or_done() -> None:
    seeds, rollouts = [], []
    for name, scores in (("never", [0.0] * 4), ("always", [1.0] * 4), ("half", [1.0, 0.0]), ("some", [1.0, 0, 0, 0])):
        of = task().model_copy(update={"id": name, "kind": name})
        found, seen = rounds.from_rollouts([rollout(f"{name}{n}", n, s, of) for n, s in enumerate(scores)], "r", [ANN])
        seeds += found
        rollouts += seen
    first = [rounds.failed_first(seeds, rollouts, n, n, 0.5) for n in (1, 2, 3, 4)]
    assert [s.task.id for s in rounds.failed_first(seeds, rollouts, 3, 4, 0.5)][3:] == ["always"]
    assert [{s.task.id for s in found} for found in first[1:]] == [
        {"half", "some"}, {"half", "some", "never"}, {"half", "some", "never", "always"},
    ]  # fmt: skip


def test_kinds_and_personas_do_not_die_out_over_the_rounds() -> None:
    seeds = []
    for n in range(40):
        persona = ANN.model_copy(update={"id": f"p{n % 4}"})
        of = task().model_copy(update={"id": f"t{n}", "kind": "trap" if n < 36 else "escalation"})
        of = of.model_copy(update={"lineage": of.lineage.model_copy(update={"persona_id": persona.id})})
        found, _ = rounds.from_rollouts([rollout(f"r{n}", 1, 0.0, of)], "r", [persona])
        seeds += found
    kept = rounds.failed_first(seeds, [], 8, 8, 0.5)
    assert Counter(s.task.kind for s in kept) == {"trap": 4, "escalation": 4}
    assert len({s.lineage.persona_id for s in kept}) == 4


def test_trees_of_allowed_wishes_do_not_die_out() -> None:
    """Below a refused wish hardly any branch is allowed: trees of such alone ended at refusals of one kind."""
    seeds, rollouts = [], []
    for n in range(12):
        of = task().model_copy(update={"id": f"t{n}", "kind": "ab"[n % 2], "legal": n < 3})
        found, seen = rounds.from_rollouts([rollout(f"r{n}", 1, 1.0 if n < 3 else 0.0, of)], "r", [ANN])
        seeds += found
        rollouts += seen
    kept = rounds.failed_first(seeds, rollouts, 4, 4, 0.5)
    assert sum(s.task.legal for s in kept) == 2, "though the policy fails at none of them"


def test_a_record_says_what_is_right_and_does_not_decide_it() -> None:
    of = task()
    assert summary(right()).calls == of.right.calls and [c.name for c in of.right.calls] == ["get_booking", "cancel"]
    assert of.right.proof == [f"bookings/{KEY}/{c}" for c in ("done", "fare", "owner")] and of.depth is not None
    assert (of.depth.cells, of.depth.steps) == (3, 2) and of.single_turn and not task(WITHHELD).single_turn
