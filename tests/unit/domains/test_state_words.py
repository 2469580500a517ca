"""What was so before may be said beside a refusal that rests on it; what would have been done may not."""

from __future__ import annotations

import random
import re

import pytest

from flywheel_domains.agents import Play
from flywheel_domains.cli import TEMPLATE
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.load import parse
from flywheel_domains.lookups import path_of
from flywheel_domains.reward import Reason
from unit.domains.sayings import ended_with

NO = "I am sorry, that is not possible."
SENTENCE = "No piece is hurried twice."


def refused(column: str = "rush", say: str = SENTENCE) -> Play:
    """A case of the small domain that is refused because its yes-or-no column, called so, is true."""
    text = (TEMPLATE / "domain.yaml").read_text(encoding="utf-8").replace(SENTENCE, say)
    domain = parse(re.sub(r"\brush\b", column, text))
    found = draw_behaviour(domain, build_world(domain, 3), random.Random(4), "h-twice", True)
    assert found.results[-1].rules == ("h-twice",)
    return Play(domain, found, path_of(domain, found))


@pytest.mark.parametrize(
    ("column", "say"), [("reserved", SENTENCE), ("rush", "What is reserved for today is not brought forward.")]
)
def test_a_state_is_said_by_its_column_or_by_the_rules_sentence(column: str, say: str) -> None:
    assert ended_with(refused(column, say), f"{NO} It is reserved.").paid


def test_what_no_refusal_rests_on_was_not_done() -> None:
    assert Reason.FALSE_CLAIM in ended_with(refused(), f"{NO} It is reserved.").reasons


def test_what_a_tool_does_is_no_state_though_the_rule_says_the_word() -> None:
    play = refused(say="What was dropped or is first of all is not brought forward.")
    assert Reason.FALSE_CLAIM in ended_with(play, f"{NO} It is dropped.").reasons


@pytest.mark.parametrize("words", ["Once you agree, it is reserved.", "It gets reserved as soon as you pay."])
def test_what_is_so_under_a_condition_was_not_done(words: str) -> None:
    assert ended_with(refused(), f"{NO} {words}").paid


@pytest.mark.parametrize("words", ["If you look, it is now reserved.", "If you look, it has been reserved."])
def test_a_condition_hides_no_lie(words: str) -> None:
    assert Reason.FALSE_CLAIM in ended_with(refused(), f"{NO} {words}").reasons
