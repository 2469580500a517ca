"""Stores by namespace and Secret: read by name only, probed once in a while, shared by all objects that use them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from flywheel_api.conditions import Reason
from flywheel_operator.model import Problem
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import SECRETS, KubeApi
from flywheel_operator.ports.objects import ObjectStore, StoreProblem, StoreSettings, from_secret

Connect = Callable[[StoreSettings], ObjectStore]
_SECRET_SECONDS = 15.0


@dataclass
class _Entry:
    version: str
    store: ObjectStore
    read_at: float
    probed_at: float | None = None


class StoreBook:
    """Finds and remembers stores. A Secret is believed for 15 s, a passed probe for `probe_seconds`."""

    def __init__(self, kube: KubeApi, connect: Connect, probe_seconds: float = 300.0) -> None:
        self._kube, self._connect, self._probe_seconds = kube, connect, probe_seconds
        self._entries: dict[tuple[str, str], _Entry] = {}

    async def store(self, namespace: str, secret: str) -> ObjectStore:
        """The store behind a Secret. Raises StoreProblem naming the Secret or the key that is missing."""
        return (await self._entry(namespace, secret)).store

    async def checked(self, namespace: str, secret: str) -> tuple[ObjectStore | None, Problem | None]:
        """The store, probed; or why it cannot be used."""
        try:
            entry = await self._entry(namespace, secret)
            now = time.monotonic()
            if entry.probed_at is None or now - entry.probed_at > self._probe_seconds:
                await probe(entry.store)
                entry.probed_at = now
            return entry.store, None
        except StoreProblem as problem:
            self._entries.pop((namespace, secret), None)
            return None, Problem(problem.reason, str(problem))

    async def _entry(self, namespace: str, secret: str) -> _Entry:
        key, now = (namespace, secret), time.monotonic()
        known = self._entries.get(key)
        if known is not None and now - known.read_at < _SECRET_SECONDS:
            return known
        try:
            found = await self._kube.get(SECRETS, namespace, secret)
        except Forbidden as error:
            text = f"the operator may not read Secret {secret!r}: add it to rbac.secretNames in the chart's values"
            raise StoreProblem(Reason.FORBIDDEN, text) from error
        if found is None:
            self._entries.pop(key, None)
            raise StoreProblem(
                Reason.SECRET_NOT_FOUND,
                f"Secret {secret!r} is not in namespace {namespace!r}: create it with the keys endpoint, bucket, "
                "accessKey and secretKey, or name another one in spec.store.secretName",
            )
        version = str(found["metadata"].get("resourceVersion", ""))
        if known is not None and known.version == version:
            known.read_at = now
            return known
        entry = _Entry(version, self._connect(from_secret(secret, found)), now)
        self._entries[key] = entry
        return entry


async def probe(store: ObjectStore) -> None:
    """Proves the effect, not the answer: the bucket is there and the second create-only PUT of a key is refused.

    Raises StoreProblem. Leaves nothing behind.
    """
    name = store.settings.bucket
    if not await store.bucket_exists():
        raise StoreProblem(
            Reason.BUCKET_NOT_FOUND, f"bucket {name!r} does not exist at {store.settings.endpoint}: create it"
        )
    key = f"probes/{uuid.uuid4().hex}.json"
    try:
        await store.put_new(key, b"1")
        if await store.put_new(key, b"2") or await store.get(key) != b"1":
            raise StoreProblem(
                Reason.STORE_NOT_CONDITIONAL,
                f"the store at {store.settings.endpoint} ignores If-None-Match: commits would overwrite each other; "
                "use a server with conditional writes (MinIO, SeaweedFS 3.80 or newer, Amazon S3, Ceph Squid)",
            )
    finally:
        await store.remove(key)
