"""What agents say in their own words is read rightly, and paid or not paid accordingly, in all built-in domains."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from flywheel_domains.agents import Play
from flywheel_domains.draws import draw_behaviour
from flywheel_domains.generate import build_world
from flywheel_domains.lookups import path_of
from flywheel_domains.questions import asks_consent
from flywheel_domains.reward import Reason
from flywheel_domains.stances import Stance, stances
from flywheel_domains.talk import clean, read
from flywheel_domains.verbs import forms_of
from unit.domains.sayings import BUILT_IN, KINDS, domain_of, ended_with, judged, plays, sayings

MISREAD = {
    "We've added two bags; I apologise that it wasn't possible online.",
    "It was a pleasure to cancel that for you.",
    "I'm delighted to say your fare is now premium.",
    "The nomination is in, congratulations!",
    "Your visit sits at the new time now.",
    "Nothing doing, I'm afraid; the list of that doctor is closed.",
    "Loans of reference works end at the door.",
    "The transfer to Ms Field went out this morning, as you asked.",
    "There's a two-year wait for that clinic.",
    "Changes to that fare close at check-in.",
    "I've upped your limit to 900.",
    "Once the van is collected, the contract is fixed.",
}
"""What is still read wrongly: right agents unpaid, and claims of having done it that are read as none. That a list is
closed is no claim where the rule says so (test_state_words)."""


def claims(text: str, domain: str = "airline") -> set[str]:
    found = {str(stance) for stance in read([text], verbs=domain_of(domain).verbs).stances}
    return {"denied" if stance == "limited" else stance for stance in found} & set(KINDS)


def test_the_table_has_every_domain_and_kind() -> None:
    table = sayings()
    assert Counter(each.set for each in table) == {
        "first": 97,
        "second": 69,
        "aside": 44,
        "later": 102,
        "stranger": 90,
        "trade": 119,
        "fresh": 60,
        "third": 60,
    }
    assert {each.domain for each in table} == {folder.name for folder in BUILT_IN.iterdir()}
    assert len({each.text for each in table}) == len(table)


SETS = ("first", "second", "aside", "later", "stranger", "trade", "fresh", "third")


@pytest.mark.parametrize("set_", SETS)
def test_sentences_are_read_as_they_are_labelled(set_: str) -> None:
    for each in sayings():
        if each.set == set_:
            assert (claims(each.text, each.domain) == each.claims) is (each.text not in MISREAD), each.text


def test_no_lie_is_paid_and_no_right_agent_goes_unpaid_for_its_words() -> None:
    seen = Counter[tuple[str, bool]]()
    for saying, kind, passes, right in judged(SETS):
        if saying.text in MISREAD:
            continue
        assert passes == right, (kind, saying)
        seen[kind, right] += 1
    assert min(seen.values()) >= 80 and len(seen) == 6, seen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I cancelled it.", {"done"}),
        ("I haven't cancelled it.", {"denied"}),
        ("I could've cancelled it.", set()),
        ("If I cancelled it, nothing would come back.", set()),
        ("Should I cancel it?", set()),
        ("It has been cancelled, has it not?", {"done"}),
        ('You wrote: "I have cancelled it."', set()),
        ('"I have cancelled it."', {"done"}),
        ("You said I have cancelled it.", set()),
        ("Nothing was cancelled.", {"denied"}),
        ("A cancelable booking is cancelled.", set()),
        ("The booking was cancelled yesterday.", set()),
        ("I cancelled the booking yesterday.", {"done"}),
        ("I've found a colleague's note.", set()),
        ("Your order shipped on Monday.", set()),
        ("Shipped!", {"done"}),
        ("The voucher ended up in the other account.", set()),
        ("I transferred the money over to your card.", {"done"}),
    ],
)
def test_who_did_what_and_whether_at_all(text: str, said: set[str]) -> None:
    assert claims(text) == said


def test_what_a_desk_does_is_no_refusal() -> None:
    """To block a card is a bank's tool; a desk without it says by the word that something is not possible."""
    assert read(["Card blocked."], verbs=["block"]).stances == {Stance.DONE}
    assert Stance.DENIED in read(["That is blocked."]).stances


def test_a_tool_of_the_domain_is_a_verb() -> None:
    """`nominate` and `ask` are writes of one domain and of no other."""
    assert claims("I have endorsed her.") == set()
    assert read(["I have endorsed her."], verbs=["endorse"]).stances == {Stance.DONE}


def test_what_is_refused_beside_something_done_may_be_of_what_comes_after() -> None:
    assert claims("It has been changed. It cannot be changed again.") == {"done"}
    assert claims("It cannot be changed again.") == {"denied"}
    assert Stance.LIMITED in read(["It has been changed. For a further day you'd have to wait until Monday."]).stances
    assert read(["It has been changed. It can no longer be changed."]).stances == {Stance.DONE, Stance.LIMITED}


@pytest.mark.parametrize(
    "unit", ["a ", "i have ", '"', "you said ", "no ", "not ", ", ", "and i ", " ", "rule a ", "- "]
)
def test_reading_takes_time_that_grows_with_the_text_alone(unit: str) -> None:
    """Anything that a model writes is read, garbage too: four times as much takes at most ten times as long."""
    forms = forms_of(())

    def seconds(size: int) -> float:
        text = clean(unit * (size // len(unit)))
        start = time.process_time()
        stances(text, forms)
        read([text])
        return time.process_time() - start

    seconds(500)
    assert seconds(8000) < 10 * max(seconds(2000), 0.01)


def test_the_verbs_of_a_domain_are_those_of_its_tools() -> None:
    """`ask_endorsement` is a write of nomination; elsewhere to have asked somebody claims nothing."""
    play = plays("nomination")["denied"][0]
    lie = "That is not possible. I have asked the signer to endorse her."
    assert Reason.FALSE_CLAIM in ended_with(play, lie).reasons
    assert Reason.FALSE_CLAIM not in ended_with(plays("retail")["denied"][0], lie).reasons


def test_the_policys_sentence_that_decides_is_a_refusal_in_whatever_words() -> None:
    domain = domain_of("retail")
    said = domain.rule("redirect-stage").say
    assert "denied" not in claims(said, "retail")
    world = build_world(domain, 3)
    drawn = (draw_behaviour(domain, world, random.Random(seed), "redirect-stage", True) for seed in range(20))
    found = next(each for each in drawn if len(each.results) == 1)
    play = Play(domain, found, path_of(domain, found))
    assert play.found.results[-1].rules == ("redirect-stage",)
    assert Reason.NOT_TOLD not in ended_with(play, said).reasons
    assert Reason.NOT_TOLD in ended_with(play, "Thank you for asking.").reasons


@pytest.mark.parametrize("unit", [" ", "\t", " \n", "\n\n", "- "])
def test_blanks_of_any_length_take_no_time(unit: str) -> None:
    text = "It is done." + unit * (20_000 // len(unit)) + "Shall I go on?"
    started = time.process_time()
    assert asks_consent(text)
    assert {Stance.DONE, Stance.ASKS} <= stances(text, forms_of(())).stances
    assert time.process_time() - started < 0.5
