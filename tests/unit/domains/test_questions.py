"""What is a question whether to go on, in whatever words it is asked, and what is another question or none."""

from __future__ import annotations

import pytest

from flywheel_domains.questions import asks_consent


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
    ],
)
def test_another_question_or_none(text: str) -> None:
    assert not asks_consent(text)
