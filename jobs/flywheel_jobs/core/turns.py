"""Several streams read in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, TypeVar

T = TypeVar("T")
_NONE: Any = object()


def in_turn(*streams: Iterable[T]) -> Iterator[T]:
    """The first of each, then the second of each, and so on; no more is read of a stream than is asked for."""
    for row in zip_longest(*streams, fillvalue=_NONE):
        yield from (one for one in row if one is not _NONE)
