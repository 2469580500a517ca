"""The object store as the operator sees it: a protocol, and the problem that its calls raise."""

from __future__ import annotations

from typing import Protocol

from flywheel_store.errors import StoreProblem
from flywheel_store.settings import StoreSettings, from_secret

__all__ = ["ObjectStore", "StoreProblem", "StoreSettings", "from_secret"]


class ObjectStore(Protocol):
    """What the operator asks of a store. Raises StoreProblem and nothing else.

    Keys are below the prefix; `get` and `version_of` take addresses (`s3://bucket/key`) as well.
    """

    settings: StoreSettings

    async def get(self, key: str) -> bytes | None:
        """The object's bytes, or None."""

    async def size(self, key: str) -> int | None:
        """The object's size in bytes, or None."""

    async def keys(self, prefix: str) -> list[str]:
        """Keys that begin so, sorted."""

    async def put_new(self, key: str, data: bytes) -> bool:
        """Create-only PUT: False when the key is taken."""

    async def remove(self, key: str) -> None:
        """Delete; absent is success."""

    async def bucket_exists(self) -> bool:
        """Whether the bucket is there."""

    async def version_of(self, key: str) -> str | None:
        """Entity tag of the object: another one when its bytes change. None without an object."""
