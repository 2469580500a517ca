"""The guard for what no table foresees: where answers are refused alike, it is the endpoint and not the items. Pure."""

from __future__ import annotations

import re
from collections import deque

FIRST, WINDOW = 5, 20
_CHANGING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|`[^`]*`")


def kind_of(word: str, said: str) -> str:
    """What makes refusals alike: their words without numbers and quotations, which are the item's."""
    return f"{word}: {_CHANGING.sub('#', said)[:80]}"


class Guard:
    """Looks at the verdicts of one role in the order in which they came."""

    def __init__(self) -> None:
        self._seen: deque[str | None] = deque(maxlen=WINDOW)
        self._total = 0

    def trips(self, kind: str | None, most: bool = True) -> str | None:
        """Notes a verdict (None is a good answer); "the first 5" or "12 of the last 20" if the endpoint is at fault.

        `most`: more than half of a window is too many; otherwise all of it.
        """
        self._seen.append(kind)
        self._total += 1
        alike = self._seen.count(kind)
        if kind is None:
            return None
        if most and self._total == alike >= FIRST:
            return f"the first {alike}"
        if len(self._seen) == WINDOW and alike > (WINDOW // 2 if most else WINDOW - 1):
            return f"{alike} of the last {WINDOW}"
        return None
