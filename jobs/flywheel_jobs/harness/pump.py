"""Runs one phase's items with bounded concurrency and journals them as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from flywheel_api.base import StatusModel
from flywheel_api.canonical import canonical_json
from flywheel_jobs.core.errors import FlywheelError, ItemDropped
from flywheel_jobs.core.logging import get_logger, redact, traced
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.harness.journal import SEGMENT_SECONDS, Item, Journal

log = get_logger(__name__)
T = TypeVar("T")
CRASHES, CRASH_SHARE = 5, 0.05  # items that may break our own code: more than both, and it is no single item's fault
CRASHED = "crashed"


class Pump(Generic[T]):
    """One phase. `flush` journals what has finished; `report` says how far it is."""

    def __init__(
        self,
        journal: Journal,
        phase: str,
        work: Callable[[T], Awaitable[StatusModel]],
        flush: Callable[[], Awaitable[None]],
        report: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._phase = phase
        self._work = work
        self._flush = flush
        self._report = report
        self._full = asyncio.Event()
        self._queue: list[tuple[str, T]] = []
        self._held: list[Item] = []
        self._crashes = self._finished = 0
        self._crash: Exception | None = None

    async def run(self, items: Mapping[str, T], width: int) -> None:
        """Runs all items, `width` at a time; stops at the first error.

        Whatever had finished is in the journal even when this raises or is cancelled. Items that were refused or broke
        are written only at the end: if it turns out that the endpoint or the program is at fault, they are asked again.
        """
        self._queue = list(items.items())[::-1]
        workers = [asyncio.create_task(self._worker()) for _ in range(min(width, len(items)))]
        flusher = asyncio.create_task(self._flusher())
        try:
            await _first_error(workers, flusher)
            if self._crash is not None and 2 * self._crashes > len(items):
                raise self._crash
            for item in self._held:
                self._journal.add(item)
        finally:
            for task in (*workers, flusher):
                task.cancel()
            await asyncio.gather(*workers, flusher, return_exceptions=True)
            await self._flush()
            self._report()

    async def _worker(self) -> None:
        while self._queue:
            key, item = self._queue.pop()
            done = await self._done(key, item)
            self._finished += 1
            if done is not None and self._journal.add(done):
                self._full.set()

    async def _done(self, key: str, item: T) -> Item | None:
        """The finished item; None if it is held back."""
        try:
            done = Item(phase=self._phase, key=key, result=(await self._work(item)).dump())
            canonical_json(done.dump())  # what cannot be written costs its own item, not the segment's
            return done
        except ItemDropped as drop:
            log.info("item dropped", key=key, reason=drop.reason, detail=redact(drop.detail)[:300])
            dropped = Item(phase=self._phase, key=key, dropped=drop.reason)
            if not isinstance(drop, RequestRefused):
                return dropped
        except FlywheelError:
            raise
        except Exception as error:
            self._crash = error
            self._crashes += 1
            log.error("item crashed", key=key, traceback=traced(error))
            if self._crashes > max(CRASHES, CRASH_SHARE * self._finished):
                raise
            dropped = Item(phase=self._phase, key=key, dropped=CRASHED)
        self._held.append(dropped)
        return None

    async def _flusher(self) -> None:
        while True:
            try:
                # not wait_for: before Python 3.12 it swallows a cancellation that comes together with the event, and
                # this task would then be waited for without end
                async with asyncio.timeout(SEGMENT_SECONDS):
                    await self._full.wait()
            except TimeoutError:
                pass
            self._full.clear()
            await asyncio.shield(self._flush())
            self._report()


async def _first_error(workers: list[asyncio.Task[None]], flusher: asyncio.Task[None]) -> None:
    pending: set[asyncio.Task[None]] = set(workers)
    while pending:
        done, rest = await asyncio.wait({*pending, flusher}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        pending = rest - {flusher}
