"""ImportModel: a model of a hub, or of a directory of files, becomes a committed checkpoint of the store, once.

Pods then fetch it from the store like any other, verified; a revision is pinned to its commit, and whatever the round
makes is made of the checkpoint's digest. Files that the store has already, by sha256, are not moved.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.base import HUB
from flywheel_api.results import ImportedResult, ModelResult
from flywheel_jobs.core.errors import EndpointUnavailable, ValidationFailure
from flywheel_jobs.harness.context import StageContext, StageResult
from flywheel_jobs.imports import files
from flywheel_jobs.imports.files import Listing, RemoteFile
from flywheel_jobs.imports.folder import Folder
from flywheel_jobs.imports.hub import FIELD, Hub
from flywheel_jobs.storage.hub import token_of_pod
from flywheel_jobs.storage.models import IMPORT, imported, standing
from flywheel_jobs.storage.store import PARALLEL_FILES, need_space
from flywheel_store.backoff import delay

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between tries at a hub that does not answer


class Origin(Protocol):
    """Where a model comes from. Calls block."""

    def look(self) -> Listing:
        """What there is."""

    def fetch(self, listing: Listing, file: RemoteFile, folder: Path) -> Path:
        """Brings a file into `folder`."""


async def run(ctx: StageContext) -> StageResult:
    """Brings the base model in. Raises ValidationFailure for one that cannot be trained or that is not to be had."""
    ref = ctx.spec.base.model or ""
    origin = await asyncio.to_thread(_origin, ctx, ref)
    ctx.progress(0, None, f"looking at {ref}")
    listing = await _patiently(ctx, origin.look)
    chosen = files.chosen(listing)
    made_of = {"stage": IMPORT, "source": listing.source, "name": listing.name}
    key = f"models/{listing.name}"
    manifest = await asyncio.to_thread(standing, ctx.store, key, made_of)
    if manifest is None:
        entries = await _bring(ctx, origin, listing, chosen)
        await asyncio.to_thread(_check, ctx, listing.source, entries)
        result = ModelResult(source=listing.source, licence=listing.licence)
        manifest = await asyncio.to_thread(imported, ctx.store, key, entries, made_of, result)
    return _result(manifest, listing)


def _origin(ctx: StageContext, ref: str) -> Origin:
    if not ref.startswith(HUB):
        return Folder(ref, ctx.store)
    hub = ctx.spec.base.hub
    return Hub(ref, hub.endpoint if hub else None, token_of_pod(FIELD))


async def _bring(ctx: StageContext, origin: Origin, listing: Listing, chosen: list[RemoteFile]) -> list[FileEntry]:
    """All files, a few at a time: the disk holds no more than those. What came in an earlier attempt is not moved."""
    at_once = asyncio.Semaphore(PARALLEL_FILES)

    async def one(file: RemoteFile) -> FileEntry:
        async with at_once:
            return await _patiently(ctx, lambda: _move(ctx, origin, listing, file))

    def key(file: RemoteFile) -> str:
        return f"{listing.name}/{file.path}"

    total = sum(f.size for f in chosen)
    text = f"importing {len(chosen)} files, {total / 1e9:.2f} GB"
    found = await ctx.map_items(chosen, key, one, FileEntry, "files", text)
    missing = [f.path for f in chosen if key(f) not in found]
    if missing:
        raise ValidationFailure(
            f"{', '.join(missing[:3])} of {listing.source} could not be brought in: the pod's log says why"
        )
    return sorted(found.values(), key=lambda e: e.path)


def _move(ctx: StageContext, origin: Origin, listing: Listing, file: RemoteFile) -> FileEntry:
    name = f"model/{file.path}"
    if file.sha256 is not None and ctx.store.has_blob(file.sha256, file.size):
        return FileEntry(path=name, sha256=file.sha256, size=file.size)

    def whole(sha: str) -> None:
        if file.sha256 not in (None, sha):
            raise EndpointUnavailable(f"{file.path} of {listing.source} came damaged: its sha256 is another one")

    with tempfile.TemporaryDirectory(prefix="flywheel-import-") as scratch:
        need_space(Path(scratch), file.size, f"{listing.source}: {file.path}")
        path = origin.fetch(listing, file, Path(scratch))
        sha, size = ctx.store.put_blob_file(path, whole)  # which hashes it once, and asks before anything is written
    return FileEntry(path=name, sha256=sha, size=size)


async def _patiently(ctx: StageContext, work: Callable[[], T]) -> T:
    """Asks again while the hub stays away, as long as a stage is patient. Raises what it said last."""
    deadline = asyncio.get_running_loop().time() + ctx.config.endpoint_patience_seconds
    tries = 0
    while True:
        try:
            return await asyncio.to_thread(work)
        except EndpointUnavailable as error:
            tries += 1
            if asyncio.get_running_loop().time() > deadline:
                raise
            ctx.attempt.update(waiting_for=str(error))
            await asyncio.sleep(delay(tries, FIRST_PAUSE, LONGEST_PAUSE))
            ctx.attempt.update(waiting_for=None)


def _check(ctx: StageContext, source: str, entries: list[FileEntry]) -> None:
    by_name = {e.path.removeprefix("model/"): e for e in entries}
    index = by_name.get(files.INDEX)
    files.check(
        source,
        ctx.store.get_blob(by_name[files.CONFIG].sha256),
        ctx.store.get_blob(index.sha256) if index else None,
        list(by_name),
    )


def _result(manifest: Manifest, listing: Listing) -> StageResult:
    size = sum(f.size for f in manifest.files)
    result = ImportedResult(model=manifest.digest, source=listing.source, licence=listing.licence, bytes=size)
    return StageResult(result)
