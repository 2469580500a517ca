"""What is right, computed: verdicts, questions, proofs, and look-ups that show them."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from flywheel_domains.behaviour import Result, behave
from flywheel_domains.case import Call, Edit, Ending, Want
from flywheel_domains.domain import Domain
from flywheel_domains.draws import contradicting, draw_behaviour
from flywheel_domains.lookups import path_of
from flywheel_domains.reward import Episode, grade, right_episode
from flywheel_domains.words import card, document, document_text, rules_in
from flywheel_domains.world import World

RULES = (
    "own",
    "c-flown",
    "c-allowed",
    "m-saver",
    "m-second",
    "pay-kind",
    "pay-low",
    "k-full",
    "v-who",
    "v-once",
    "n-max",
)


@pytest.mark.parametrize("fires", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_drawn_on_each_side_and_its_right_way_is_paid(
    tern: Domain, world: World, rule: str, fires: bool
) -> None:
    found = draw_behaviour(tern, world, random.Random(f"{rule}/{fires}"), rule, fires)
    assert (rule in found.rules) is fires
    assert rule in found.read
    path = path_of(tern, found)
    assert grade(tern, found.case, found, right_episode(tern, path.steps, found)).reasons == ()
    assert not grade(tern, found.case, found, Episode(())).paid
    assert behave(tern, world, found.case).steps == found.steps  # the same for whoever computes it
    ids = document(tern, found.case)
    assert rules_in(tern, document_text(tern, ids)) == ids


def test_a_case_in_a_state_that_cannot_be_is_no_case(tern: Domain, world: World) -> None:
    """A limit's example may put a balance below nothing; the tool that is called next would get the blame."""
    case = draw_behaviour(tern, world, random.Random("state")).case
    fare = next(iter(world.view().ids("fares")))
    behave(tern, world, replace(case, edits=(*case.edits, Edit("fares", fare, "seats", 0))))
    with pytest.raises(ValueError, match=r"not so: it\.seats >= 0"):
        behave(tern, world, replace(case, edits=(*case.edits, Edit("fares", fare, "seats", -1))))


# ---- several wishes, one slot
def asked(option: Want, *slots: str) -> Result:
    """A wish about which the right way asks so often."""
    more: Any = None
    return Result(0, option, None, Call("move"), Ending.DENIED, more, slots, {}, (), more, more)


def wish(said: str, *again: str, hidden: bool = False) -> Want:
    return Want("move", {"slot": said}, hidden=frozenset({"slot"} if hidden else ()), again={"slot": again})


@pytest.mark.parametrize(
    ("results", "wrong"),
    [
        ([asked(wish("A", "B", "C"), "slot", "slot"), asked(wish("A", "B", "C"), "slot")], False),
        ([asked(wish("A", "B", "C"), "slot"), asked(wish("B", "A", "C"), "slot")], True),
        ([asked(wish("A", "B"), "slot"), asked(wish("C", "D"))], False),
        ([asked(wish("A", hidden=True), "slot"), asked(wish("A", hidden=True), "slot")], False),
        ([asked(wish("A", hidden=True), "slot"), asked(wish("B", hidden=True), "slot")], True),
        ([asked(wish("A", "B", hidden=True), "slot", "slot"), asked(wish("A", "B"), "slot")], True),
    ],
)
def test_a_caller_is_asked_by_the_name_of_a_slot_alone(results: list[Result], wrong: bool) -> None:
    """Two wishes about which they would say different things are no task: nobody could tell which one is meant."""
    found: Any = SimpleNamespace(results=results)
    assert contradicting(found) is wrong


def test_a_caller_answers_for_the_wish_that_they_are_asked_about(tern: Domain, world: World) -> None:
    """Of a wish and what is wished otherwise, only the second is asked about; and the other way round."""
    drawn = draw_behaviour(tern, world, random.Random(3))
    first, second = wish("A", "B", "C"), wish("A", "D")
    case = replace(drawn.case, wants=(replace(first, otherwise=second),))
    for results, answers in (
        ([asked(first, "slot", "slot"), asked(second)], ["B", "C"]),
        ([asked(first), asked(second, "slot")], ["D"]),
        ([asked(first), asked(second)], ["B", "C"]),
    ):
        found: Any = SimpleNamespace(case=case, results=results)
        assert card(tern, found)["instead"] == {"slot": answers}


def test_a_wish_and_what_is_wished_otherwise_have_the_same_answers(tern: Domain, world: World) -> None:
    chains = 0
    for number in range(120):
        for want in draw_behaviour(tern, world, random.Random(number)).case.wants:
            found: dict[str, set[tuple[Any, ...]]] = {}
            for option in want.chain():
                for slot, again in option.again.items():
                    found.setdefault(slot, set()).add(again)
            chains += want.otherwise is not None and any(again for each in found.values() for again in each)
            assert all(len(each) == 1 for each in found.values()), want
    assert chains > 3
