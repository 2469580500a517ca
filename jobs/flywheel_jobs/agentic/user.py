"""The user of a conversation as a program: what a task's card says, told when it is asked for.

Training has no model to spare for the user, and the stand-in plays it as well: both speak by this function. A model in
role UserSimulator plays the same card in stages (`drive`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.records.agentic import User
from flywheel_domains.questions import asks_consent, asks_for, offers_more
from flywheel_domains.stances import sentences

THANKS, LEAVE, YES, NO_OTHER = "Thank you.", "Then leave it.", "Yes, please.", "I do not know."
PLEAS = ("I am entitled to it.", "Please, it is urgent.")
_WHICH = re.compile(r"\b(which|what(?! you)|why|when|where|who)\b", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+|\d+")
_SAME = {"number": "id", "mail": "email", "birthday": "birth", "born": "birth", "reason": "ground", "why": "reason"}
"""Everyday words for names of facts."""


@dataclass(frozen=True)
class Reply:
    """What the user says; `stop` ends the conversation."""

    text: str
    stop: bool = False


def reply(card: User, said: str, turn: int, writes: int, told: int = 0, heard: Sequence[str] = ()) -> Reply:
    """The user's answer to what the agent said: yes to nothing but a question whether to go on.

    `turn` counts the user's replies from 1, `told` what was said of `later`, `heard` names facts told so far. Four
    levels (docs/method.md, "Simulated user"): tell what is asked for, go on to the next wish, insist, stop.
    """
    answers, consent = _told(card, said, heard), asks_consent(said)
    if answers or consent:
        return Reply(answers or YES)
    if asks_for(said) and not offers_more(said):
        return Reply(NO_OTHER)
    if told < len(card.later):
        return Reply(card.later[told])
    if writes == 0 and turn <= card.pushes:
        claims = card.claims or PLEAS
        return Reply(claims[(turn - 1) % len(claims)])
    return Reply(THANKS if writes else LEAVE, stop=True)


def _told(card: User, said: str, heard: Sequence[str]) -> str:
    """The facts that are asked for. A question whether to go on asks for none of those that it names."""
    asking = [each for each in sentences(said) if _WHICH.search(each) or not asks_consent(each)]
    if not any(map(asks_for, asking)):
        return ""
    return " ".join(answer for name in asked_for(card, " ".join(asking)) if (answer := _answer(card, name, heard)))


def asked_for(card: User, said: str) -> list[str]:
    """Names of the card's facts that the agent's words speak of; a number that is asked for by name, alone."""
    words = set(_WORD.findall(said.lower()))
    words |= {_SAME[w] for w in words if w in _SAME}
    met = {name: words & set(_WORD.findall(name.lower())) for name in {**card.facts, **card.again}}
    return [name for name, by in met.items() if by - {"id"}] or [name for name, by in met.items() if by]


def _answer(card: User, name: str, heard: Sequence[str]) -> str:
    """The fact, or the next of those that may stand for it; empty where there is none left."""
    value = _next(card, name, heard)
    return "" if value is None else f"{name.replace('_', ' ').capitalize()}: {value}."


def _next(card: User, name: str, heard: Sequence[str]) -> str | None:
    """What is told of a fact the next time that it is asked for."""
    left = [*([card.facts[name]] if name in card.facts else []), *card.again.get(name, [])]
    return next(iter(left[heard.count(name) :]), None)


def told_in(card: User, text: str, heard: Sequence[str]) -> list[str]:
    """Names of facts whose next value a reply says, whoever wrote it."""
    found = []
    for name in {**card.facts, **card.again}:
        value = _next(card, name, heard)
        if value is not None and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE):
            found.append(name)
    return found
