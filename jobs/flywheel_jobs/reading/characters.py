"""Characters that stand for others: one map for answers (`fold`) and for problems (`reasoning.folding`).

Each writes what it finds in its own form (`^{2}` or `^2`, `\\frac{1}{2}` or `0.5`); what a character means stands here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱ", "0123456789+-()ni", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₐₑₒₓₕₖₗₘₙₚₛₜᵢⱼ", "0123456789+-()aeoxhklmnpstij", strict=True))
VULGAR = {
    char: Fraction(written.replace("⁄", "/"))
    for char in map(chr, (*range(0xBC, 0xBF), *range(0x2150, 0x218C)))
    if re.fullmatch(r"\d+⁄\d+", written := unicodedata.normalize("NFKC", char))
}
SIGNS = {
    "−": "-", "‐": "-", "‑": "-", "–": "-", "×": "*", "⋅": "*", "·": "*", "∙": "*", "÷": "/", "∕": "/", "⁄": "/",
    "∶": ":", "’": "'", "‘": "'",
}  # fmt: skip
_RAISED, _LOWERED = (re.compile(f"[{''.join(chars)}]+") for chars in (RAISED, LOWERED))


def plain_scripts(text: str, raised: Callable[[str], str], lowered: Callable[[str], str]) -> str:
    """The text with superscripts and subscripts written as `raised` and `lowered` write them."""
    text = _RAISED.sub(lambda m: raised("".join(map(RAISED.__getitem__, m[0]))), text)
    return _LOWERED.sub(lambda m: lowered("".join(map(LOWERED.__getitem__, m[0]))), text)
