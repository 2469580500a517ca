"""Folding of characters: other spellings of the same thing become one, by an explicit map, and nothing else does.

NFKC would make 10² into 102 and 1½ into 11/2: it is not used. Folded are invisible characters, digits of all scripts,
full-width forms, superscripts (`^2`), subscripts (`_1`), vulgar fractions (by value), signs of arithmetic, Cyrillic and
Greek letters that stand for Latin ones inside a Latin word, and LaTeX's spellings of the same.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from flywheel_jobs.reading.characters import SIGNS, VULGAR, plain_scripts

_BMP = range(0x10000)
_SIGNS = {
    **SIGNS, "‒": "-", "﹣": "-", "∗": "*", "∣": "|", "ʼ": "'", "′": "'", "″": "''",
    "≦": "≤", "≧": "≥",
}  # fmt: skip
_LATEX = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), r"\frac"), **dict.fromkeys(("times", "cdot", "ast"), "*"),
    **dict.fromkeys(("left", "right", "big", "Big", "quad", "qquad", "displaystyle", *",;:! "), " "),
    "div": "/", "le": "≤", "leq": "≤", "leqslant": "≤", "ge": "≥", "geq": "≥", "geqslant": "≥", "ne": "≠", "neq": "≠",
    "cup": "∪", "cap": "∩", "neg": "¬", "lnot": "¬", "int": "∫", "sum": "∑", "infty": "∞", "pi": "π", "%": "%",
}  # fmt: skip
_LOOKALIKES = str.maketrans("аеорсухіјѕһԁԛԝАВЕКМНОРСТХІЈЅαονρτυχικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
                            "aeopcyxijshdqwABEKMHOPCTXIJSaovptuxikABEZHIKMNOPTYX")  # fmt: skip


def _characters() -> dict[int, str | None]:
    found: dict[int, str | None] = {ord(c): text for c, text in _SIGNS.items()}
    codes = [*_BMP, *range(0x1D7CE, 0x1D800), *range(0xE0000, 0xE0080)]
    for code, kind in zip(codes, map(unicodedata.category, map(chr, codes)), strict=True):
        if kind == "Cf":
            found[code] = None
        elif kind == "Nd" and code > 127:
            found[code] = str(unicodedata.digit(chr(code)))
        elif kind == "Zs":
            found[code] = " "
    for code in set(range(0xFF01, 0xFF5F)) - found.keys():  # full-width forms
        found[code] = chr(code - 0xFEE0)
    for code in range(0x2460, 0x2474):
        found[code] = f" ({code - 0x245F}) "  # a number in a circle
    return found


_CHARACTERS = _characters()
_THIN = re.compile(r"(?<=\d)[\u00a0\u2007-\u200a\u202f](?=\d{3}(?!\d))")  # a blank that groups digits
_GROUP = re.compile(r"(?<=\d)(?<!\d{4}) (?=0\d\d(?!\d))|(?<=\d)(?:\{,\}|\\[,;:!])(?=\d{3}(?!\d))")
_MIXED = re.compile(rf"(?:(?<!\d)(\d+))?\s?([{''.join(VULGAR)}])")
_COMMAND = re.compile(r"\\([A-Za-z]+|[^A-Za-z])")
_LETTERS = re.compile(r"[^\W\d_]+")


def decimal(value: Fraction) -> str:
    """`2.5`, `3`, or `p/q` where no decimal is exact."""
    bottom = value.denominator
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    if bottom > 1 or value.denominator > 10**9:
        return f"{value.numerator}/{value.denominator}"
    return f"{float(value):.9f}".rstrip("0").rstrip(".")


def fold(text: str) -> str:
    """The text in the one spelling that comparisons are made in. Linear in its length."""
    if not text.isascii():
        text = _THIN.sub("", unicodedata.normalize("NFC", text))
        text = plain_scripts(text, "^{}".format, "_{}".format)
        text = _MIXED.sub(lambda m: decimal(int(m[1] or 0) + VULGAR[m[2]]), text)
        text = text.translate(_CHARACTERS)
        text = _LETTERS.sub(_one_script, text)
    if " 0" in text or "{,}" in text or "\\" in text:
        text = _GROUP.sub("", text)
    if "\\" in text:
        text = _COMMAND.sub(lambda m: _LATEX.get(m[1], m[0]), text)
    return text.casefold()


def _one_script(match: re.Match[str]) -> str:
    """A word that mixes Latin letters with such as look like them, in Latin; every other word as it is."""
    word = match[0]
    if word.isascii():
        return word
    latin = word.translate(_LOOKALIKES)
    return latin if latin.isascii() and any(c.isascii() for c in word) else word
