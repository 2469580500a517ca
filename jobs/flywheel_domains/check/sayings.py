"""What callers say: words and look-ups give every value, an optimum is one, and a prompt has a size."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace

from flywheel_domains.behaviour import Behaviour, Unidentifiable, behave
from flywheel_domains.case import Case, StepKind
from flywheel_domains.check.report import Finding
from flywheel_domains.check.subject import Subject
from flywheel_domains.decide import Circle
from flywheel_domains.errors import ExprError, ToolFault
from flywheel_domains.holes import order_decides
from flywheel_domains.reward import closing
from flywheel_domains.slots import COMPUTED, NoCandidate, Tie
from flywheel_domains.tools import call as call_tool
from flywheel_domains.values import plain
from flywheel_domains.wishes import Drawing, NotDrawn, caller_of, draw_want
from flywheel_domains.words import document, document_text, first_message, tool_list, undetermined

TRIES = 20
"""Draws of a wish that has an optimum; where half of them tie, most of its tasks are lost."""
PROSE, SCHEMA = 4, 3
"""Characters of a token, by rule of thumb: four of English prose, three of JSON. For estimates, never for limits."""


def determined(subject: Subject) -> Iterator[Finding]:
    """A wording that leaves a value open: two agents who are both right would do different things."""
    for name, wish in subject.domain.wishes.items():
        for number in range(len(wish.words)):
            options = (
                o for found in subject.sample.all for want in found.case.wants for o in want.chain() if o.wish == name
            )
            faults = {
                slot for option in options for slot in undetermined(subject.domain, replace(option, words=number))
            }
            for slot in sorted(faults):
                message = f"the words do not give {slot}, or read back as another value"
                advice = f"put {{{slot}}} into the words, or let it be found (choose, spread, all)"
                yield subject.finding("words", message, advice, "wishes", name, "words", number)


def ties(subject: Subject) -> Iterator[Finding]:
    """Two values that are equally good: which is right, nobody said."""
    for name, wish in subject.domain.wishes.items():
        if not any(slot.way in COMPUTED for slot in wish.slots.values()):
            continue
        tied = [_tied(subject, name, number) for number in range(TRIES)]
        known = [each for each in tied if each is not None]
        if known and 2 * sum(known) >= len(known):
            message = f"{sum(known)} of {len(known)} draws tie: two values are equally good"
            advice = "measure by something that differs, or let generators spread it"
            yield subject.finding("ties", message, advice, "wishes", name)


def _tied(subject: Subject, wish: str, number: int) -> bool | None:
    """Whether a draw of a wish ties; None where it makes no case at all."""
    rng = random.Random(f"{subject.seed}/tie/{wish}/{number}")
    world = subject.worlds[number % len(subject.worlds)]
    try:
        kind = rng.choice(sorted(subject.domain.callers))
        caller, owner, knows = caller_of(subject.domain, world, rng, kind)
        want = draw_want(Drawing(subject.domain, world, rng, caller, kind, owner), wish)
        case = Case(subject.domain.domain, world.base.seed, caller, kind, "", (want,), knows)
        behave(subject.domain, world, case)
    except Tie:
        return True
    except (NotDrawn, NoCandidate, Unidentifiable, Circle, ExprError, ToolFault):
        return None
    return False


def prompt_sizes(subject: Subject) -> list[int]:
    """Tokens of the first prompt of each case, the shortest first."""
    return sorted(tokens(subject, each) for each in subject.sample.all)


def facts(subject: Subject, sizes: list[int]) -> dict[str, str]:
    """What is worth knowing and no fault: sizes of prompts, pairs of wishes whose order matters."""
    found = {}
    if sizes:
        middle = sizes[len(sizes) // 2]
        found["prompt tokens (estimated)"] = f"{sizes[0]} to {sizes[-1]}, half of them up to {middle}"
    pairs = [each for each in subject.sample.all if len(each.case.wants) > 1]
    matter = sum(
        order_decides(subject.domain, subject.worlds[each.case.seed - subject.seed], each.case) for each in pairs
    )
    found["pairs of wishes whose order matters"] = f"{matter} of {len(pairs)}; the words state it"
    return found


def tokens(subject: Subject, found: Behaviour) -> int:
    """The size of the first prompt of a case, in tokens by rule of thumb."""
    prose = document_text(subject.domain, document(subject.domain, found.case))
    prose += first_message(subject.domain, found.start, found.case)
    schema = json.dumps(tool_list(subject.domain), ensure_ascii=False)
    return len(prose) // PROSE + len(schema) // SCHEMA


def conversation(subject: Subject) -> str:
    """A right conversation with look-ups, of the longest kind that was drawn first."""
    known = [(found, path) for found in subject.sample.all if (path := subject.path(found)) is not None]
    if not known:
        return ""
    found, path = max(known, key=lambda pair: min(len(pair[1].steps), 6))
    rules = document(subject.domain, found.case)
    lines = [
        "policy:",
        document_text(subject.domain, rules),
        "",
        f"caller: {first_message(subject.domain, found.start, found.case)}",
    ]
    world, session = found.start, found.results[0].session
    for step in path.steps:
        if step.kind is StepKind.ASK:
            lines.append(f"agent:  What about {', '.join(step.slots)}?")
        elif step.kind is StepKind.CONFIRM:
            lines.append("agent:  Shall I go ahead?  caller: Yes.")
        elif step.call is not None:
            outcome = call_tool(subject.domain, world, session, step.call.name, dict(step.call.args))
            world, session = outcome.world, outcome.session
            given = json.dumps(plain(dict(step.call.args)), ensure_ascii=False)
            lines += [
                f"call:   {step.call.name} {given}",
                f"        {json.dumps(plain(outcome.answer), ensure_ascii=False)}",
            ]
    lines.append(f"agent:  {closing(subject.domain, found)}")
    lines.append(f"right because of: {', '.join(sorted(found.rules)) or 'no rule: what none speaks about is allowed'}")
    return "\n".join(lines)
