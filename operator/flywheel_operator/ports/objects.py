"""The object store as the operator sees it: calls that are awaited, and the problem that they raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flywheel_store.bucket import Bucket, version_at
from flywheel_store.errors import StoreProblem as StoreProblem
from flywheel_store.settings import StoreSettings as StoreSettings
from flywheel_store.settings import from_secret as from_secret

T = TypeVar("T")


class ObjectStore:
    """A store that takes no time, over any bucket. Raises StoreProblem and nothing else.

    Keys are below the prefix; `get` and `version_of` take addresses (`s3://bucket/key`) as well.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket, self.settings = bucket, bucket.settings

    @property
    def unfreed(self) -> str:
        """Why what was deleted lately takes its space still; else empty."""
        return self._bucket.unfreed

    async def get(self, key: str) -> bytes | None:
        """The object's bytes, or None."""
        return await self._run(lambda: self._bucket.get(key))

    async def size(self, key: str) -> int | None:
        """The object's size in bytes, or None."""
        return await self._run(lambda: self._bucket.size(key))

    async def keys(self, prefix: str) -> list[str]:
        """Keys that begin so, sorted."""
        return await self._run(lambda: self._bucket.keys(prefix))

    async def put_new(self, key: str, data: bytes) -> bool:
        """Create-only PUT: False when the key is taken."""
        return await self._run(lambda: self._bucket.put_new(key, data))

    async def remove(self, key: str) -> None:
        """Delete; absent is success."""
        await self._run(lambda: self._bucket.remove(key))

    async def bucket_exists(self) -> bool:
        """Whether the bucket is there."""
        return await self._run(self._bucket.exists)

    async def version_of(self, key: str) -> str | None:
        """Entity tag of the object, or of all below an address: another one when their bytes change. None without."""
        work = version_at if key.startswith("s3://") else type(self._bucket).version_of
        return await self._run(lambda: work(self._bucket, key))

    async def _run(self, work: Callable[[], T]) -> T:
        return work()
