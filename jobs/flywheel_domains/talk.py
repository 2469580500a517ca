"""What a text of the agent claims, as typed values and stances; wording is never compared.

Stances are read clause by clause (`stances`). Amounts are read in minor units, dates as ISO, times of day as 14:30,
ids as they stand; numbers without a currency are plain numbers.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from flywheel_domains.stances import NOTHING, Reading, Stance, stances
from flywheel_domains.verbs import forms_of

__all__ = ["NO_YEAR", "Stance", "Talk", "clean", "digits", "merged", "minor_units", "plain", "read", "values_of"]

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
NO_YEAR = "0000"
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})(?:(?=[T ]\d{2}:)T?|\b)")
_DAY_MONTH = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({'|'.join(_MONTHS)})\s+(\d{{4}})\b", re.I)
_MONTH_DAY = re.compile(rf"\b({'|'.join(_MONTHS)})\s+(\d{{1,2}})(?:st|nd|rd|th)?,?\s+(\d{{4}})\b", re.I)
_SHORTEST = [name[:3] for name in _MONTHS]
_SHORT = "|".join(f"{name}|{name[:3]}\\.?" for name in _MONTHS)
_DAY_ALONE = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?({_SHORT})(?!\w)", re.I)
_ALONE_DAY = re.compile(rf"\b({_SHORT})\s+(\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)", re.I)
_TIME = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?\b(?:\s?([ap])\.?m\b)?", re.I)
_HOUR = re.compile(r"\b(1[0-2]|0?\d)\s?([ap])\.?m\b", re.I)
_LASTING = re.compile(r"(?<![\w.,])(\d+)[ -]?(minute|hour|day|week|month|year)s?\b", re.I)
_LISTED = re.compile(r"^\s*\d{1,2}[.)]\s|\b24/7\b", re.M)
_ID = re.compile(r"(?=[\w/-]*\d)(?=[\w/-]*[a-z])[\w/-]{3,}", re.I)
_EVERYDAY = re.compile(r"\d+(?:st|nd|rd|th|x|h|hrs?|am|pm|min|mins|s|d|days?|hours?|-[a-z]+)", re.I)
_PLAIN = re.compile(rf"(?<![\w.,])(?:{_NUMBER})(?![\w])")
_WORD = re.compile(r"[A-Za-z0-9@][\w@/.-]*[\w]|\w")


@dataclass(frozen=True)
class Talk:
    """What was claimed: stances, amounts in minor units by currency, dates, times, plain numbers and other words (ids).

    A day without its year is `NO_YEAR`-03-14. `lasting` are numbers that count time: (5, "day").
    """

    reading: Reading = NOTHING
    money: frozenset[tuple[str, int]] = frozenset()
    dates: frozenset[str] = frozenset()
    times: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    lasting: frozenset[tuple[str, str]] = frozenset()
    words: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def stances(self) -> frozenset[Stance]:
        """What is said of wishes."""
        return self.reading.stances

    @property
    def empty(self) -> bool:
        """True if nothing at all was said."""
        return not (self.stances or self.money or self.dates or self.times or self.numbers or self.words)

    @property
    def values(self) -> bool:
        """Whether any value is named that may be false."""
        return bool(self.money or self.dates or self.times or self.numbers or self.lasting or self.ids)

    @property
    def ids(self) -> frozenset[str]:
        """Words that look like an id: letters and digits, and no everyday form as in 1st, 24h or 3pm."""
        return frozenset(word for word in self.words if _ID.fullmatch(word) and not _EVERYDAY.fullmatch(word))


def clean(text: str) -> str:
    """The text as it is read: one form of every letter and apostrophe, one space between words."""
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def read(texts: Iterable[str], currency: str = "", minor: int = 2, verbs: Iterable[str] = ()) -> Talk:
    """All that the texts claim. `verbs` are what the domain's tools do ("cancel"), beside the usual ones."""
    forms = forms_of(tuple(verb.casefold() for verb in verbs))
    found = []
    for text in map(clean, texts):
        talk = values_of(text, currency, minor)
        found.append(Talk(stances(text, forms), *(getattr(talk, name) for name in _VALUES)))
    return merged(found)


def values_of(text: str, currency: str = "", minor: int = 2) -> Talk:
    """The values that a clean text names, and no stances."""
    rest, dates = _take_dates(_LISTED.sub(" ", text))
    rest, times = _take_times(rest)
    rest, money = _take_money(rest, currency, minor)
    lasting = {(plain(m[1]), m[2].lower().removesuffix("s")) for m in _LASTING.finditer(rest)}
    numbers = {plain(n) for n in _PLAIN.findall(_LASTING.sub(" ", rest))}
    words = {w.strip(".,").casefold() for w in _WORD.findall(rest)}
    found = frozenset(money), frozenset(dates), frozenset(times), frozenset(numbers), frozenset(lasting)
    return Talk(NOTHING, *found, words=frozenset(words))


_VALUES = ("money", "dates", "times", "numbers", "lasting", "words")


def merged(talks: Iterable[Talk]) -> Talk:
    """What several texts claim together."""
    all_ = list(talks)
    reading = Reading(
        frozenset().union(*(t.reading.stances for t in all_)),
        any(t.reading.acted for t in all_),
        frozenset().union(*(t.reading.states for t in all_)),
    )
    return Talk(reading, *(frozenset().union(*(getattr(t, name) for t in all_)) for name in _VALUES))


_COUNTS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
_COUNT = re.compile(rf"\b(?:{'|'.join(_COUNTS)})\b", re.I)


def digits(text: str) -> str:
    """The text with small numbers in digits: "two hours" is 2 hours."""
    return _COUNT.sub(lambda match: str(_COUNTS.index(match[0].lower())), text)


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
    text = _MONTH_DAY.sub(lambda m: iso(m[3], _MONTHS.index(m[1].lower()) + 1, m[2]), text)

    def alone(day: str, month: str) -> str:
        found.add(f"{NO_YEAR}-{_SHORTEST.index(month[:3].lower()) + 1:02d}-{int(day):02d}")
        return " "

    text = _DAY_ALONE.sub(lambda m: alone(m[1], m[2]), text)
    return _ALONE_DAY.sub(lambda m: alone(m[2], m[1]), text), found


def _take_times(text: str) -> tuple[str, set[str]]:
    found: set[str] = set()

    def time(hour: str, minute: str, half: str | None) -> str:
        number = int(hour) % 12 + (12 if half.lower() == "p" else 0) if half else int(hour)
        found.add(f"{number:02d}:{minute}")
        return " "

    text = _TIME.sub(lambda m: time(m[1], m[2], m[3]), text)
    return _HOUR.sub(lambda m: time(m[1], "00", m[2]), text), found


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
