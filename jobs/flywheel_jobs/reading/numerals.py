"""Numbers that are said in English words: `twenty-one`, `two thirds`, `two and a half`."""

from __future__ import annotations

import re
from fractions import Fraction

UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_PARTS = {
    "half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10,
}  # fmt: skip
_SMALL = {word: n for n, word in enumerate(UNITS)} | TENS
_PART = re.compile(rf"(.+)[ -]({'|'.join(_PARTS)}|halves)s?")
_BIGGER = {"hundred": 100, "thousand": 1000}


def said(text: str) -> Fraction | None:
    """The number that a text in lower case says as a whole; None where it says anything else.

    `a third` is a number; `third` is a place in an order, and `second` may be a time.
    """
    first, _, rest = text.partition(" ")
    if first in ("minus", "negative") and rest:
        inner = said(rest)
        return None if inner is None or inner < 0 else -inner
    if text == "half":
        return Fraction(1, 2)
    before, joined, after = text.partition(" and ")
    if joined and (whole := _whole(before)) is not None and (part := _fraction(after)) is not None and part < 1:
        return whole + part
    return _whole(text) if (part := _fraction(text)) is None else part


def _fraction(text: str) -> Fraction | None:
    found = _PART.fullmatch(text)
    top = found and (Fraction(1) if found[1] == "a" else _whole(found[1]))
    return top / _PARTS[found[2].replace("halves", "half")] if found and top is not None else None


def _whole(text: str) -> Fraction | None:
    for word, size in reversed(_BIGGER.items()):
        before, found, after = text.partition(f" {word}")
        if found:
            many = Fraction(1) if before == "a" else _whole(before)
            rest = _whole(after.removeprefix(" and").strip()) if after else Fraction(0)
            return many * size + rest if many and rest is not None and rest < size else None
    first, _, last = text.replace("-", " ").partition(" ")
    if first in TENS and last in UNITS[1:10]:
        return Fraction(TENS[first] + UNITS.index(last))
    return Fraction(_SMALL[text]) if text in _SMALL else None
