"""What a text of the agent claims, as typed values and stances; wording is never compared.

A stance is read per sentence: that something was done, that it is refused, that it was handed over, or a question. A
sentence that both denies and says done ("I have not cancelled it") denies. Amounts are read in minor units, dates as
ISO, ids as they stand; numbers without a currency are plain numbers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Stance(StrEnum):
    """What a sentence says about a wish."""

    DONE = "done"
    DENIED = "denied"
    HANDED = "handed"
    ASKS = "asks"


SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY"}
NAMES = {"euro": "EUR", "euros": "EUR", "dollar": "USD", "dollars": "USD", "pounds": "GBP"}
_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_NUMBER = r"\d{1,3}(?:[,  ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_MONEY = re.compile(
    rf"(?P<minus>[-−])?\s?(?:(?P<sign>[€$£¥])\s?(?P<a>{_NUMBER})"
    rf"|(?P<b>{_NUMBER})\s?(?P<after>[€$£¥]|[A-Z]{{3}}\b|euros?\b|dollars?\b|pounds\b))"
)
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({'|'.join(_MONTHS)})\s+(\d{{4}})\b", re.I)
_MONTH_DAY = re.compile(rf"\b({'|'.join(_MONTHS)})\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})\b", re.I)
_PLAIN = re.compile(rf"(?<![\w.,])(?:{_NUMBER})(?![\w])")
_WORD = re.compile(r"[A-Za-z0-9@][\w@/.-]*[\w]|\w")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+|;\s+|,?\s+but\s+", re.I)

_DENIES = re.compile(
    r"\b(?:can ?not|unable|not|won't|refus\w+|declin\w+|denied|deny|impossible|no longer|no way|never|sorry|"
    r"unfortunately|nothing|against|(?:stays?|remains?) (?:as|where|un\w+ed))\b|^no\b|n't\b",
    re.I,
)
_DONE = re.compile(r"^(?:done|completed|all (?:set|done)|sorted)\b", re.I)
_DOING = re.compile(
    r"\b(?:(?:i|we)(?:'ve| have| had)?(?: now| just| already| also)?|(?:has|have) (?:now |just |also )?been|"
    r"(?:is|are|was|were) (?:now |just |also )?|and) (\w+)",
    re.I,
)
"""What somebody did or what was done; a verb of the domain's writes, or a usual one, must follow."""
VERBS = (
    "cancel", "refund", "book", "chang", "updat", "mov", "add", "remov", "issu", "process", "appl", "upgrad", "approv",
    "grant", "made", "sent", "gave", "given", "paid", "put", "exchang", "return", "swap", "replac", "renam", "correct",
    "transferred", "reserv", "renew", "clos", "open", "order", "nominat", "withdrawn", "submitt", "accept", "credit",
)  # fmt: skip
_HANDED = re.compile(
    r"\b(?:colleague|transfer\w*|hand(?:ed|ing)? (?:you |this |it )?over|human agent|specialist)\b", re.I
)


@dataclass(frozen=True)
class Talk:
    """What was claimed: stances, amounts in minor units by currency, dates, plain numbers and other words (ids)."""

    stances: frozenset[Stance]
    money: frozenset[tuple[str, int]]
    dates: frozenset[str]
    numbers: frozenset[str]
    words: frozenset[str]

    @property
    def empty(self) -> bool:
        """True if nothing at all was said."""
        return not (self.stances or self.money or self.dates or self.numbers or self.words)


def read(texts: Iterable[str], currency: str = "", minor: int = 2, verbs: Iterable[str] = ()) -> Talk:
    """All that the texts claim. `verbs` are the stems of what the domain's tools do ("cancel"): see `stance`."""
    stems = tuple(v.casefold() for v in verbs)
    stances: set[Stance] = set()
    money: set[tuple[str, int]] = set()
    dates: set[str] = set()
    numbers: set[str] = set()
    words: set[str] = set()
    for raw in texts:
        text = unicodedata.normalize("NFC", raw).replace("’", "'")
        stances |= {s for part in _SENTENCE.split(text) if (s := stance(part.strip(), stems)) is not None}
        rest, found = _take_dates(text)
        dates |= found
        rest, amounts = _take_money(rest, currency, minor)
        money |= amounts
        numbers |= {plain(n) for n in _PLAIN.findall(rest)}
        words |= {w.strip(".,").casefold() for w in _WORD.findall(rest)}
    return Talk(frozenset(stances), frozenset(money), frozenset(dates), frozenset(numbers), frozenset(words))


def stance(sentence: str, verbs: tuple[str, ...] = ()) -> Stance | None:
    """What one sentence says about a wish, None if it says nothing about it.

    "I have cancelled it" says done, "I have found it" does not; "it is locked" and "it was already cancelled" describe.
    """
    if not sentence:
        return None
    if sentence.endswith("?"):
        return Stance.ASKS
    if _DENIES.search(sentence):
        return Stance.DENIED
    if _HANDED.search(sentence):
        return Stance.HANDED
    done = (found[1].casefold() for found in _DOING.finditer(sentence))
    if _DONE.search(sentence) or any(word.startswith((*VERBS, *verbs)) for word in done):
        return Stance.DONE
    return None


def plain(number: str) -> str:
    """A number's value without grouping or idle zeros: `1,000.50` and `1000.5` are equal."""
    text = re.sub(r"[,  ]", "", number)
    return (text.rstrip("0").rstrip(".") if "." in text else text).lstrip("0") or "0"


def minor_units(number: str, minor: int) -> int | None:
    """`40` or `40.50` in minor units; None if it has more decimals than the currency."""
    whole, _, part = re.sub(r"[,  ]", "", number).partition(".")
    part = part.rstrip("0")
    return None if len(part) > minor else int(whole + part.ljust(minor, "0"))


def _take_dates(text: str) -> tuple[str, set[str]]:
    found: set[str] = set()

    def iso(year: str, month: int, day: str) -> str:
        try:
            found.add(date(int(year), month, int(day)).isoformat())
        except ValueError:
            found.add(f"{year}-{month:02d}-{int(day):02d}")  # no such day: still a claim, and a false one
        return " "

    text = _ISO.sub(lambda m: iso(m[1], int(m[2]), m[3]), text)
    text = _DAY_MONTH.sub(lambda m: iso(m[3], _MONTHS.index(m[2].lower()) + 1, m[1]), text)
    return _MONTH_DAY.sub(lambda m: iso(m[3], _MONTHS.index(m[1].lower()) + 1, m[2]), text), found


def _take_money(text: str, currency: str, minor: int) -> tuple[str, set[tuple[str, int]]]:
    found: set[tuple[str, int]] = set()

    def amount(match: re.Match[str]) -> str:
        unit = match["sign"] or match["after"]
        name = SIGNS.get(unit) or NAMES.get(unit.lower()) or unit
        if len(name) == 3 and name.isupper() and name not in {*SIGNS.values(), currency}:
            return match[0]  # three capitals after a number are no currency that anybody here knows
        value = minor_units(match["a"] or match["b"], minor)
        if value is not None:
            found.add((name, -value if match["minus"] else value))
        return " "

    return _MONEY.sub(amount, text), found
