"""Attempts and results in the store: read no oftener than need be, and verified before they are believed (law 5).

While an attempt runs, one small object is read: its progress, which names the commit once that stands. What else there
is (the commit itself, why it failed) is read when the child's state changes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar

from pydantic import ValidationError

from flywheel_api.artifacts import (
    Failure,
    Manifest,
    Progress,
    Promotion,
    blob_key,
    failure_key,
    fetch_key,
    manifest_digest_key,
    manifest_key,
    progress_key,
    promotions_prefix,
)
from flywheel_api.base import StatusModel
from flywheel_api.canonical import digest_of
from flywheel_operator.model import Record, Run, RunState
from flywheel_operator.ports.objects import ObjectStore

_PARALLEL = 16
_REMEMBERED = 4096
_MANIFESTS = 512
_READINGS = 3  # of bytes that cannot be right, until two are equal
_LOOK_UP_AGAIN = 60.0  # seconds for which a result that was not there is not asked for again
M = TypeVar("M", bound=StatusModel)
V = TypeVar("V")


class Memory(Generic[V]):
    """The values that were used last, by key. Losing one costs a read, nothing else."""

    def __init__(self, size: int) -> None:
        self._size, self._items = size, OrderedDict[object, V]()

    def get(self, key: object) -> V | None:
        """The value, if it is still remembered."""
        if key not in self._items:
            return None
        self._items.move_to_end(key)
        return self._items[key]

    def put(self, key: object, value: V) -> None:
        """Remembers a value."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)

    def drop(self, key: object) -> None:
        """Forgets a value."""
        self._items.pop(key, None)


@dataclass(frozen=True)
class _Look:
    state: tuple[str, RunState] | None
    at: float
    record: Record


class Results:
    """What the observers read of attempts and results. `poll` is the shortest pause between two looks at progress."""

    def __init__(self, poll: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._poll, self._clock = poll, clock
        self._looks = Memory[_Look](_REMEMBERED)
        self._unusable = Memory[_Look](_REMEMBERED)
        self._manifests = Memory[Manifest](_MANIFESTS)

    async def attempt(
        self,
        store: ObjectStore,
        owner_uid: str,
        stage: str,
        number: int,
        commit: tuple[str, str],
        run: Run | None,
        now: datetime,
    ) -> Record:
        """What the store says of a running attempt; `commit` is (namespace, content key). Raises StoreProblem."""
        key = (owner_uid, stage, number)
        state = (run.child.uid, run.state) if run is not None else None
        last = self._looks.get(key)
        if last is not None and last.state == state and self._clock() - last.at < self._poll:
            return last.record
        record = Record()
        if run is None or run.state is not RunState.QUEUED:
            # pods that fetch a model are starting still; the bytes that they move keep the start alive (law 8)
            told = fetch_key if run is not None and run.state is RunState.STARTING else progress_key
            progress = _lenient(Progress, await store.get(told(owner_uid, stage, number)))
            record = Record(progress=progress, advanced_at=_advanced(progress, last, now))
        over = run is None or run.state in (RunState.SUCCEEDED, RunState.ENDED)
        if over or (record.progress is not None and record.progress.manifest is not None):
            record = await self._with_result(store, record, commit, stage)
        ended = run is not None and run.state is RunState.ENDED
        if ended or (record.manifest is None and (run is None or run.state is not RunState.RUNNING)):
            failure = _lenient(Failure, await store.get(failure_key(owner_uid, stage, number)))
            record = replace(record, failure=failure)
        self._looks.put(key, _Look(state, self._clock(), record))
        return record

    async def fetched(self, store: ObjectStore, key: str, now: datetime) -> datetime | None:
        """When bytes of a model were last seen to come, as pods tell under `key`. Raises StoreProblem."""
        last = self._looks.get(key)
        if last is None or self._clock() - last.at >= self._poll:
            progress = _lenient(Progress, await store.get(key))
            record = Record(progress=progress, advanced_at=_advanced(progress, last, now))
            last = _Look(None, self._clock(), record)
            self._looks.put(key, last)
        return last.record.advanced_at

    async def result(self, store: ObjectStore, namespace: str, content_key: str, stage: str) -> Record:
        """A result that is there already, or an empty record. Raises StoreProblem."""
        asked = (namespace, content_key)
        last = self._unusable.get(asked)
        if last is not None and self._clock() - last.at < _LOOK_UP_AGAIN:
            return last.record
        found = await self._with_result(store, Record(), asked, stage)
        if found.manifest is None:
            self._unusable.put(asked, _Look(None, self._clock(), found))
        return found

    async def _with_result(self, store: ObjectStore, record: Record, commit: tuple[str, str], stage: str) -> Record:
        key, before = manifest_key(*commit), None
        for _ in range(_READINGS):
            data = await store.get(key)
            if data is None:
                return record
            self._unusable.drop(commit)
            manifest, problem = await verify(store, data, commit[1], stage)
            if problem is None or data == before:  # a proxy's page or a torn answer condemns nothing
                return replace(record, digest=digest_of(data) if manifest else None, manifest=manifest, problem=problem)
            before = data
        return record

    async def manifest(self, store: ObjectStore, digest: str) -> Manifest | None:
        """A manifest by digest; None when it is absent or not what the digest says. Raises StoreProblem."""
        known = self._manifests.get(digest)
        if known is None:
            known = await read_manifest(store, digest)
            if known is not None:
                self._manifests.put(digest, known)
        return known

    async def resolve(self, store: ObjectStore, ref: str) -> str | None:
        """Digest of a model or data set; `hf://` stands for itself; None when nothing is there. Raises StoreProblem."""
        if ref.startswith("hf://"):
            return ref
        if ref.startswith("sha256:"):
            known = self._manifests.get(ref) is not None or await store.get(manifest_digest_key(ref)) is not None
            return ref if known else None
        data = await store.get(ref.rstrip("/") + "/manifest.json")
        return digest_of(data) if data is not None else None


def _advanced(progress: Progress | None, last: _Look | None, now: datetime) -> datetime | None:
    """When progress was last seen to move, by our own clock: the pod's may be wrong."""
    if progress is None:
        return None
    before = last.record.progress if last is not None else None
    if before is not None and before.updated_at == progress.updated_at and last is not None:
        return last.record.advanced_at
    return now


async def verify(store: ObjectStore, data: bytes, content_key: str, stage: str) -> tuple[Manifest | None, str | None]:
    """The manifest, or why it is none: its form, stage and content, and every blob's presence and size."""
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        return None, f"the manifest of {stage} does not parse: {error.errors()[0]['msg']}"
    claimed = (manifest.stage, manifest.content_key)
    if claimed != (stage, content_key):
        return None, f"the manifest of {stage} claims to be {claimed}, expected {(stage, content_key)}"
    limit = asyncio.Semaphore(_PARALLEL)

    async def check(sha: str, size: int) -> str | None:
        async with limit:
            found = await store.size(blob_key(sha))
        if found is None:
            return f"blob {sha[:12]} is missing"
        return None if found == size else f"blob {sha[:12]} has {found} bytes, the manifest says {size}"

    wanted = {entry.sha256: entry.size for entry in manifest.files}
    problems = await asyncio.gather(*(check(sha, size) for sha, size in wanted.items()))
    wrong = [problem for problem in problems if problem]
    return (None, f"the manifest of {stage} cannot be used: {wrong[0]}") if wrong else (manifest, None)


async def read_manifest(store: ObjectStore, digest: str) -> Manifest | None:
    """A manifest by digest; None when it is absent or its bytes do not hash to the digest. Raises StoreProblem."""
    for _ in range(_READINGS):
        data = await store.get(manifest_digest_key(digest))
        if data is None:
            return None
        if digest_of(data) == digest:
            return _lenient(Manifest, data)
    return None


async def read_promotions(store: ObjectStore, namespace: str, campaign: str | None = None) -> list[Promotion]:
    """The promotions of a campaign, or of a namespace; records that do not parse are nobody's. Raises StoreProblem."""
    keys = [k for k in await store.keys(promotions_prefix(namespace, campaign)) if "/promotions/" in k]
    limit = asyncio.Semaphore(_PARALLEL)

    async def read(key: str) -> Promotion | None:
        async with limit:
            return _lenient(Promotion, await store.get(key))

    return [found for found in await asyncio.gather(*map(read, keys)) if found is not None]


def parse(data: bytes | None) -> Manifest | None:
    """A manifest from its bytes; None when there are none or they are no manifest."""
    return _lenient(Manifest, data)


def _lenient(model: type[M], data: bytes | None) -> M | None:
    """A half-written or foreign record counts as absent: the next look reads it again."""
    if data is None:
        return None
    try:
        return model.model_validate(json.loads(data))
    except (ValueError, ValidationError):
        return None
