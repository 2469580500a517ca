"""The user's words of a task: asked of the Teacher, checked for saying all they must and nothing they must not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from flywheel_api.records.agentic import User
from flywheel_api.records.reasoning import Persona
from flywheel_domains import words
from flywheel_domains.case import StepKind, Want
from flywheel_domains.domain import Domain
from flywheel_domains.values import plain
from flywheel_jobs.agentic.right import Right, spare_turns

SPARE_REPLIES = 3  # beside those that the right way needs: an agent may ask more than it must
FORBIDDEN = re.compile(r"\b(polic(y|ies)|agents?|tools?|database|api|function)\b", re.IGNORECASE)
WORDS = (
    "Write the user of a test case. The input holds a persona, what the case is about (domain) and, under words, what "
    "the user wishes in plain words. Answer JSON: task (the user's first message, one to three natural sentences in "
    "the persona's voice and tone, with every value under must_say written as it stands there, with none of "
    "must_not_say, in the stated order, without the words policy, agent, tool or any tool name) and background (who "
    "the user is and what they know)."
)


class UserText(BaseModel):
    """What the teacher writes for a task."""

    model_config = ConfigDict(extra="forbid")
    task: Annotated[str, Field(min_length=3, max_length=2000)]
    background: Annotated[str, Field(min_length=1, max_length=2000)]


def payload(right: Right, persona: Persona) -> dict[str, object]:
    """The data of a request for words."""
    return {
        "ask": "words",
        "domain": right.domain.title or right.domain.domain,
        "persona": speaker(right, persona).model_dump(include={"name", "trade", "text"}),
        "tone": words.card(right.domain, right.behaviour)["tone"],
        "words": words.first_message(right.domain, right.start, right.case),
        "background": background(right, persona),
        "must_say": must_say(right),
        "must_not_say": withheld(right),
    }


def background(right: Right, persona: Persona) -> str:
    """Who speaks, and what they know of themselves."""
    known = "; ".join(f"{name.replace('_', ' ')}: {plain(value)}" for name, value in right.case.knows.items())
    return f"{speaker(right, persona).text} {known}".strip()


def speaker(right: Right, persona: Persona) -> Persona:
    """The persona under the name that the caller has in the domain's tables, with the trade that the wording gives.

    Two names on one card would have a simulated user introduce themselves as somebody whom the tables do not know.
    """
    own = words.persona_of(right.domain, right.case)
    name = str(plain(right.case.knows.get("name", persona.name)))
    trade = own.trade if own else persona.trade
    text = persona.text.replace(persona.name, name).replace(persona.trade, trade)
    return persona.model_copy(update={"name": name, "trade": trade, "text": text})


def must_say(right: Right) -> list[str]:
    """Values that the first message gives, as they are spoken."""
    found: dict[str, None] = {}
    for want in _options(right):
        found |= dict.fromkeys(_said(right.domain, want))
    return list(found)


def _said(domain: Domain, want: Want) -> Iterator[str]:
    args = domain.parts[domain.wishes[want.wish].goal].args
    named = {m[1]: m[2] for m in words.PLACE.finditer(_wording(domain, want))}
    for name, value in want.said.items():
        if name in named and named[name] is None and name not in want.hidden:
            yield from words.spoken(domain, args.get(name), value).split("; ")
    for name, value in want.limits.items():
        if name in named:
            yield words.spoken_number(domain, value)
    for marks in want.described.values():
        yield from (str(plain(value)) for _, value in marks if isinstance(value, str))


def _wording(domain: Domain, want: Want) -> str:
    choices = domain.wishes[want.wish].words
    return choices[want.words % len(choices)]


def _options(right: Right) -> Iterator[Want]:
    for want in right.case.wants:
        yield from want.chain()


def withheld(right: Right) -> list[str]:
    """Values that the user tells only when asked."""
    said = set(must_say(right))
    return [v for v in map(str, words.card(right.domain, right.behaviour)["withheld"].values()) if v not in said]


def problems(text: UserText, right: Right) -> list[str]:
    """What is wrong with the user's words."""
    wrong = [f"task must contain {value}" for value in must_say(right) if not _there(value, text.task)]
    wrong += [f"task must not contain {value}" for value in withheld(right) if _there(value, text.task)]
    if FORBIDDEN.search(text.task):
        wrong.append("task must not speak of policy, agents, tools or databases")
    # a tool may be called by an everyday word ("cancel"), which customers use as well; only identifiers betray it
    wrong += [f"task names the tool {name}" for name in right.domain.tools if "_" in name and name in text.task]
    return wrong


def _there(value: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE) is not None


def pushes(right: Right) -> int:
    """How often a user of this persona insists who insists at all."""
    speaker = words.persona_of(right.domain, right.case)
    return max(1, speaker.pushes if speaker else 1)


def user_of(right: Right, text: UserText, pushes: int) -> User:
    """The card that a simulated user plays. In a compact domain they answer only where something must be asked."""
    card: dict[str, Any] = words.card(right.domain, right.behaviour)
    asked = sum(step.kind in (StepKind.ASK, StepKind.CONFIRM) for step in right.behaviour.steps)
    talks = asked > 0 or not right.domain.prompt.compact
    if not right.behaviour.writes:  # whoever insists beyond their answers costs the agent a turn each time
        pushes = min(pushes, asked + max(0, spare_turns(right)))
    claims = [
        f"My {name.replace('_', ' ')}: {words.spoken(right.domain, None, value)}."
        for name, value in card["claims"].items()
    ]
    return User(
        task=text.task,
        background=text.background,
        facts={name: str(plain(value)) for name, value in {**card["knows"], **card["withheld"]}.items()},
        again={name: [str(plain(value)) for value in values] for name, values in card["instead"].items() if values},
        pushes=pushes if talks else 0,
        claims=[*claims, card["pleads"]] if card["pleads"] else claims,
        tone=card["tone"],
        replies=asked + pushes + SPARE_REPLIES if talks else 0,
    )
