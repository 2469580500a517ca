"""What is a question whether to go on, in whatever words it is asked, and what is another question or none."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from flywheel_domains.questions import asks_consent, asks_for

TABLE = (Path(__file__).parent / "asking.tsv").read_text(encoding="utf-8").splitlines()
ASKING = list(csv.DictReader(TABLE, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.parametrize("row", ASKING, ids=lambda row: str(row["text"]))
def test_what_asks_to_be_told_something(row: dict[str, str]) -> None:
    """Labelled before the code was asked, in two sets: 40 of 54 and 35 of 50 were told apart at first sight."""
    assert asks_for(row["text"]) is (row["asks"] == "yes")


@pytest.mark.parametrize(
    "text",
    [
        "Shall I go ahead?",
        "Shall I go ahead",
        "OK?",
        "I'd be cancelling it, and 15 EUR fall due. Is that what you want?",
        "Is this how you’d like it?",
        "Before I change anything: it would go to Friday. Yes?",
        "I'd do that now, if you're happy with it - yes?",
        "It costs 40 EUR more, ok?",
        "That is 15 EUR, all good?",
        "Do I have your permission to cancel it?",
        "May I have your okay for this?",
        "I need your approval before that.",
        "So it is the later flight in place of the early one. Will that do?",
        "Would the new time suit you?",
        "Would that meet with your approval?",
        "Are we good to move it?",
        "Please confirm, and I will cancel it.",
        "Once you say yes, it will be done.",
        "Two days more for 80 EUR, do we have a deal?",
        "You'd pay 40 EUR more. Are you on board with that?",
        "Shall I go ahead and cancel it?",
        "Just say the word and I'll renew the book.",
        "OK to proceed?",
        "Would that suit you?",
        "Do you want me to block the card?",
        "Please confirm.",
        "Happy for me to book that?",
        "Shall we say Thursday at ten, then?",
        "If you're happy with that, I'll put it through.",
        "Want me to go for it?",
        "Does that sound alright?",
        "May I take that as a yes?",
        "Give me the nod and it's done.",
        "I need your go-ahead before I refund the ticket.",
        "Would you be all right with the later flight?",
        "Can you confirm you'd like the van instead of the hatchback?",
        "Ready for me to make the transfer?",
        "Mind if I move you to Friday?",
        "Are you sure you want to close the account?",
        "Are you happy for me to go ahead?",
        "Shall I pop that through?",
        "So that's the van for three days, right?",
        "I'd like your OK before I move the money.",
        "Does Thursday suit?",
        "Say yes and I'll cancel the loan.",
        "May I extend it, then?",
        "Can I go ahead with the refund?",
        "Would you like to proceed with the exchange?",
        "Is that a yes?",
        "Is it okay if I cancel it now?",
        "I'll only do it if you agree.",
        "So, are we doing this?",
        "Do I have your yes on that?",
        "Can you give me the okay for that?",
        "Would you like to go with Thursday?",
        "All right to go ahead?",
        "How about it, shall I book it?",
        "If that works for you, I'll move it.",
        "Do you wish to continue?",
    ],
)
def test_a_question_whether_to_go_on(text: str) -> None:
    assert asks_consent(text)


@pytest.mark.parametrize(
    "text",
    [
        "I can confirm that your visit has been cancelled.",
        "We agreed on that yesterday.",
        "It will proceed on Friday.",
        "Is your name correct?",
        "Could you confirm your email address?",
        "Does your card work?",
        "What is the reason?",
        "What would suit you?",
        "How long would you like to keep it?",
        "Which time would work?",
        "Have you already moved it once?",
        "Are you the patient?",
        "Do you want help?",
        "Is there anything else, or is that all right?",
        "I'd like your date of birth, please.",
        "If you're happy, so are we.",
        "Are you ready to order?",
        "Does your insurance work abroad?",
        "Did he give you the nod?",
    ],
)
def test_another_question_or_none(text: str) -> None:
    assert not asks_consent(text)
