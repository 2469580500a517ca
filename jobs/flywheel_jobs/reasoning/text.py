"""Text as duplicates and contamination are judged: tokens of the folded text.

Words, numbers by value, and every sign that mathematics may mean; punctuation of prose is gone. Where a script has no
blanks, each character is a token.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain

from flywheel_jobs.reading.numerals import TENS, UNITS
from flywheel_jobs.reasoning.folding import decimal, fold

_ALONE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that are written without blanks."""


def _classes() -> dict[str, str]:
    """The characters above ASCII by the first letter of their category, as the inside of a class of a pattern."""
    chars = "".join(map(chr, range(0x80, 0x20000)))
    kinds = "".join(["L" if kind == "No" else kind[0] for kind in map(unicodedata.category, chars)])
    for alone in re.finditer(f"[{_ALONE}]+", chars):
        kinds = kinds[: alone.start()] + " " * len(alone[0]) + kinds[alone.end() :]
    found: dict[str, list[str]] = {}
    for run in re.finditer(r"(.)\1*", kinds):
        first, last = chars[run.start()], chars[run.end() - 1]
        found.setdefault(run[1], []).append(first if first == last else f"{first}-{last}")
    return {kind: "".join(ranges) for kind, ranges in found.items()}


_CLASS = _classes()
_NUMBER = r"\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?|(?<![\w.])\.\d+"
_MARK = _CLASS["M"]  # vowel signs: they belong to their word
_WORD = f"[a-z{_CLASS['L']}{_MARK}]+"
_SIGN = rf"[+\-*/=<>^%~|{_CLASS['S']}]"
_OPEN = r"[(\[{](?=[\d\\(\[{|+\-√^.]|[^\W\d_](?![^\W\d_]))"  # a bracket of a formula, not of prose
_AFTER = r"(?:(?<=[\d)\]}|%!'])|(?<=[\W\d_][^\W\d_]))"  # what a formula may end with: a digit, a bracket, one letter
_TOKEN = re.compile(rf"{_WORD}|{_NUMBER}|[{_ALONE}][{_MARK}]*|{_SIGN}|{_OPEN}|{_AFTER}[)\]}}!'_]|(?<=\d):(?=\d)")
_NUMBERS = re.compile(rf"(?<![\d/.^])(\d+)/(\d+)(?![\d/.])|\\frac\{{(\d+)\}}\{{(\d+)\}}|({_NUMBER})")
_OPENED, _CLOSED, _BETWEEN = re.compile(r"([(\[{|]) +"), re.compile(r" +([)\]}])"), re.compile(r"(\d) *([:/]) *(?=\d)")
_HYPHEN = re.compile(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])'(?=[^\W\d_])")
_CACHED = 40  # characters of a piece whose reading is remembered: texts are made of the same words

_SAID = {word: str(n) for n, word in enumerate(UNITS)} | {word: str(n) for word, n in TENS.items()}
_COMPOUND = re.compile(rf"\b({'|'.join(TENS)})[- ]({'|'.join(UNITS[1:10])})\b")


@dataclass(frozen=True)
class Reading:
    """A text as it is compared."""

    words: tuple[str, ...]
    """Tokens: words, numbers by value (also those said in English), signs of mathematics."""
    numbers: tuple[str, ...]
    """The numbers written in digits, by value, in order of size: what a re-skinning must preserve; `½` is 0.5."""

    @property
    def signs(self) -> tuple[str, ...]:
        """The signs of mathematics, in order: texts that differ in one are different problems."""
        return tuple([w for w in self.words if len(w) == 1 and not w.isalnum()])

    @property
    def said(self) -> tuple[str, ...]:
        """The numbers by value, in order of size, with those said in words: of `one` nobody knows whether it counts."""
        found = [w for w in self.words if w[0].isdecimal() and w.replace(".", "", 1).isdecimal()]
        return tuple(sorted(found, key=lambda n: (_size(n), n)))

    def ngrams(self, n: int) -> set[str]:
        """All n-grams of words; the whole text when it is shorter, so that short problems can be contaminated too."""
        if len(self.words) <= n:
            return {" ".join(self.words)}
        return set(map(" ".join, zip(*(self.words[i:] for i in range(n)), strict=False)))


def read(text: str) -> Reading:
    """The reading of a text. Linear in its length; never raises."""
    pieces = _pieces(text)
    read_piece = _remembered if max(map(len, pieces), default=0) <= _CACHED else _piece
    parts = list(map(read_piece, pieces))
    found = [value for _, values in parts if values for value in values]
    tokens = chain.from_iterable([tokens for tokens, _ in parts])
    return Reading(tuple(tokens), tuple(sorted(found, key=lambda n: (_size(n), n))))


def words(text: str) -> list[str]:
    """Tokens of a text."""
    return list(read(text).words)


def normalised(text: str) -> str:
    """The tokens joined by one blank: equal for texts that differ in case, spacing, punctuation or spelling only."""
    return " ".join(read(text).words)


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text by value."""
    return read(text).numbers


def _pieces(text: str) -> list[str]:
    """What no blank is in, after blanks inside formulas are gone."""
    text = fold(text)
    if any(c in text for c in "([{|"):
        text = _CLOSED.sub(r"\1", _OPENED.sub(r"\1", text))
    if ":" in text or "/" in text:
        text = _BETWEEN.sub(r"\1\2", text)
    if "ty" in text:
        text = _COMPOUND.sub(lambda m: str(TENS[m[1]] + UNITS.index(m[2])), text)
    if "-" in text:
        text = _HYPHEN.sub(" ", text)
    return (_APOSTROPHE.sub("", text) if "'" in text else text).split()


def _piece(piece: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    text = f" {piece}"  # the blank: what looks back two characters may
    tokens = tuple(_SAID.get(t) or _value(t) for t in _TOKEN.findall(text))
    found: list[str] = []
    for m in _NUMBERS.finditer(text):
        top, bottom = m[1] or m[3], m[2] or m[4]
        if top is None:
            found.append(_value(m[5]))
        elif len(top) + len(bottom) < 40 and bottom.strip("0"):
            found.append(decimal(Fraction(int(top), int(bottom))))
        else:
            found += (_value(top), _value(bottom))
    return tokens, tuple(found)


_remembered = lru_cache(1 << 16)(_piece)


def _value(token: str) -> str:
    """A number as it is written shortest: 1,000 and 1000.0 are 1000. Other tokens as they are."""
    if len(token) == 1 or token[-1] not in "0123456789":
        return token
    token = token.replace(",", "").lstrip("0")
    if "." in token:
        token = token.rstrip("0").rstrip(".")
    return f"0{token}" if token[:1] == "." else token or "0"


def _size(number: str) -> float:
    top, _, bottom = number.partition("/")
    return float(top[:300]) / float(bottom[:300] or 1)
