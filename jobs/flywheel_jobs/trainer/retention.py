"""Which training checkpoints stay, and how one is deleted without harm to others.

Blobs are shared by content across the whole store. Only the large shards of a rank (`model_*.pt`, `optim_*.pt`) are
ever deleted, and each carries a reference key per training, so that another one which wrote the very same bytes keeps
its own.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.rljob import CheckpointSpec
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer.guard import RECENT

_SHARD = re.compile(r"(?:^|/)(?:model|optim)_world_size_\d+_rank_\d+\.pt$")
_MARK = "~dropping-"
WAIT_SECONDS, _WAITS = 1.0, 30  # for a deletion that is under way; one that never ends had its pod killed


def keep(rewards: Mapping[int, float | None], policy: CheckpointSpec, published: int | None = None) -> set[int]:
    """Steps that stay: the last `keepLast`, and the `keepBest` of highest reward (the later one of equals).

    Where a best one is kept, so is the newest that the collapse guard would not doubt, were it to doubt the last step,
    and what comes after that: it is the newest one later. Once one is `published` nobody doubts any more, and that one
    stays in their place.
    """
    steps = sorted(rewards)
    best = sorted((s for s in steps if rewards[s] is not None), key=lambda s: (rewards[s], s), reverse=True)
    sound = [s for s in steps if s <= steps[-1] - RECENT][-1:] or steps[:1]
    unharmed = {s for s in steps if s >= sound[0]} if policy.keep_best and steps else set()
    chosen = unharmed if published is None else {published}
    return set(steps[-policy.keep_last :]) | set(best[: policy.keep_best]) | chosen


def is_shard(path: str) -> bool:
    """Whether retention may delete a file."""
    return _SHARD.search(path) is not None


@dataclass(frozen=True)
class Referrer:
    """Who needs shards: one owner's training of a content."""

    namespace: str
    content_key: str
    owner_uid: str

    @classmethod
    def of(cls, manifest: Manifest) -> Referrer:
        """Who committed a checkpoint."""
        return cls(manifest.owner.namespace, manifest.content_key, manifest.owner.uid)

    def key(self, sha: str) -> str:
        """Its reference to a blob."""
        return artifacts.reference_key(sha, self.namespace, self.content_key, self.owner_uid)


def refer(store: Store, referrer: Referrer, entry: FileEntry) -> None:
    """Protects a shard. Must come before anybody looks whether it is there.

    Returns when nobody is about to delete it who had looked for references before: after that it is there or it is not.
    """
    if not is_shard(entry.path):
        return
    store.put_bytes(referrer.key(entry.sha256), b"")
    for _ in range(_WAITS):
        if not any(_MARK in key for key in store.list_keys(artifacts.references_prefix(entry.sha256))):
            return
        time.sleep(WAIT_SECONDS)


def drop(store: Store, manifest: Manifest, key: str, kept: Iterable[Manifest]) -> int:
    """Deletes a checkpoint: its commit first, so that nobody resumes from a torn one, then blobs that nobody needs.

    `kept` are the other checkpoints of the same content. Returns the bytes freed.
    """
    store.delete(key)
    store.delete(artifacts.manifest_digest_key(manifest.digest))
    others = list(kept)
    needed = {f.sha256 for other in others for f in other.files}
    own = {f.sha256 for other in others if other.owner.uid == manifest.owner.uid for f in other.files}
    freed = 0
    for entry in manifest.files:
        if not is_shard(entry.path):
            continue
        if entry.sha256 not in own:
            store.delete(Referrer.of(manifest).key(entry.sha256))
        if entry.sha256 not in needed and _free(store, entry.sha256):
            freed += entry.size
    return freed


def _free(store: Store, sha: str) -> bool:
    """Deletes a blob that nobody refers to. Whoever refers to it meanwhile sees the mark and waits for the outcome."""
    prefix = artifacts.references_prefix(sha)
    mark = f"{prefix}{_MARK}{uuid.uuid4().hex}"
    store.put_bytes(mark, b"")
    try:
        if any(_MARK not in other for other in store.list_keys(prefix)):
            return False
        store.delete(artifacts.blob_key(sha))
        return True
    finally:
        store.delete(mark)
