"""An object store in memory, for tests. `broken` makes every call fail as an outage would."""

from __future__ import annotations

from flywheel_api.conditions import Reason
from flywheel_operator.ports.objects import StoreProblem, StoreSettings


def fake_settings() -> StoreSettings:
    """Settings of a store that nobody dials."""
    return StoreSettings("fake:9000", False, "flywheel", "flywheel", "us-east-1", "key", "secret")


class FakeStore:
    """Implements `ObjectStore`. `conditional=False` plays a server that ignores If-None-Match."""

    def __init__(self, settings: StoreSettings | None = None, conditional: bool = True) -> None:
        self.settings = settings or fake_settings()
        self.objects: dict[str, bytes] = {}
        self.conditional = conditional
        self.bucket = True
        self.broken = False

    async def get(self, key: str) -> bytes | None:
        """See ObjectStore."""
        self._check()
        return self.objects.get(self.settings.full_key(key))

    async def get_uri(self, uri: str) -> bytes | None:
        """See ObjectStore."""
        self._check()
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.objects.get(key) if bucket == self.settings.bucket else None

    async def size(self, key: str) -> int | None:
        """See ObjectStore."""
        found = await self.get(key)
        return None if found is None else len(found)

    async def keys(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        self._check()
        root = self.settings.full_key("")
        return sorted(key[len(root) :] for key in self.objects if key.startswith(root + prefix))

    async def put_new(self, key: str, data: bytes) -> bool:
        """See ObjectStore."""
        self._check()
        full = self.settings.full_key(key)
        if self.conditional and full in self.objects:
            return False
        self.objects[full] = data
        return True

    async def remove(self, key: str) -> None:
        """See ObjectStore."""
        self._check()
        self.objects.pop(self.settings.full_key(key), None)

    async def bucket_exists(self) -> bool:
        """See ObjectStore."""
        self._check(bucket=False)
        return self.bucket

    def put(self, key: str, data: bytes) -> None:
        """What a job writes."""
        self.objects[self.settings.full_key(key)] = data

    def _check(self, bucket: bool = True) -> None:
        if self.broken:
            raise StoreProblem(Reason.STORE_UNREACHABLE, "no answer from the store: retrying")
        if bucket and not self.bucket:
            raise StoreProblem(Reason.BUCKET_NOT_FOUND, "bucket 'flywheel' does not exist: create it")
