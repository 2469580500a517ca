"""The operator's face of the store: calls in threads of that store alone, each with a limit, problems and nothing else.

One operator serves many tenants. A store that is slow may hold its own threads and, once, the callers that wait for it;
after a call that ran into its limit the others are refused at once until one of them has got an answer.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from flywheel_operator.ports.objects import ObjectStore, StoreProblem, StoreSettings
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits
from flywheel_store.errors import StoreRefused, StoreUnavailable

T = TypeVar("T")
_REST = 2.0  # time limits for which a slow store is not asked
_THREADS = 8  # requests to one store together; the operator reads small objects only
_PATIENCE = 1.0  # seconds in which a request is sent again; the next look comes soon enough


class S3Store(ObjectStore):
    """A store over S3; `timeout` seconds are what one call may take, whatever the server does."""

    def __init__(self, settings: StoreSettings, timeout: float = 10.0) -> None:
        self.timeout = timeout
        limits = Limits(connect=min(5.0, timeout), silence=timeout, total=timeout, patience=min(_PATIENCE, timeout))
        super().__init__(S3Bucket(settings, limits))
        self._pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="s3")
        self._lock = threading.Lock()
        self._slow: StoreUnavailable | None = None
        self._ask_at = 0.0

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._timed, work)
        except StoreProblem:
            raise
        except Exception as error:
            raise StoreRefused(f"the store at {self.settings.where} failed: {type(error).__name__}") from error

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.monotonic()
        self._ask(began)
        try:
            found = work()
        except StoreUnavailable as problem:
            if time.monotonic() - began >= 0.9 * self.timeout:
                self._slow, self._ask_at = problem, time.monotonic() + _REST * self.timeout
            raise
        self._slow = None
        return found

    def _ask(self, now: float) -> None:
        """Raises what the slow store's last caller got, but for one caller after each rest."""
        with self._lock:
            if self._slow is not None:
                if now < self._ask_at:
                    raise StoreUnavailable(str(self._slow)) from self._slow
                self._ask_at = now + (1 + _REST) * self.timeout


def connector(timeout: float) -> Callable[[StoreSettings], S3Store]:
    """Makes stores, one for all who have the same settings: what was learnt about a slow one is not forgotten."""
    return functools.cache(lambda settings: S3Store(settings, timeout))
