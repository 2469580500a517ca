"""Stores by namespace and Secret: read by name only, probed once in a while, shared by all objects that use them."""

from __future__ import annotations

import asyncio
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
_WRITERS = 8


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

    def note(self, namespace: str, secret: str) -> str:
        """What people should know of a store that was read: whose credentials it has, and why nothing is freed.

        The former where its Secret has none, the latter where old versions or locks keep what is deleted.
        """
        known = self._entries.get((namespace, secret))
        if known is None:
            return ""
        whose = "credentials: identity" if known.store.settings.by_identity else ""
        return "; ".join(filter(None, (whose, known.store.unfreed)))

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
    """Proves effects, not answers: keys are created, refused when held, raced for with one winner, and created again.

    Raises StoreProblem. Leaves nothing behind, in a versioned bucket neither where old versions may be deleted.
    """
    name, where = store.settings.bucket, store.settings.where
    if not await store.bucket_exists():
        raise StoreProblem(Reason.BUCKET_NOT_FOUND, f"bucket {name!r} does not exist at {where}: create it")
    key, race = (f"probes/{uuid.uuid4().hex}.json" for _ in range(2))
    try:
        held = await store.put_new(key, b"1") and not await store.put_new(key, b"2") and await store.get(key) == b"1"
        won = await asyncio.gather(*(store.put_new(race, b"%d" % n) for n in range(_WRITERS))) if held else []
    finally:
        await store.remove(key)
        await store.remove(race)
    if not held:
        raise _unfit(where, "ignores If-None-Match: commits would overwrite each other")
    if sum(won) != 1:
        raise _unfit(
            where, f"lets {sum(won)} of {_WRITERS} writers create one key at once: its front ends share no lock"
        )
    if not await store.put_new(key, b"3"):
        raise _unfit(
            where, "refuses a key that was deleted, as its delete marker counts: use a bucket without versions"
        )
    await store.remove(key)


def _unfit(where: str, what: str) -> StoreProblem:
    servers = "MinIO, SeaweedFS 3.80 or newer, versitygw, Amazon S3, Ceph Squid"
    text = f"the store at {where} {what}; use a server with conditional writes ({servers})"
    return StoreProblem(Reason.STORE_NOT_CONDITIONAL, text)
