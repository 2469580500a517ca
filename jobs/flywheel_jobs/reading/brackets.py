"""Where brackets of an answer begin and end."""

from __future__ import annotations

OPENING, CLOSING = "([{⟨", ")]}⟩"


def level(text: str, at: int) -> int:
    """How many brackets are open before a place."""
    return sum(text.count(c, 0, at) for c in OPENING) - sum(text.count(c, 0, at) for c in CLOSING)


def spans(text: str) -> bool:
    """Whether the first bracket is closed by the last one: `(1,2]` is one interval, `(a)(b)` a product."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in OPENING) - (char in CLOSING)
        if not depth:
            return at == len(text) - 1
    return False


def split_top(text: str, separator: str) -> list[str]:
    """Parts of a text at a separator outside all brackets."""
    if separator not in text:
        return [text]
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in OPENING) - (char in CLOSING)
        if char == separator and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
