"""Facts that must be told are told with one value in its unit, and no value is made up."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from flywheel_domains.case import Fact
from flywheel_domains.domain import Domain
from flywheel_domains.facts import contradicted, is_money, untold
from flywheel_domains.talk import clean, values_of
from flywheel_domains.truth import Truth

BACK = Fact("back", 4050, "c-allowed")  # an amount: the sum of what was paid
LEFT = Fact("left", 3, "nobody")
DAY = Fact("day", date(2031, 3, 14), "nobody")
OPEN = Fact("open", True, "nobody")


@pytest.mark.parametrize(
    ("fact", "text", "told"),
    [
        (BACK, "You get 40.50 EUR back.", True),
        (BACK, "You get €40.50 back.", True),
        (BACK, "You get 40.50 back.", True),
        (BACK, "You get 4050 cents back.", True),
        (BACK, "You paid 60.00 EUR and 40.50 EUR come back.", True),
        (BACK, "Of 60.00 EUR you get 40.50 EUR back.", True),
        (BACK, "You get 4050 back.", False),
        (BACK, "You get 40.50 USD back.", False),
        (BACK, "You get 40.50 EUR or 60.00 EUR back.", False),
        (BACK, "It is 40.50 EUR, 60.00 EUR, 70.00 EUR.", False),
        (BACK, "40.50 EUR 60.00 EUR 70.00 EUR", False),
        (BACK, "It is 40.50 EUR. It is 60.00 EUR.", False),
        (BACK, "It is 40.50 EUR. Or it is 60.00 EUR.", False),
        (BACK, "It might be 40.50 EUR.", False),
        (BACK, "It is not 40.50 EUR.", False),
        (BACK, "You get money back.", False),
        (LEFT, "You have 3 left.", True),
        (LEFT, "You have three left.", True),
        (LEFT, "You have 4 left.", False),
        (DAY, "It is on 2031-03-14.", True),
        (DAY, "It is on 14 March.", True),
        (DAY, "It is on 2031-03-14 or 2031-03-15.", False),
        (OPEN, "Yes, it is.", True),
        (OPEN, "It is open.", True),
        (OPEN, "It is not open.", False),
        (OPEN, "No.", False),
        (OPEN, "Yes. No.", False),
        (OPEN, "Good day.", False),
    ],
)
def test_a_fact_is_told_by_its_own_value(tern: Domain, fact: Fact, text: str, told: bool) -> None:
    assert untold(tern, [fact], [text]) is not told


def test_a_list_is_told_member_by_member_and_is_no_guess(tern: Domain) -> None:
    both = Fact("days", (date(2031, 3, 14), date(2031, 3, 15)), "nobody")
    assert not untold(tern, [both], ["They are 2031-03-14, 2031-03-15."])
    assert untold(tern, [both], ["It is 2031-03-14."])


def test_a_fact_that_is_named_with_another_value_is_false(tern: Domain) -> None:
    assert contradicted(tern, [BACK], ["40.50 EUR comes to you. Your money back is 60.00 EUR."])
    assert not contradicted(tern, [BACK], ["Back is 40.50 EUR."])


def test_what_is_an_amount_follows_from_what_it_is_computed_of(tern: Domain) -> None:
    assert is_money(tern, BACK) and not is_money(tern, LEFT)


@pytest.fixture
def truth(tern: Domain) -> Truth:
    found = Truth(tern, datetime(2031, 3, 14, 10))
    found.said(tern.spoken)
    rows = [{"id": "TB12", "fare": "saver", "amount": 1500}, {"id": "TB13", "fare": "saver", "amount": 2550}]
    found.shown({"left": 3, "leaves": "2031-03-20T07:15", "rows": rows})
    return found


@pytest.mark.parametrize(
    "text",
    [
        "It leaves on 2031-03-20 at 07:15.", "It leaves on 20 March at 7:15 am.", "It leaves on March 20th, 2031.",
        "TB12 costs 15.00 EUR, TB13 25.50 EUR, both together 40.50 EUR.", "You have 3 left.", "There are 2 in saver.",
        "It leaves in 5 days.", "It leaves in 6 days.", "1. TB12\n2. TB13", "It is the 1st of them, at 10:00.",
    ],
)  # fmt: skip
def test_what_was_shown_or_follows_is_true(truth: Truth, text: str) -> None:
    assert list(truth.false(values_of(clean(text), "EUR"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "It leaves on 2031-12-24.", "It leaves on 24 December.", "It leaves on 2031-02-30.", "It leaves at 08:15.",
        "It leaves at 9 pm.", "You have 97 bags left.", "Your reference is ZZ99999.", "It costs 16.00 EUR.",
        "It costs 15.00 USD.", "It leaves in 40 days.",
    ],
)  # fmt: skip
def test_what_nobody_showed_is_made_up(truth: Truth, text: str) -> None:
    assert list(truth.false(values_of(clean(text), "EUR")))
