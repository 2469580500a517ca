"""A bucket in memory, for tests: passes the same contract as the real one (tests/contract/test_bucket.py)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from flywheel_api.canonical import digest_of
from flywheel_api.conditions import Reason
from flywheel_store.bucket import Bucket, locate
from flywheel_store.errors import StoreProblem, StoreUnavailable
from flywheel_store.settings import StoreSettings

T = TypeVar("T")


def memory_settings() -> StoreSettings:
    """Settings of a store that nobody dials."""
    return StoreSettings("fake:9000", False, "flywheel", "flywheel", "us-east-1", "key", "secret")


class MemoryBucket(Bucket):
    """Keys and bytes; an outage, a missing bucket and a server that ignores If-None-Match are played."""

    def __init__(self, settings: StoreSettings | None = None) -> None:
        self.settings = settings or memory_settings()
        self.objects: dict[str, bytes] = {}
        """By whole key, as in the bucket."""
        self.broken, self.there, self.conditional = False, True, True
        self._lock = threading.Lock()

    def read(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T | None:
        data = self.get(key)
        return None if data is None else consume(iter((data,)))

    def get(self, key: str) -> bytes | None:
        self._check()
        bucket, _, full = locate(self.settings, key).partition("/")
        return self.objects.get(full) if bucket == self.settings.bucket else None

    def version_of(self, key: str) -> str | None:
        """See Bucket."""
        data = self.get(key)
        return None if data is None else digest_of(data)

    def size(self, key: str) -> int | None:
        data = self.get(key)
        return None if data is None else len(data)

    def keys(self, prefix: str) -> list[str]:
        self._check()
        bucket, _, start = locate(self.settings, prefix).partition("/")
        found = sorted(key for key in list(self.objects) if key.startswith(start) and bucket == self.settings.bucket)
        if prefix.startswith("s3://"):
            return [f"s3://{bucket}/{key}" for key in found]
        return [key[len(self.settings.full_key("")) :] for key in found]

    def put(self, key: str, data: bytes, content_type: str = "") -> None:
        self._check()
        self.objects[self.settings.full_key(key)] = bytes(data)

    def put_file(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes())

    def put_new(self, key: str, data: bytes) -> bool:
        self._check()
        with self._lock:
            if self.conditional and self.settings.full_key(key) in self.objects:
                return False
            self.put(key, data)
            return True

    def remove(self, key: str) -> None:
        self._check()
        self.objects.pop(self.settings.full_key(key), None)

    def exists(self) -> bool:
        self._check(inside=False)
        return self.there

    def elsewhere(self, bucket: str, prefix: str) -> MemoryBucket:
        """See Bucket. What is in another bucket is seen by its own instance alone."""
        other = MemoryBucket(replace(self.settings, bucket=bucket, prefix=prefix))
        if bucket == self.settings.bucket:
            other.objects = self.objects
        return other

    def _check(self, inside: bool = True) -> None:
        if self.broken:
            raise StoreUnavailable("no answer from the store: retrying")
        if inside and not self.there:
            raise StoreProblem(Reason.BUCKET_NOT_FOUND, "bucket 'flywheel' does not exist: create it")
