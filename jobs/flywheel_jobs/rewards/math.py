"""Exact equality of final answers, and the reward of the reasoning track.

Answers are compared as exact values where they have one (integers, rationals, finite decimals, percentages, LaTeX
fractions, sets and tuples of those) and as normalised text otherwise. No floating point and no judge: a judge would
only be needed for what this module calls undecided (docs/method.md, "Verification").
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TypedDict

_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)
_FRAC = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]+)\}|(\d))\s*(?:\{([^{}]+)\}|(\d))")
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
_NOISE = re.compile(r"\\(?:left|right|,|;|!|:|quad|text\s*\{[^{}]*\})|\$|\\\(|\\\)|\\\[|\\\]")
_MAX_ANSWER = 256  # characters; a longer "answer" is no final answer, and huge exponents never reach Fraction
FORMAT_REWARD = 0.1
"""For a bare number that is wrong. Kept small, so that a right answer stands out in a group of mostly bare numbers:
a run with 0.5 settled at reward 0.52 while success stayed at 0.04; two runs with 0.1 and more steps reached 0.8. Other
settings differed between them, so this is our reading, not a measured effect of this number alone."""


class Score(TypedDict):
    """A reward with what it is made of."""

    score: float
    correct: bool
    bare: bool
    answer: str


def score(solution: str, truth: str) -> Score:
    """1 for the right answer, 0.1 for a bare number that is wrong, else 0.

    `correct` is the success that evaluation counts.

    "Bare" keeps the group's reward variance alive while a small model still learns the form; it never makes an item
    count as solved.
    """
    answer = final_answer(solution)
    right = equal(answer, truth)
    bare = value_of(solution) is not None
    return Score(score=1.0 if right else FORMAT_REWARD if bare else 0.0, correct=right, bare=bare, answer=answer[:64])


def final_answer(solution: str) -> str:
    """The last `<answer>`, else the last `\\boxed{}`, else the whole text, stripped."""
    tagged = _ANSWER.findall(solution)
    if tagged:
        return str(tagged[-1]).strip()
    boxed = _last_boxed(solution)
    return (boxed if boxed is not None else solution).strip()


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for i in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : i]
    return None


def equal(one: str, other: str) -> bool:
    """Whether two final answers are the same."""
    return normalise(one) == normalise(other) != ""


def normalise(answer: str) -> str:
    """Canonical text of an answer: `p/q` in lowest terms, `{a,b}` sorted, `(a,b)` in order, else folded text."""
    text = answer.strip()[:_MAX_ANSWER]
    collection = _collection(text)
    if collection is not None:
        return collection
    value = value_of(text)
    return str(value) if value is not None else " ".join(_clean(text).lower().split())


def value_of(text: str) -> Fraction | None:
    """The exact value of a number alone, or None.

    Read are integers, decimals, `a/b`, `12%`, LaTeX fractions and `x = 3`.
    """
    if len(text) > _MAX_ANSWER:
        return None
    text = _clean(text)
    text = re.sub(r"^[a-zA-Z]\s*=\s*", "", text)
    percent = text.endswith("%")
    text = text.rstrip("%").strip()
    sign, _, rest = text.rpartition("-") if text.startswith("-") and "\\" in text else ("", "", text)
    latex = _FRAC.fullmatch(rest.strip()) if not sign else None
    if latex:
        value = _ratio(latex.group(1) or latex.group(2), latex.group(3) or latex.group(4))
        value = -value if value is not None and text.startswith("-") else value
    elif text.count("/") == 1:
        value = _ratio(*text.split("/"))
    else:
        value = _number(text)
    return value / 100 if percent and value is not None else value


def _clean(text: str) -> str:
    text = _NOISE.sub("", text.replace("−", "-").replace("\\%", "%")).strip()
    return text[:-1].rstrip() if text.endswith(".") else text


def _number(text: str) -> Fraction | None:
    text = text.strip().replace(" ", "")
    if not text or not any(c.isdigit() for c in text) or not _NUMBER.fullmatch(text) or not text.isascii():
        return None
    return Fraction(text.replace(",", ""))


def _ratio(top: str, bottom: str) -> Fraction | None:
    one, other = _number(top), _number(bottom)
    return None if one is None or not other else one / other


def _collection(text: str) -> str | None:
    text = _NOISE.sub("", text).strip().replace("\\{", "{").replace("\\}", "}")
    if len(text) < 2 or (text[0], text[-1]) not in {("{", "}"), ("(", ")"), ("[", "]")}:
        return None
    inner = _FRAC.sub(lambda m: f"{m.group(1) or m.group(2)}/{m.group(3) or m.group(4)}", text[1:-1])
    if any(c in inner for c in "{}()[]"):
        return None
    parts = [normalise(p) for p in inner.split(",")]
    if text[0] == "{":
        return "{" + ",".join(sorted(set(parts))) + "}"
    return f"{text[0]}{','.join(parts)}{text[-1]}"
