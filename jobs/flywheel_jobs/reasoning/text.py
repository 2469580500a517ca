"""Text as duplicates and contamination are judged: folded case, digits and operators kept, punctuation gone."""

from __future__ import annotations

import re
import unicodedata

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TOKEN = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+|[+\-*/=<>^%]")


def words(text: str) -> list[str]:
    """Tokens of a normalised text: numbers, words and operators."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower().replace("−", "-").replace("×", "*"))


def normalised(text: str) -> str:
    """The tokens joined by one blank: equal for texts that differ in case, spacing or punctuation only."""
    return " ".join(words(text))


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text, in order of size then text: what a re-skinning must preserve."""
    return tuple(sorted(_NUMBER.findall(unicodedata.normalize("NFKC", text)), key=lambda n: (float(n), n)))


def ngrams(text: str, n: int) -> set[str]:
    """All n-grams of tokens; the whole text when it is shorter, so that short problems can be contaminated too."""
    tokens = words(text)
    if len(tokens) < n:
        return {" ".join(tokens)}
    return {" ".join(tokens[i : i + n]) for i in range(len(tokens) - n + 1)}
