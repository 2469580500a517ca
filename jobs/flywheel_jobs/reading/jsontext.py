"""JSON that a model wrote, read within bounds: whatever stands there, the only error is ValueError."""

from __future__ import annotations

import json
from typing import Any

from flywheel_jobs.reading.text import clean

MAX_TEXT = 65_536  # characters of one JSON text
MAX_DEPTH = 64  # nested brackets; serialisers give up at some hundred
MAX_DIGITS = 300  # of one integer; Python itself refuses more than 4,300


def loads(text: str) -> Any:
    """The value. Raises ValueError for what is no JSON, or is larger or deeper than anything meant."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"longer than {MAX_TEXT} characters")
    try:
        value = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return _checked(value, MAX_DEPTH)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _checked(value: Any, depth: int) -> Any:
    """The value with its texts cleaned: an escape may spell a lone surrogate where the text itself holds none."""
    if depth < 0:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(name): _checked(entry, depth - 1) for name, entry in value.items()}
    if isinstance(value, list):
        return [_checked(entry, depth - 1) for entry in value]
    return value
