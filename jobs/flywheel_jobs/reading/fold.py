"""One writing for an answer's many: LaTeX, Unicode and plain text folded, without making different answers alike."""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from flywheel_jobs.reading.characters import SIGNS, VULGAR, plain_scripts
from flywheel_jobs.reading.units import SYMBOLS

MAX_ANSWER = 256
"""Characters. What is longer is no final answer; nothing is ever cut, so that two long texts cannot become equal."""

# characters that stand for something: what each is in the folded writing
_CHARACTERS = {
    **SIGNS, "—": "-", "√": r"\sqrt ", "π": r"\pi ", "∞": r"\infty ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "±": r"\pm ", "∈": r"\in ", "≡": "=", "º": "°", "“": '"', "”": '"',
    "、": ", ", "。": ".", "٫": ".", "٬": ",", "،": ", ", "٪": "%",
    "〈": "⟨", "〉": "⟩", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "…": "...",
}  # fmt: skip
_ALONE = frozenset("mgshLlNWVK")
"""Symbols that are units in a text of their own; of others that may be the letter of a choice or name two points."""
_SYMBOL = re.compile(r"(?<![a-zA-Zμ])[a-zA-ZμΩ]{1,4}(?![a-zA-Z])")
_ONE_UNIT = r"[a-zA-ZμΩ]{1,4}(?:\^\{?-?\d\}?)?"
_UNITS = re.compile(rf"{_ONE_UNIT}(?:(?:\s*[/*]\s*\(?|\s+){_ONE_UNIT}\)?){{0,3}}")
_COUNTED = re.compile(r"[\d)}\]/]\s*$")
_GREEK_UNIT = re.compile(r"\\(mu|Omega)(?![a-zA-Z])\s*|[\xb5\u2126]")
_GREEK_UNITS = {"mu": "μ", "\xb5": "μ"}
_DEGREES = re.compile(r"°\s+(?=[CF](?![a-zA-Z]))")

_WRAPPED = re.compile(
    r"\\(text|textbf|textit|textrm|textnormal|mbox|hbox|mathrm|mathbf|mathit|mathsf|boldsymbol|bm|operatorname|"
    r"displaystyle|fbox|boxed|mathord|ensuremath)\s*\{((?:[^{}]|\^\{-?\d\})*)\}"
)
_TEXTS = frozenset({"text", "textbf", "textit", "textrm", "textnormal", "mbox", "hbox", "mathrm"})
_REPLACED = [
    (re.compile(r"\\(?:left|right|middle|[bB]igg?)[lrm]?(?![a-zA-Z])\s*(?:\.(?!\d))?"), ""),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits|!|/)(?![a-zA-Z])|\\[!]"), ""),
    (re.compile(r"\\(?:quad|qquad|thinspace|enspace)(?![a-zA-Z])|(?<!\\)\\[,;: >]|~"), " "),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\leq?(?:slant)?(?![a-zA-Z])"), r"\\le "),
    (re.compile(r"\\geq?(?:slant)?(?![a-zA-Z])"), r"\\ge "),
    (re.compile(r"\\neq?(?![a-zA-Z])"), r"\\ne "),
    (re.compile(r"\\equiv(?![a-zA-Z])"), "="),
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\(?:cdot|times|ast)(?![a-zA-Z])"), "*"),
    (re.compile(r"\\div(?![a-zA-Z])"), "/"),
    (re.compile(r"\\(?:lvert|rvert|vert|mid)(?![a-zA-Z])"), "|"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\langle(?![a-zA-Z])"), "⟨"),
    (re.compile(r"\\rangle(?![a-zA-Z])"), "⟩"),
    (re.compile(r"\\cup(?![a-zA-Z])"), "∪"),
    (re.compile(r"\\lfloor(?![a-zA-Z])"), "⌊"),
    (re.compile(r"\\rfloor(?![a-zA-Z])"), "⌋"),
    (re.compile(r"\\lceil(?![a-zA-Z])"), "⌈"),
    (re.compile(r"\\rceil(?![a-zA-Z])"), "⌉"),
    (re.compile(r"\s*\^\s*\{?\s*\\circ(?![a-zA-Z])\s*\}?|\\degree(?![a-zA-Z])"), "°"),
    (re.compile(r"\\mathbb\s*([A-Z])(?![a-zA-Z])"), r"\\mathbb{\1}"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"(?<=\d)\{:\}(?=\d)"), ":"),
    (re.compile(r"\\mu\s*\\(text|mathrm)\s*\{(?=[a-zA-Z]{1,2}\})"), r"\\\1{\\mu "),
    (re.compile(r"\\(text|mathrm)\s*\{\s*([kM])\s*\}\s*\\Omega(?![a-zA-Z])"), r"\\\1{\2\\Omega}"),
    (re.compile(r"\{\s*([^{}]{1,20}?)\s*\\choose\s+([^{}]{1,20}?)\s*\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"\\(?:varnothing|emptyset)(?![a-zA-Z])|\\\{\s*\\\}"), r"\\emptyset "),
]
_MODULO = re.compile(r"\(\s*(?:\\[bp]?)?mod\s+([^()]{1,20})\)|\\[bp]?mod\s*(?:\{([^{}]{1,20})\}|(?![a-zA-Z]))")
_DELIMITER = re.compile(r"\\[()\[\]]")
_BARE_DOLLAR = re.compile(r"(?<!\\)\$")
_GROUPS = re.compile(
    r"(?<![\d.,])(?:\d{1,3}(?:(?:,\d{3})+|(?: \d{3})+|(?:'\d{3})+|(?:_\d{3})+)|\d{1,2}(?:,\d{2})+,\d{3})(?!,?\d)"
)
_BRACED_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:\{,\}\d{3})+(?!\d)")
_POINTED_GROUPS = re.compile(
    r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?:,\d{1,2})?(?![\d.,])|(?<![\d.,])\d{1,3}\.\d{3},\d\d(?![\d.,])"
)
_BRACKETS = re.compile(r"[(\[{⟨]")
_SPACED_COMMA = re.compile(r",\s")
_ZERO_GROUPS = re.compile(r"(?<![\d.,])\d{1,3}(?:,0\d{2})+(?![\d,])")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*(?:\{(\d+)\}|(\d))")
_REPEATING_IN_BRACKETS = re.compile(r"(?<![\w.,)}])(\d*)\.(\d*)\((\d{1,40})\)(?![\w(])()")  # 0.1(6)
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?|\.\d+)[eE]([+-]?\d{1,3})(?![\w.])")
_TIMES_TEN = re.compile(r"(?<=\d)\s?[xX]\s?(?=10\s*\^)")  # 3 x 10^8
_MIXED = re.compile(
    r"(?<![\w.)}\]^/*])(\d+)\s*(?: (\d+)\s*/\s*(\d+)|\\frac\s*(?:\{(\d+)\}|(\d))\s*(?:\{(\d+)\}|(\d)))(?![\d.])"
)


def fold(answer: str) -> str | None:
    """The answer in one writing, stripped; None when it is longer than an answer can be."""
    text = answer.strip()
    if len(text) > MAX_ANSWER:
        return None
    if not text.isascii():
        text = _plain_characters(text)
    if (
        not ("\\" in text or "$" in text or "*" in text or "`" in text)
        and text.replace(".", "", 1).isdecimal()
        and text[-1] != "."
    ):
        return text  # most answers by far
    text = text.strip().strip("`").strip()
    if len(text) > 4 and text.startswith("**") and text.endswith("**"):
        text = text[2:-2].strip()
    text = _latex(text)
    if "mod" in text:
        text = _MODULO.sub(r" mod \1\2 ", text)
    text = _numbers(text)
    text = " ".join(text.replace("**", "^").split())
    text = _ends(_DEGREES.sub("°", text))
    return text if len(text) <= MAX_ANSWER else None


def _plain_characters(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    text = plain_scripts(text, "^{{{}}}".format, "_{{{}}}".format)
    return "".join(char if char.isascii() else _CHARACTERS.get(char) or _other(char) for char in text)


def _other(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Cf":  # zero width, direction marks, byte order mark
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category.startswith("Z"):
        return " "
    if "！" <= char <= "～" or "𝐀" <= char <= "𝟿":  # full width, and the letters of mathematics
        return unicodedata.normalize("NFKC", char)
    if char in VULGAR:
        return rf"\frac{{{VULGAR[char].numerator}}}{{{VULGAR[char].denominator}}}"
    return char


def _latex(text: str) -> str:
    dollars = len(_BARE_DOLLAR.findall(text))
    if dollars and not dollars % 2:
        text = _BARE_DOLLAR.sub("", text)
    if "\\" in text:
        text = _DELIMITER.sub("", text)
        for pattern, by in _REPLACED:
            text = pattern.sub(by, text)
        for _ in range(8):  # deeper than anybody nests
            text, found = _WRAPPED.subn(_unwrapped, text)
            if not found:
                break
    return text.replace(r"\$", "$")


def _unwrapped(match: re.Match[str]) -> str:
    command, inner = match[1], match[2]
    if command not in _TEXTS:
        return inner
    inner = _GREEK_UNIT.sub(lambda m: _GREEK_UNITS.get(m[1] or m[0], "Ω"), inner.strip())
    if not _UNITS.fullmatch(inner):
        return f" {inner} "
    behind = _COUNTED.search(match.string[max(0, match.start() - 4) : match.start()])
    return f" {_SYMBOL.sub(lambda m: SYMBOLS.get(m[0], m[0]) if behind or m[0] in _ALONE else m[0], inner)} "


def _numbers(text: str) -> str:
    if not any(c.isdecimal() for c in text):
        return text
    text = _BRACED_GROUPS.sub(lambda m: m[0].replace("{,}", ""), text)
    bracketed = _BRACKETS.search(text) and "," in text
    groups = _ZERO_GROUPS if bracketed and not _SPACED_COMMA.search(text) else _GROUPS
    text = _POINTED_GROUPS.sub(lambda m: m[0].replace(".", "").replace(",", "."), text)
    text = groups.sub(lambda m: re.sub(r"[ ,'_]", "", m[0]), text)
    if "\\" in text:
        text = _REPEATING.sub(_repeating, text)
    if "(" in text:
        text = _REPEATING_IN_BRACKETS.sub(_repeating, text)
    text = _TIMES_TEN.sub("*", text)
    text = _SCIENTIFIC.sub(r"(\1*10^{\2})", text)
    return _MIXED.sub(_mixed, text)


def _repeating(match: re.Match[str]) -> str:
    whole, fixed, again = match[1] or "0", match[2], match[3] or match[4]
    value = Fraction(int(whole + fixed + again) - int(whole + fixed), (10 ** len(again) - 1) * 10 ** len(fixed))
    return f"({value})"


def _mixed(match: re.Match[str]) -> str:
    whole, parts = int(match[1]), [g for g in match.groups()[1:] if g]
    top, bottom = int(parts[0]), int(parts[1])
    if not bottom or top >= bottom:  # 2 5/3 is no mixed number
        return match[0]
    value = whole + Fraction(top, bottom)
    return f"({value})"


def _ends(text: str) -> str:
    text = text.removeprefix("=").removeprefix(":").strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip()
    return text.rstrip(",;").rstrip()
