"""JSON that others wrote, read within bounds: whatever stands there, the only error is ValueError."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any

from flywheel_jobs.reading.text import clean


@dataclass(frozen=True)
class Limits:
    """What is read. None is no limit but Python's own."""

    length: int | None = None  # characters or bytes of the whole
    depth: int | None = None  # nested brackets; serialisers give up at some hundred
    digits: int = 1000  # of one integer; Python itself refuses more than 4,300
    long_numbers: bool = True  # a longer one stays text; otherwise it is an error
    cleaned: bool = False  # texts without what no file can hold, see `text.clean`


MODEL = Limits(length=65_536, depth=64, digits=300, long_numbers=False, cleaned=True)
"""What a model wrote."""
OURS = Limits()
"""Files of users and bodies of servers, which have limits of their own, in bytes."""


def loads(text: str | bytes, limits: Limits = MODEL) -> Any:
    """The value. Raises ValueError for what is no JSON, or is larger or deeper than anything meant."""
    if limits.length is not None and len(text) > limits.length:
        raise ValueError(f"longer than {limits.length} characters")
    try:
        value = json.loads(text, parse_int=_integer(limits))
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value if limits.depth is None else _checked(value, limits.depth, limits.cleaned)


def decoder(limits: Limits) -> json.JSONDecoder:
    """A decoder for texts that come in pieces; it can raise RecursionError."""
    return json.JSONDecoder(parse_int=_integer(limits))


@functools.cache
def _integer(limits: Limits) -> Any:
    def read(digits: str) -> int | str:
        if len(digits) <= limits.digits:
            return int(digits)
        if not limits.long_numbers:
            raise ValueError(f"a number of {len(digits)} digits")
        return digits

    return read


def _checked(value: Any, depth: int, cleaned: bool) -> Any:
    """The value with its texts cleaned: an escape may spell a lone surrogate where the text itself holds none."""
    if depth < 0:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        return clean(value) if cleaned else value
    if isinstance(value, dict):
        return {_checked(name, 0, cleaned): _checked(entry, depth - 1, cleaned) for name, entry in value.items()}
    if isinstance(value, list):
        return [_checked(entry, depth - 1, cleaned) for entry in value]
    return value
