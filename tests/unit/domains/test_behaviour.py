"""What is right, computed: verdicts, questions, proofs, and look-ups that show them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from flywheel_domains.behaviour import behave
from flywheel_domains.case import Edit
from flywheel_domains.domain import Domain
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.lookups import path_of
from flywheel_domains.reward import Episode, grade, right_episode
from flywheel_domains.words import document, document_text, rules_in
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
