"""Objects on their way down: what broke off goes on where it broke off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from urllib3 import BaseHTTPResponse

from flywheel_store.connection import Limits, Patience
from flywheel_store.errors import Refusal, TornRead
from flywheel_store.settings import StoreSettings
from flywheel_store.traffic import Moved
from flywheel_store.wire import Wire

CHUNK = 256 << 10


class Download:
    """The bytes of the object at (bucket, key), as often as they must be read."""

    def __init__(self, wire: Wire, at: tuple[str, str], settings: StoreSettings, limits: Limits, moved: Moved) -> None:
        self._wire, self._at, self._moved = wire, at, moved
        self._settings, self._limits = settings, limits
        self.reached = 0
        """The farthest byte that any reading has brought."""

    def pieces(self) -> Iterator[bytes]:
        """All of it, once. Raises Refusal, or TornRead when it must be read from the start."""
        at, entity = 0, ""
        patience = Patience(f"GET {self._at[1]}", self._settings, self._limits)
        while True:
            try:
                with self._open({"Range": f"bytes={at}-", "If-Match": entity} if at else {}) as answer:
                    if not at and "Content-Encoding" not in answer.headers:
                        entity = answer.headers.get("ETag", "")
                    skip = at if answer.status == 200 else 0  # it took no notice of the range
                    for chunk in answer.stream(CHUNK):
                        fresh = chunk[skip:]
                        skip -= len(chunk) - len(fresh)
                        at += len(fresh)
                        self._count(at)
                        if fresh:
                            yield fresh
                    return
            except Exception as error:
                if not at or not entity:
                    raise
                if isinstance(error, Refusal) and error.status in (404, 412, 416):
                    raise TornRead("the object was replaced while it was read") from error
                patience.after(error, at)

    def _count(self, at: int) -> None:
        if at > self.reached:
            self._moved(at - self.reached)
            self.reached = at

    @contextmanager
    def _open(self, headers: dict[str, str]) -> Iterator[BaseHTTPResponse]:
        answer = self._wire.send("GET", *self._at, headers=headers, stream=True)
        try:
            yield answer
        finally:
            answer.close()  # what was not read must not be read by the next request
            answer.release_conn()
