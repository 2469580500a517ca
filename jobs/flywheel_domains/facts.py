"""Whether the facts that must be told were told: each with its own value, in its unit, and with no other beside it.

Whoever reads out every number that there is has told none: what is joined by "or", listed bare, or said twice in the
same words with different values is a guess.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from flywheel_domains.case import Fact
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Expr
from flywheel_domains.talk import Talk, clean, digits, minor_units, values_of
from flywheel_domains.truth import major
from flywheel_domains.values import fold
from flywheel_domains.values import plain as as_json

_PART = re.compile(r"(?<=[.!?])\s+|\n+|;\s+|,?\s+(?:and|but|while|whereas)\s+(?=[a-z])", re.I)
_NUMBER = r"(?:\d{1,3}(?:[,  ]\d{3})+|\d+)(?:\.\d+)?"
_VALUE = re.compile(
    rf"\d{{4}}-\d{{2}}-\d{{2}}(?:T\d{{2}}:\d{{2}})?|(?:[-−]|[€$£¥]\s?)*(?<![\w.,]){_NUMBER}(?!\w)"
    r"(?:\s?(?:[€$£¥]|[A-Z]{3}\b|euros?\b|dollars?\b|pounds\b|cents?\b|pence\b))?"
    r"|(?=[\w/-]*\d)(?=[\w/-]*[A-Za-z])[\w/-]{3,}"
)
_MARK = "\0"
_BETWEEN = re.compile(rf"{_MARK}[\s(\[]*(?:/|\||,?\s*(?:or|and/or|perhaps|maybe)\b[^{_MARK}]{{0,40}}?)\s*{_MARK}", re.I)
_LIST = re.compile(rf"{_MARK}(?:[\s,/|;&]*(?:(?:or|and|then)\s)?\s*{_MARK}){{2,}}", re.I)
_GUESS = re.compile(
    rf"\b(?:maybe|perhaps|possibly|might be|may be|could be|either|guess|not sure)\b|^or\b|\bnot\s*{_MARK}|"
    rf"n't\s*{_MARK}",
    re.I,
)
_CENTS = re.compile(rf"({_NUMBER})\s?(?:cents?|pence|minor units)\b", re.I)
_YES, _NO = re.compile(r"^(?:yes|true|indeed|correct)\b", re.I), re.compile(r"^(?:no|false)\b", re.I)
_NOT = re.compile(r"\b(?:not|no|never|false)\b|n't\b", re.I)


@dataclass(frozen=True)
class _Part:
    """A part of a text that says one thing, its values, and the words around them."""

    text: str
    talk: Talk

    @property
    def frame(self) -> str:
        return _VALUE.sub(_MARK, self.text)

    @property
    def words(self) -> str:
        """The frame without what stands before and after and says nothing: what two claims of one thing share."""
        return (
            re.sub(rf"[^\w{_MARK}]+", " ", re.sub(r"^(?:or|and|then|also|so)\b", "", self.frame, flags=re.I))
            .strip()
            .lower()
        )


def untold(domain: Domain, facts: Sequence[Fact], texts: Sequence[str]) -> bool:
    """Whether some fact was not told."""
    parts = list(_parts(domain, texts)) if facts else []
    return not all(_told(domain, fact, facts, parts) for fact in facts)


def contradicted(domain: Domain, facts: Sequence[Fact], texts: Sequence[str]) -> bool:
    """Whether a fact was named with another value than its own ("your refund is ...")."""
    parts = list(_parts(domain, texts)) if facts else []
    for name in {fact.name for fact in facts}:
        own = [fact for fact in facts if fact.name == name]
        if any(isinstance(fact.value, bool) or fact.value is None for fact in own):
            continue
        named = re.compile(rf"\b{re.escape(name.replace('_', ' '))}\b(?:\s+[a-z]+){{0,3}}\W*{_MARK}", re.I)
        for part in parts:
            if named.search(part.frame) and not any(_says(domain, part, fact) for fact in own):
                return True
    return False


def _parts(domain: Domain, texts: Sequence[str]) -> Iterator[_Part]:
    for text in texts:
        for part in _PART.split(digits(clean(text))):
            if part.strip():
                yield _Part(part.strip(), values_of(part, domain.money.currency, domain.money.minor))


def _told(domain: Domain, fact: Fact, facts: Sequence[Fact], parts: Sequence[_Part]) -> bool:
    value = fact.value
    if value is None:
        return True  # there is nothing to be told
    if isinstance(value, bool):
        said = {yes for part in parts if (yes := _answer(part.text, fact.name)) is not None}
        return said == {value}
    if isinstance(value, list | tuple):
        whole = [*facts, *(Fact(fact.name, member, fact.source) for member in value)]
        return all(_told(domain, Fact(fact.name, member, fact.source), whole, parts) for member in value)
    telling = [part for part in parts if _says(domain, part, fact) and not _guessed(domain, part, facts)]
    return any(not _otherwise(domain, part, facts, parts) for part in telling)


def _answer(text: str, name: str) -> bool | None:
    """Whether a part of a text says yes or no to what is asked: by the word, or by naming it."""
    named = re.search(rf"\b{re.escape(name.replace('_', ' '))}\b\W*", text, re.I)
    rest = text[named.end() :] if named else text
    if _YES.search(rest) or _NO.search(rest):
        return _YES.search(rest) is not None
    return None if named is None else not _NOT.search(text)


def _guessed(domain: Domain, part: _Part, facts: Sequence[Fact]) -> bool:
    """Whether a part leaves open which of several values it is. Lists of nothing but facts are no guess."""
    frame = part.frame
    if _GUESS.search(frame):
        return True
    lists = [*_BETWEEN.finditer(frame), *_LIST.finditer(frame)]
    if not lists:
        return False
    single = [
        _Part(match[0], values_of(match[0], domain.money.currency, domain.money.minor))
        for match in _VALUE.finditer(part.text)
    ]
    return not all(any(_says(domain, one, fact) for fact in _members(facts)) for one in single)


def _members(facts: Collection[Fact]) -> Iterator[Fact]:
    for fact in facts:
        values = fact.value if isinstance(fact.value, list | tuple) else (fact.value,)
        yield from (Fact(fact.name, value, fact.source) for value in values)


def _otherwise(domain: Domain, part: _Part, facts: Sequence[Fact], parts: Sequence[_Part]) -> bool:
    """Whether the same is said in the same words with a value that is no fact."""
    same = (other for other in parts if other.words == part.words and other.text != part.text)
    return any(not any(_says(domain, other, fact) for fact in _members(facts)) for other in same)


def _says(domain: Domain, part: _Part, fact: Fact) -> bool:
    """Whether a part names the value of a fact, however it is written."""
    value, talk = fact.value, part.talk
    if isinstance(value, list | tuple):
        return any(_says(domain, part, member) for member in _members([fact]))
    if isinstance(value, int) and not isinstance(value, bool):
        return _says_number(domain, part, fact, value)
    if isinstance(value, datetime | date):
        return value.isoformat()[:10] in talk.dates or f"0000-{value:%m-%d}" in talk.dates
    text = str(as_json(value))
    if text in talk.dates or text[:10] in talk.dates:
        return True
    return all(word.strip(".,").casefold() in talk.words for word in fold(text).split())


def _says_number(domain: Domain, part: _Part, fact: Fact, value: int) -> bool:
    """An amount has the domain's currency, or is written as one; its raw minor units are no amount to a caller."""
    currency, minor = domain.money.currency, domain.money.minor
    amounts = {abs(amount) for of, amount in part.talk.money if of == currency}
    if is_money(domain, fact):
        amounts |= {n for match in _CENTS.finditer(part.text) if (n := minor_units(match[1], 0)) is not None}
        return abs(value) in amounts or major(value, minor) in part.talk.numbers
    counted = part.talk.numbers | {number for number, _ in part.talk.lasting}
    return str(abs(value)) in counted


def is_money(domain: Domain, fact: Fact) -> bool:
    """Whether a fact is an amount: what it is computed from holds amounts, and it counts none of them."""
    names = {column for columns in domain.columns.values() for column, kind in columns.items() if kind.kind == "money"}
    wish = domain.wishes.get(fact.source)
    asked = wish.asks.get(fact.name) if wish is not None else None
    goals = [domain.parts[wish.goal]] if wish is not None else list(domain.parts.values())
    for part in goals:
        arg = part.args.get(fact.name)
        if arg is not None and arg.type == "money":
            return True
        expr = asked or part.let.get(fact.name)
        if expr is not None and _amount(domain, expr, part.let, names, set()):
            return True
    return False


def _amount(domain: Domain, expr: Expr, lets: Any, names: Collection[str], seen: set[str]) -> bool:
    if expr.text.strip().startswith(("count(", "len(", "days", "minutes", "age(")):
        return False
    if expr.attributes & set(names):
        return True
    inner = [lets[name] for name in expr.names if name in lets and name not in seen]
    helpers = [domain.lookups[name].body for name in expr.calls if name in domain.lookups and name not in seen]
    seen |= expr.names | expr.calls
    return any(_amount(domain, each, lets, names, seen) for each in (*inner, *helpers) if each is not None)
