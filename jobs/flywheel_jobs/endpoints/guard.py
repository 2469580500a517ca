"""The guard for what no table foresees: where answers are refused alike, it is the endpoint and not the items. Pure.

Page's CUSUM between two guesses: items that are refused by chance, up to half of them with the same words, and an
endpoint that refuses nearly everything from some moment on. What the limits hold is in docs/evidence/breaker.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CHANGING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|`[^`]*`")


def kind_of(word: str, said: str) -> str:
    """What makes refusals alike: their words without numbers and quotations, which are the item's."""
    return f"{word}: {_CHANGING.sub('#', said)[:80]}"


@dataclass(frozen=True)
class Limits:
    """A refusal counts one, every other verdict takes `back` off, down to none; at `trip` it is the endpoint.

    `start`: what is counted before the first verdict, for an endpoint that was never right; each takes off that, too.
    """

    back: int
    start: int
    trip: int


ORDINARY = Limits(back=2, start=22, trip=30)
OWN = Limits(back=10, start=40, trip=70)  # what an item may well bring about by itself: a filter


@dataclass
class _Count:
    limits: Limits
    value: int
    since: int  # verdicts before the first of those that it counts
    alike: int = 0


class Guard:
    """Looks at the verdicts of one role in the order in which they came."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self._total = 0

    def trips(self, kind: str | None, limits: Limits = ORDINARY) -> str | None:
        """Notes a verdict (None is a good answer); "the first 8" or "30 of the last 31" if it looks like the endpoint.

        Whoever finds out that it is not goes on from none.
        """
        for name in [other for other in self._counts if other != kind]:
            self._counts[name].value -= self._counts[name].limits.back
            if self._counts[name].value <= 0:
                del self._counts[name]
        before, self._total = self._total, self._total + 1
        if kind is None:
            return None
        if kind not in self._counts:
            left = max(0, limits.start - before * limits.back)
            self._counts[kind] = _Count(limits, left, since=0 if left else before)
        count = self._counts[kind]
        count.value += 1
        count.alike += 1
        if count.value < limits.trip:
            return None
        del self._counts[kind]
        span = self._total - count.since
        return f"the first {span}" if count.alike == self._total else f"{count.alike} of the last {span}"
