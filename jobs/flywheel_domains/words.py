"""What a caller says first, what they know, and the policy document: text made from values, and read back to them.

A wording that does not give every value it must is a fault of the domain; so is a text that reads back differently.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flywheel_domains.args import schema_of
from flywheel_domains.behaviour import Behaviour
from flywheel_domains.case import Case, Want
from flywheel_domains.domain import Domain
from flywheel_domains.model import Arg, Persona
from flywheel_domains.slots import COMPUTED
from flywheel_domains.talk import minor_units
from flywheel_domains.values import fold, plain

PLACE = re.compile(r"\{(\w+)(?::([^{}|]*)\|([^{}|]*))?\}")
"""`{slot}`, or `{slot:text if true|text if false}`."""
ORDER = ("First of all: ", "After that: ", "And then: ", "And at last: ")
FALLBACK = " If that cannot be done: "
WITHHELD = "(ask me about it)"
LEAST_DISTRACTORS = 3


def first_message(domain: Domain, world: Any, case: Case) -> str:
    """What the caller opens with: every wish in the stated order, with its fallbacks."""
    persona = persona_of(domain, case)
    row = world.view().values(domain.caller_table or "", case.caller) or {}
    about = {"name": case.knows.get("name", row.get("name", "")), "trade": "", "a": "a"}
    if persona is not None:
        about |= {"trade": persona.trade, "a": "an" if persona.trade[:1] in "aeiou" else "a"}
    parts = [FALLBACK.join(rendered(domain, option, about) for option in want.chain()) for want in case.wants]
    if len(parts) == 1:
        return parts[0]
    return " ".join(ORDER[min(number, len(ORDER) - 1)] + part for number, part in enumerate(parts))


def persona_of(domain: Domain, case: Case) -> Persona | None:
    """Who speaks."""
    return next((persona for persona in domain.personas if persona.id == case.persona), None)


def rendered(domain: Domain, want: Want, about: Mapping[str, Any] | None = None) -> str:
    """One wish in the words that were drawn for it."""
    wish = domain.wishes[want.wish]
    args = domain.parts[wish.goal].args

    def value(match: re.Match[str]) -> str:
        name, yes, no = match[1], match[2], match[3]
        if name in want.hidden:
            return WITHHELD
        if name in want.described:
            return described_words(domain, args[name], want.described[name])
        if name in want.said:
            found = want.said[name]
            return (yes if found else no) if yes is not None else spoken(domain, args.get(name), found)
        if name in want.limits:
            return spoken_number(domain, want.limits[name])
        return str((about or {}).get(name, match[0]))

    return PLACE.sub(value, wish.words[want.words % len(wish.words)])


def described_words(domain: Domain, arg: Arg, marks: Iterable[tuple[str, Any]]) -> str:
    """A row by what its owner remembers of it."""
    table = arg.ref or ""
    parts = []
    for path, value in marks:
        kind = domain.columns[table].get(path)
        text = money(domain, value) if kind is not None and kind.kind == "money" else _said(value)
        parts.append(f"{path.replace('_', ' ')}: {text}")
    return f"(I have no number at hand; {', '.join(parts)})" if parts else "(I have only one)"


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_said, value)) if isinstance(value, list | tuple) else str(value)


def spoken(domain: Domain, arg: Arg | None, value: Any) -> str:
    """A value as a caller says it."""
    if isinstance(value, list | tuple):
        inner = arg.list if arg is not None else None
        return "; ".join(spoken(domain, inner, member) for member in value)
    if isinstance(value, Mapping):
        fields = (arg.object if arg is not None else None) or {}
        first, *rest = (spoken(domain, fields.get(name), member) for name, member in value.items())
        return f"{first} ({', '.join(rest)})" if rest else first
    if isinstance(value, int) and not isinstance(value, bool) and arg is not None and arg.type == "money":
        return money(domain, value)
    return _said(plain(value))


def spoken_number(domain: Domain, value: Any) -> str:
    """A limit: callers' limits are amounts."""
    return money(domain, value) if isinstance(value, int) else _said(value)


def money(domain: Domain, amount: int) -> str:
    """`16.28 EUR`."""
    minor = domain.money.minor
    digits = str(abs(amount)).rjust(minor + 1, "0")
    text = f"{digits[:-minor]}.{digits[-minor:]}" if minor else digits
    return f"{'-' if amount < 0 else ''}{text} {domain.money.currency}"


# ---- read back


def read_back(domain: Domain, want: Want, text: str) -> dict[str, Any] | None:
    """The values that a text gives to the slots of a want, by its wording; None if the text is another one."""
    wish = domain.wishes[want.wish]
    args = domain.parts[wish.goal].args
    template = wish.words[want.words % len(wish.words)]
    pattern, names, last = "", [], 0
    for match in PLACE.finditer(template):
        pattern += re.escape(template[last : match.start()])
        choices = r"\(.+?\)" if match[1] in want.described else ".+?"  # a description has commas of its own
        if match[2] is not None:
            choices = f"{re.escape(match[2])}|{re.escape(match[3])}"
        pattern += f"({choices})"
        names.append((match[1], match[2]))
        last = match.end()
    found = re.fullmatch(pattern + re.escape(template[last:]), text, re.DOTALL)
    if found is None:
        return None
    values = {}
    for (name, yes), raw in zip(names, found.groups(), strict=True):
        if name in args:
            values[name] = (raw == yes) if yes is not None else _heard(domain, args[name], raw)
    return values


def _heard(domain: Domain, arg: Arg, raw: str) -> Any:
    if arg.list is not None:
        return [_heard(domain, arg.list, part) for part in raw.split("; ")]
    if arg.object is not None:
        head, _, tail = raw.removesuffix(")").partition(" (")
        parts = [head, *tail.split(", ")]
        return {
            name: _heard(domain, field, part) for (name, field), part in zip(arg.object.items(), parts, strict=False)
        }
    if arg.type == "money":
        number, _, currency = raw.partition(" ")
        minus = number.startswith("-")
        amount = minor_units(number.lstrip("-"), domain.money.minor) if currency == domain.money.currency else None
        return -amount if minus and amount is not None else amount
    if arg.type == "int":
        return int(raw) if re.fullmatch(r"-?\d+", raw) else raw
    if arg.type == "bool":
        return raw == "yes"
    return raw


def undetermined(domain: Domain, want: Want) -> list[str]:
    """Slots whose value neither the words nor a look-up give, and those that read back as something else."""
    wish = domain.wishes[want.wish]
    named = {match[1] for match in PLACE.finditer(wish.words[want.words % len(wish.words)])}
    faults = [
        name
        for name, slot in wish.slots.items()
        if slot.way not in (*COMPUTED, "caller", "value") and name not in named and name not in want.hidden
    ]
    faults += [name for name, slot in wish.slots.items() if slot.way in COMPUTED and name in named]
    back = read_back(domain, want, rendered(domain, want, {"name": "Ann", "trade": "cook", "a": "a"}))
    for name, value in want.said.items():
        if (
            name in named
            and name not in want.hidden
            and (back is None or plain(back.get(name)) != _as_list(plain(value)))
        ):
            faults.append(name)
    return sorted(set(faults))


def _as_list(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else value


# ---- the policy document


def document(domain: Domain, case: Case, distractors: int = LEAST_DISTRACTORS) -> tuple[str, ...]:
    """Ids of the rules in the policy document of a case, in its order.

    It holds every rule that speaks about what is wished, whatever the state, and others of every verdict. It depends on
    the wishes and on nothing else: a twin has the same document, so that the document never gives the answer away.
    """
    goals = [domain.wishes[option.wish].goal for want in case.wants for option in want.chain()]
    core: dict[str, None] = {}
    queue = list(dict.fromkeys(goals))
    for goal in queue:
        for rule in domain.rules_of(goal):
            core[rule.id] = None
            if rule.instead is not None and rule.instead.tool not in queue:
                queue.append(rule.instead.tool)
    wishes = "/".join(option.wish for want in case.wants for option in want.chain())
    rng = random.Random(hashlib.sha256(f"{domain.domain}/{case.persona}/{wishes}".encode()).digest())
    others = [rule for rule in domain.rules if rule.id not in core]
    rng.shuffle(others)
    there = {domain.rule(id).verdict for id in core}
    chosen = []
    for verdict in dict.fromkeys(rule.verdict for rule in others):
        if verdict is not None and verdict not in there:
            chosen.append(next(rule.id for rule in others if rule.verdict == verdict))
    chosen += [rule.id for rule in others if rule.id not in chosen][: max(0, distractors - len(chosen))]
    ids = [*core, *chosen]
    rng.shuffle(ids)
    return tuple(ids)


def document_text(domain: Domain, rules: Iterable[str]) -> str:
    """The sentences of the rules, a line each."""
    return "\n".join(f"- {domain.rule(id).say}" for id in rules)


def rules_in(domain: Domain, text: str) -> tuple[str, ...]:
    """The rules whose sentences stand in a document, in its order; a line that is no rule's is not read."""
    by_sentence = {fold(rule.say): rule.id for rule in domain.rules}
    lines = (fold(line.strip().removeprefix("-")) for line in text.splitlines())
    return tuple(by_sentence[line] for line in lines if line in by_sentence)


def tool_list(domain: Domain) -> list[dict[str, Any]]:
    """The tools as a model is shown them."""
    return [schema_of(domain, tool) for tool in domain.tools.values()]


def card(domain: Domain, found: Behaviour) -> dict[str, Any]:
    """What a simulated caller knows: what they say of themselves, withhold, offer instead, claim, and want at most."""
    case = found.case
    persona = persona_of(domain, case)
    options = [option for want in case.wants for option in want.chain()]
    slots = dict.fromkeys(slot for option in options for slot in (*sorted(option.hidden), *option.again))
    speaks = {slot: _asked(found, options, slot) for slot in slots}
    return {
        "knows": dict(case.knows),
        "claims": dict(case.claims),
        "tone": persona.tone if persona else "plain",
        "pushes": persona.pushes if persona else 0,
        "pleads": persona.pleads if persona else None,
        "withheld": {slot: plain(o.said[slot]) for slot, o in speaks.items() if slot in o.hidden},
        "instead": {slot: list(o.again.get(slot, ())) for slot, o in speaks.items()},
    }


def _asked(found: Behaviour, options: Sequence[Want], slot: str) -> Want:
    """Whose answers count where several wishes have the slot: the one that the right way asks most about it.

    What it asks about the others is the beginning of that (`draws.problem`). Where it asks about none, the first that
    has something to tell.
    """
    asking = max(found.results, key=lambda result: result.asked.count(slot), default=None)
    if asking is not None and slot in asking.asked:
        return asking.option
    return next(o for o in options if slot in o.hidden or slot in o.again)
