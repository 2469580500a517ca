"""Which training checkpoints stay, and how one is deleted without harm to others.

Blobs are shared by content across the whole store. Only the large shards of a rank (`model_*.pt`, `optim_*.pt`) are
ever deleted, and each carries a reference key per namespace and content, so that another training which wrote the very
same bytes keeps its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.rljob import CheckpointSpec
from flywheel_jobs.storage.store import Store

_SHARD = re.compile(r"(?:^|/)(?:model|optim)_world_size_\d+_rank_\d+\.pt$")


def keep(rewards: Mapping[int, float | None], policy: CheckpointSpec) -> set[int]:
    """Steps that stay: the last `keepLast`, and the `keepBest` of highest reward (the later one of equals)."""
    steps = sorted(rewards)
    best = sorted((s for s in steps if rewards[s] is not None), key=lambda s: (rewards[s], s), reverse=True)
    return set(steps[-policy.keep_last :]) | set(best[: policy.keep_best])


def shards(manifest: Manifest) -> list[FileEntry]:
    """Files that retention may delete."""
    return [f for f in manifest.files if _SHARD.search(f.path)]


def refer(store: Store, manifest: Manifest) -> None:
    """Protects a checkpoint's shards. Must come before its commit."""
    for entry in shards(manifest):
        store.put_bytes(_reference(entry, manifest), b"")


def drop(store: Store, manifest: Manifest, key: str, kept: Iterable[Manifest]) -> int:
    """Deletes a checkpoint: its commit first, so that nobody resumes from a torn one, then blobs that nobody needs.

    `kept` are the other checkpoints of the same content. Returns the bytes freed.
    """
    store.delete(key)
    store.delete(artifacts.manifest_digest_key(manifest.digest))
    needed = {f.sha256 for other in kept for f in other.files}
    freed = 0
    for entry in shards(manifest):
        if entry.sha256 in needed:
            continue
        store.delete(_reference(entry, manifest))
        if not store.list_keys(artifacts.references_prefix(entry.sha256)):
            store.delete(artifacts.blob_key(entry.sha256))
            freed += entry.size
    return freed


def _reference(entry: FileEntry, manifest: Manifest) -> str:
    return artifacts.reference_key(entry.sha256, manifest.owner.namespace, manifest.content_key)
