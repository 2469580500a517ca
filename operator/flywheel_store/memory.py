"""A bucket in memory, for tests: passes the same contract as the real one (tests/contract/test_bucket.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from flywheel_api.conditions import Reason
from flywheel_store.bucket import locate
from flywheel_store.errors import StoreProblem, StoreUnavailable
from flywheel_store.settings import StoreSettings

T = TypeVar("T")


def memory_settings() -> StoreSettings:
    """Settings of a store that nobody dials."""
    return StoreSettings("fake:9000", False, "flywheel", "flywheel", "us-east-1", "key", "secret")


class MemoryBucket:
    """Implements `Bucket`, and plays what can be wrong.

    That is an outage, a missing bucket, and a server that ignores If-None-Match.
    """

    def __init__(self, settings: StoreSettings | None = None) -> None:
        self.settings = settings or memory_settings()
        self.objects: dict[str, bytes] = {}
        """By whole key, as in the bucket."""
        self.broken, self.there, self.conditional = False, True, True
        self._lock = threading.Lock()

    def read(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T | None:
        """See Bucket."""
        data = self.get(key)
        return None if data is None else consume(iter((data,)))

    def get(self, key: str) -> bytes | None:
        """See Bucket."""
        self._check()
        bucket, _, full = locate(self.settings, key).partition("/")
        return self.objects.get(full) if bucket == self.settings.bucket else None

    def size(self, key: str) -> int | None:
        """See Bucket."""
        data = self.get(key)
        return None if data is None else len(data)

    def keys(self, prefix: str) -> list[str]:
        """See Bucket."""
        self._check()
        root = self.settings.full_key("")
        return sorted(key[len(root) :] for key in list(self.objects) if key.startswith(root + prefix))

    def put(self, key: str, data: bytes, content_type: str = "") -> None:
        """See Bucket."""
        self._check()
        self.objects[self.settings.full_key(key)] = bytes(data)

    def put_file(self, key: str, path: Path) -> None:
        """See Bucket."""
        self.put(key, path.read_bytes())

    def put_new(self, key: str, data: bytes) -> bool:
        """See Bucket."""
        self._check()
        with self._lock:
            if self.conditional and self.settings.full_key(key) in self.objects:
                return False
            self.put(key, data)
            return True

    def remove(self, key: str) -> None:
        """See Bucket."""
        self._check()
        self.objects.pop(self.settings.full_key(key), None)

    def exists(self) -> bool:
        """See Bucket."""
        self._check(inside=False)
        return self.there

    def _check(self, inside: bool = True) -> None:
        if self.broken:
            raise StoreUnavailable("no answer from the store: retrying")
        if inside and not self.there:
            raise StoreProblem(Reason.BUCKET_NOT_FOUND, "bucket 'flywheel' does not exist: create it")
