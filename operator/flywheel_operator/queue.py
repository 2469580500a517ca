"""Our own work queue: keyed, deduplicating, one run per key at a time, delays, back-off, bounded by its keys."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from flywheel_operator.logs import get_logger
from flywheel_operator.ports.errors import Retryable

log = get_logger(__name__)

FIRST_BACK_OFF = 0.5
MAX_BACK_OFF = 60.0
MAX_ASKED = 600.0  # seconds; a wrong date in a Retry-After must not park an object for a day
JITTER = 0.2


@dataclass(frozen=True)
class Key:
    """An object to look at. That something happened to it is all the queue knows (law 1)."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True)
class NotBefore:
    """A handler's answer: the next look comes in that many seconds, and no event brings it earlier."""

    seconds: float


Handler = Callable[[Key], Awaitable[float | NotBefore | None]]


class WorkQueue:
    """`add` any number of times; the handler runs for one key at a time, once for all the adds before it started.

    The handler answers with seconds until the next look, with None, or with a pause that events do not end. An
    exception means back-off, doubling up to a minute and at least what the other side asked for; whatever is added
    meanwhile waits for its end.
    """

    def __init__(
        self,
        handler: Handler,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._handler, self._clock, self._chance = handler, clock, chance
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._running: dict[Key, float] = {}
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._pauses: dict[Key, float] = {}  # when the next look may be
        self._changed = asyncio.Event()
        self.done = 0

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Asks for a look at `key` in `delay` seconds, not before its pause ends; an earlier due time stands."""
        due = max(self._clock() + delay, self._pauses.get(key, 0.0))
        if key in self._due and self._due[key] <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()

    def depth(self) -> int:
        """Keys that are due or in work."""
        now = self._clock()
        return len(self._running) + sum(1 for due in self._due.values() if due <= now)

    def oldest_age(self) -> float:
        """Seconds that the longest waiting due key waits, or the longest running one runs: what liveness watches."""
        now = self._clock()
        waits = [now - due for due in self._due.values() if due <= now]
        return max([0.0, *waits, *(now - started for started in self._running.values())])

    async def run(self, workers: int) -> None:
        """Serve for ever with that many workers."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._running[key] = self._clock()
            delay: float | None = None
            try:
                answer = await self._handler(key)
                self._failures.pop(key, None)
                self._pauses.pop(key, None)
                if isinstance(answer, NotBefore):
                    self._pause(key, answer.seconds)
                else:
                    delay = answer
            except Exception as error:  # nothing may end a worker: one bad object never blocks others
                self._back_off(key, error)
            finally:
                self._running.pop(key, None)
                self.done += 1
            if key in self._again or key in self._pauses:
                self._again.discard(key)
                self.add(key)
            elif delay is not None:
                self.add(key, delay)

    async def _next(self) -> Key:
        while True:
            now = self._clock()
            while self._heap and self._heap[0][0] <= now:
                due, _, key = heapq.heappop(self._heap)
                if self._due.get(key) != due:
                    continue  # an earlier due time, or a back-off, took its place
                del self._due[key]
                if key not in self._running:
                    return key
                self._again.add(key)  # when that run ends
            await self._sleep(max(0.0, self._heap[0][0] - now) if self._heap else 3600.0)

    async def _sleep(self, pause: float) -> None:
        self._changed.clear()
        try:
            # not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event
            async with asyncio.timeout(pause):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _back_off(self, key: Key, error: Exception) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay: float = min(MAX_BACK_OFF, FIRST_BACK_OFF * 2.0 ** min(count - 1, 16))
        if isinstance(error, Retryable) and error.after is not None:
            delay = max(delay, min(MAX_ASKED, error.after))
        delay = self._pause(key, delay)
        log.warning(
            "reconcile failed", key=str(key), error=f"{type(error).__name__}: {error}", again_in=round(delay, 1)
        )

    def _pause(self, key: Key, seconds: float) -> float:
        """No look before that many seconds and a little more; how many it is."""
        seconds = min(MAX_ASKED, seconds) * (1 + JITTER * self._chance())  # never earlier than was asked for
        self._pauses[key] = self._clock() + seconds
        self._due.pop(key, None)  # asked for while it ran: has to wait as well
        return seconds
