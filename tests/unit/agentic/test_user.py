"""The user as a program: tells what is asked for, goes on, insists as often as the persona does, stops."""

from __future__ import annotations

import pytest

from flywheel_api.records.agentic import User
from flywheel_domains.consent import agrees
from flywheel_jobs.agentic import prompt
from flywheel_jobs.agentic.drawing import Side, draw_cases, spoken_by
from flywheel_jobs.agentic.right import steps, summary
from flywheel_jobs.agentic.user import LEAVE, NO_OTHER, PLEAS, THANKS, YES, reply, told_in
from flywheel_jobs.agentic.words import UserText, payload, user_of
from unit.agentic.world import ANN, LOCKED, TRAP, case, domain, right

REFUSED = "That is not possible."


def card(**more: object) -> User:
    return User.model_validate({"task": "Cancel it.", **more})


def said(
    of: User, text: str, turn: int = 1, writes: int = 0, told: int = 0, heard: tuple[str, ...] = ()
) -> tuple[str, bool]:
    answer = reply(of, text, turn, writes, told, heard)
    return answer.text, answer.stop


def test_a_fact_is_told_when_it_is_asked_for_and_each_other_value_once() -> None:
    of = card(facts={"order_id": "F12"}, again={"method_id": ["M1", "M2"]})
    assert said(of, "Which order number is it?") == ("Order id: F12.", False)
    assert said(of, "Which method?") == ("Method id: M1.", False)
    assert said(of, "Which other method?", heard=("method_id",)) == ("Method id: M2.", False)
    assert said(of, "Which other method?", heard=("method_id", "method_id")) == (NO_OTHER, False)
    assert said(of, "Shall I go ahead?") == (YES, False)
    assert told_in(of, "Order id: F12.", ()) == ["order_id"] and told_in(of, "F123", ()) == []


@pytest.mark.parametrize("text", ["Hello, do you want help?", "Is it raining?", "How are you?"])
def test_nobody_agrees_to_what_was_not_asked(text: str) -> None:
    assert said(card(facts={"order_id": "F12"}), text) == (NO_OTHER, False)


@pytest.mark.parametrize(
    "text",
    ["Shall I go ahead?", "I will cancel F12. Is that all right?", "Would you like me to cancel it?", "Do you agree?",
     "May I cancel F12?", "It costs 40 EUR more, ok?", "Do you want me to do that?"],
)  # fmt: skip
def test_a_question_whether_to_go_on_is_answered_with_yes(text: str) -> None:
    assert said(card(), text) == (YES, False)


@pytest.mark.parametrize(
    "text",
    ["I would cancel order F12. Shall I go ahead?", "Shall I cancel order F12?", "Please confirm that I cancel F12.",
     "Is that what you want?"],
)  # fmt: skip
def test_a_fact_that_is_read_out_is_not_asked_for(text: str) -> None:
    assert said(card(facts={"order_id": "F12"}), text) == (YES, False)


def test_what_is_asked_for_beside_consent_is_told_first() -> None:
    of = card(facts={"order_id": "F12"})
    assert said(of, "Do you agree? And which order is it?") == ("Order id: F12.", False)
    assert said(of, "Do you agree, and which order is it?") == ("Order id: F12.", False)


@pytest.mark.parametrize(
    "text",
    ["Here is what I found. gap: 112.80 GBP.", "I have cancelled the flight which you booked.",
     "It stays as it is, which means that nothing is paid.", "I did what you asked for.", "One moment, please.",
     "Let me check that.", "Name: Rosa Lopes."],
)  # fmt: skip
def test_words_of_questions_do_not_ask(text: str) -> None:
    """Whoever answered them with "I do not know" never came to the end of the conversation."""
    assert said(card(), text, writes=1) == (THANKS, True)


@pytest.mark.parametrize(
    "text",
    ["Your order number, please.", "I need your order number.", "Tell me the order number.",
     "I am not sure which order you mean.", "To go on I require the order number.", "Please state your order number.",
     "And what is the order number", "I'd like to know the number of the order.",
     "I will look at it now\nWhich order is it"],
)  # fmt: skip
def test_a_fact_is_asked_for_without_a_question_mark(text: str) -> None:
    assert said(card(facts={"order_id": "F12"}), text) == ("Order id: F12.", False)


def test_whoever_says_that_it_was_done_asks_for_nothing() -> None:
    assert said(card(), "I can confirm that it was cancelled.", writes=1) == (THANKS, True)


def test_whoever_asks_what_else_there_is_hears_the_next_wish() -> None:
    assert said(card(later=["And my other one?"]), "Is there anything else?") == ("And my other one?", False)
    assert said(card(), "Is there anything else I can help you with?", writes=1) == (THANKS, True)


def test_the_next_wish_comes_before_anybody_insists() -> None:
    of = card(later=["And my other one?"], pushes=2)
    assert said(of, REFUSED) == ("And my other one?", False)
    assert said(of, REFUSED, told=1) == (PLEAS[0], False)


@pytest.mark.parametrize(
    ("claims", "words"), [([], PLEAS), (["I am in the crown tier."], ["I am in the crown tier."] * 2)]
)
def test_a_user_insists_as_often_as_the_persona_does_and_then_leaves(claims: list[str], words: list[str]) -> None:
    of = card(pushes=2, claims=claims)
    assert [said(of, REFUSED, turn) for turn in (1, 2, 3)] == [(words[0], False), (words[1], False), (LEAVE, True)]
    assert said(of, "That has been done.", writes=1) == (THANKS, True)
    assert said(card(), REFUSED) == (LEAVE, True)


def test_a_user_insists_no_more_often_than_the_agent_has_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right agent met its limit with a long refusal that a persona like the lawyer would not take."""
    cases = draw_cases(domain("airline"), Side.TRAINING, "insists", 12)
    refused = next(one for one in cases if not one.behaviour.writes and len(steps(one)) > 1)
    asked = sum(step.call is None for step in steps(refused))
    for spare, often in ((0, asked), (1, asked + 1), (9, 4)):
        monkeypatch.setattr(prompt, "FULL", prompt.Limits(len(steps(refused)) + 1 + spare, None))
        assert user_of(refused, UserText(task="Cancel it.", background="b"), 4).pushes == often


def test_a_card_holds_tone_claims_and_plea_of_the_persona() -> None:
    """In this order: what they wrongly claim, then how they plead."""
    lawyer = next(persona for persona in domain("airline").personas if persona.id == "lawyer")
    (one,) = draw_cases(domain("airline"), Side.TRAINING, "card", 1)
    spoken = spoken_by(one.domain, one.case, lawyer, Side.TRAINING)
    of = user_of(spoken, UserText(task="Cancel it.", background="b"), 2)
    assert lawyer.pleads and of.claims == ["My insured: yes.", lawyer.pleads] and of.tone == lawyer.tone
    assert [said(of, REFUSED, turn)[0] for turn in (1, 2)] == of.claims
    assert payload(spoken, ANN)["tone"] == lawyer.tone


def test_a_yes_is_a_yes() -> None:
    assert [agrees(text) for text in ("Yes, please.", "ok", "No.", "I said yes")] == [True, True, False, False]


def test_a_record_names_the_calls_that_would_succeed_and_are_wrong() -> None:
    """The trap path of a task: what was wished for, what its tool would carry out, and what is not right."""
    assert [call.name for call in summary(right(TRAP)).traps] == ["refund"]
    assert [summary(right(of)).traps for of in (case(), LOCKED)] == [[], []]
