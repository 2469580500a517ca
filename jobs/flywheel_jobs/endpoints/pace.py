"""The pace of one endpoint: it belongs to the role, not to the request.

All requests of a role pass here. A server that says it is busy holds the whole role back ("not before") and halves how
many may be in flight; every answer lets a little more in again, up to the spec's `concurrency`. So a limit is met by
asking less, not by losing items. Times are the loop's, so that tests run on a virtual clock.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from flywheel_store.backoff import delay

BASE, CAP = 0.5, 15.0  # seconds of back-off where the server does not say how long it wants to rest
SPREAD = 0.25  # a wait is up to this share longer, so that several pods do not come back together
LATE = 0.05  # seconds by which a timer may be late without a loss: what it missed may be asked at once
MINUTE = 60.0 + 2 * LATE  # seconds that hold a minute's requests: 60, what LATE lets through, and what floats lose
_rng = random.SystemRandom()


class Pace:
    """Admits requests: `concurrency` at once, `per_minute` in any minute, none before a server's rest is over.

    Requests are spread over the minute (the generic cell rate algorithm of ITU-T I.371 with a tolerance of LATE):
    whenever they come, no 60 seconds hold more than `per_minute`. So shards hold the sum of theirs without a word.
    """

    def __init__(self, concurrency: int, per_minute: int | None = None) -> None:
        self.most = concurrency
        self._interval = _interval(per_minute)
        self._due = 0.0  # when the next request would go if all came evenly
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

    def widen(self, concurrency: int, per_minute: int | None) -> None:
        """Takes other limits: the last shard has the endpoint for itself."""
        self._width *= concurrency / self.most
        self.most = concurrency
        # what the others asked last lies in the same minute: one more interval of the share, then the whole limit
        self._due = max(self._due, asyncio.get_running_loop().time() + self._interval)
        self._interval = _interval(per_minute)
        self._wake()

    def _begin(self) -> float:
        """The loop's time before which no request goes."""
        return max(self._not_before, self._due)

    def _open(self) -> bool:
        return self._flying < int(self._width) and self._begin() <= asyncio.get_running_loop().time()

    def _admit(self) -> None:
        self._flying += 1
        self._due = max(self._due, asyncio.get_running_loop().time() - LATE) + self._interval

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
        if self._waiting and self._timer is None and self._begin() > loop.time():
            self._timer = loop.call_at(self._begin(), self._again)

    def _again(self) -> None:
        self._timer = None
        self._wake()


def _interval(per_minute: int | None) -> float:
    """Seconds between two requests."""
    return MINUTE / per_minute if per_minute else 0.0
