"""The pace of one endpoint: it belongs to the role, not to the request.

All requests of a role pass here. A server that says it is busy holds the whole role back ("not before") and halves how
many may be in flight; every answer lets a little more in again, up to the spec's `concurrency`. So a limit is met by
asking less, not by losing items. Times are the loop's, so that tests run on a virtual clock.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from flywheel_store.backoff import delay

BASE, CAP = 0.5, 15.0  # seconds of back-off where the server does not say how long it wants to rest
SPREAD = 0.25  # a wait is up to this share longer, so that several pods do not come back together
_ROUNDING = 1e-6  # seconds: what a float loses of a time since the epoch, so that a slot's own start lies in it
_rng = random.SystemRandom()


@dataclass(frozen=True)
class Slots:
    """A shard's part of a limit of requests a minute: one in every `parts`-th slot of the wall clock, from `part` on.

    The clock is what shards share without a word: while all of them have work, a minute holds the limit and one at
    most, whenever they began. One that was idle uses its last slot late: the minute after a pause may hold one more of
    each.
    """

    per_minute: float
    part: int = 0
    parts: int = 1

    def after(self, at: float) -> float:
        """When the first of these slots after the one of `at` begins; both in seconds since the epoch."""
        slot = self._slot(at)
        return (slot + 1 + (self.part - slot - 1) % self.parts) * 60.0 / self.per_minute

    def begin(self, at: float) -> float:
        """When the first request may go: at once in a slot of this shard."""
        return at if self._slot(at) % self.parts == self.part else self.after(at)

    def _slot(self, at: float) -> int:
        return math.floor((at + _ROUNDING) * self.per_minute / 60.0)


def slots_of(per_minute: float | None, part: int = 0, parts: int = 1) -> Slots | None:
    """The slots of a limit, where there is one."""
    return Slots(per_minute, part, parts) if per_minute else None


class Pace:
    """Admits requests: `concurrency` at once, one in each of `slots`, none before a server's rest is over."""

    def __init__(self, concurrency: int, slots: Slots | None = None) -> None:
        self.most = concurrency
        self._slots = slots
        self._epoch: float | None = None
        self._width = float(concurrency)
        self._flying = 0
        self._not_before = 0.0
        self._cut_at = -1.0
        self._busy_in_a_row = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Waits for this request's turn and holds it; gives the loop's time at which it began."""
        if self._waiting or not self._open():
            await self._queue()
        else:
            self._admit()
        try:
            yield asyncio.get_running_loop().time()
        finally:
            self._flying -= 1
            self._wake()

    def busy(self, began: float, after: float | None) -> float:
        """The server asks for rest, `after` seconds if it says so; returns how long the role rests."""
        now = asyncio.get_running_loop().time()
        if began >= self._cut_at:  # what was sent before the last cut tells nothing new
            self._cut_at = now
            self._width = max(1.0, min(self._width, self._flying) / 2)
            self._busy_in_a_row += 1
        rest = delay(self._busy_in_a_row - 1, BASE, CAP) if after is None else after
        self._not_before = max(self._not_before, now + rest * (1.0 + SPREAD * _rng.random()))
        return self._not_before - now

    def answered(self) -> None:
        """An answer came: a little more may be in flight."""
        self._busy_in_a_row = 0
        if self._width < self.most:
            self._width = min(float(self.most), self._width + 1.0 / self._width)

    def widen(self, concurrency: int, slots: Slots | None) -> None:
        """Takes other limits: the last shard has the endpoint for itself."""
        self._width *= concurrency / self.most
        self.most, self._slots = concurrency, slots
        self._wake()

    def _open(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._slots is not None and self._epoch is None:
            self._epoch = time.time() - now
            self._not_before = max(self._not_before, self._slots.begin(now + self._epoch) - self._epoch)
        return self._flying < int(self._width) and self._not_before <= now

    def _admit(self) -> None:
        self._flying += 1
        if self._slots is not None and self._epoch is not None:
            now = asyncio.get_running_loop().time()
            self._not_before = max(self._not_before, self._slots.after(now + self._epoch) - self._epoch)

    async def _queue(self) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        self._wake()
        try:
            await mine
        except BaseException:
            if mine.done() and not mine.cancelled():
                self._flying -= 1  # it was let in and will not come
            self._wake()
            raise

    def _wake(self) -> None:
        """Lets in as many as may, in order; looks again when a rest is over."""
        while self._waiting and self._open():
            mine = self._waiting.popleft()
            if not mine.done():
                self._admit()
                mine.set_result(None)
        loop = asyncio.get_running_loop()
        if self._waiting and self._timer is None and self._not_before > loop.time():
            self._timer = loop.call_at(self._not_before, self._due)

    def _due(self) -> None:
        self._timer = None
        self._wake()
