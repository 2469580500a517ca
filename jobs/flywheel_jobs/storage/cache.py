"""Files of models in a volume that several pods share, or that outlives them: what one has fetched no other fetches.

A file lies under its sha256 and is linked to where a model's directory wants it. Whoever comes first holds a lock on it
and fetches; the others wait, and the bytes that come meanwhile are their progress too. A volume that is full gives up
what nobody has asked for in a day, the oldest first; one that cannot be used is said in the log and gone around.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from flywheel_api.artifacts import FileEntry
from flywheel_api.stages import CACHE_ENV
from flywheel_jobs.core import logging as telemetry
from flywheel_store.store import hash_file
from flywheel_store.traffic import MOVED, Others

Fetch = Callable[[str, Path], int]
"""Brings the blob of a sha256 to a path, verified."""
RESTED_SECONDS = 86_400.0
_POLL_SECONDS = 0.5
log = telemetry.get_logger(__name__)


class ModelCache:
    """The volume, by folders: `blobs` whole, `parts` on their way, `locks`."""

    def __init__(self, root: Path) -> None:
        self._blobs, self._parts, self._locks = (root / name for name in ("blobs", "parts", "locks"))

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ModelCache | None:
        """The one that the pod has; None where it has none, or one that this process cannot write to."""
        root = environ.get(CACHE_ENV)
        if not root:
            return None
        cache = cls(Path(root))
        try:
            for folder in (cache._blobs, cache._parts, cache._locks):
                folder.mkdir(parents=True, exist_ok=True)
                if not os.access(folder, os.W_OK):
                    raise PermissionError(f"{folder} belongs to another user")
        except OSError as error:
            log.warning("the cache volume cannot be used, every pod fetches for itself", error=str(error))
            return None
        return cache

    def place(self, entry: FileEntry, target: Path, fetch: Fetch) -> None:
        """Makes `target` the file of an entry. Raises what `fetch` raises."""
        blob = self._blobs / entry.sha256
        with self._alone(entry.sha256):
            if not self._whole(blob, entry) and not self._brought(blob, entry, fetch):
                fetch(entry.sha256, target)
                return
        target.parent.mkdir(parents=True, exist_ok=True)
        link = target.with_name(f".{target.name}.link")
        link.unlink(missing_ok=True)
        link.symlink_to(blob)
        link.replace(target)

    def _whole(self, blob: Path, entry: FileEntry) -> bool:
        """Whether it is there, by content: a disk of a node is nobody's promise. It counts as asked for now."""
        if not blob.is_file() or blob.stat().st_size != entry.size or hash_file(blob) != entry.sha256:
            return False
        os.utime(blob)
        return True

    def _brought(self, blob: Path, entry: FileEntry, fetch: Fetch) -> bool:
        if not self._room(entry.size):
            log.warning("the cache volume is full of files that are in use", file=entry.path, bytes=entry.size)
            return False
        part = self._parts / f"{entry.sha256}.{uuid.uuid4().hex}"
        try:
            fetch(entry.sha256, part)
            part.replace(blob)
        finally:
            part.unlink(missing_ok=True)
        return True

    def _room(self, size: int) -> bool:
        """Whether so many bytes fit, once what has rested long enough is gone."""
        rested = time.time() - RESTED_SECONDS
        for moment, blob in sorted((found.st_mtime, blob) for blob, found in _there(self._blobs.iterdir())):
            if shutil.disk_usage(self._blobs).free >= size or moment > rested:
                break
            blob.unlink(missing_ok=True)
        return shutil.disk_usage(self._blobs).free >= size

    @contextmanager
    def _alone(self, sha: str) -> Iterator[None]:
        """One process of all pods at a time. A pod that is gone holds nothing."""
        others = Others(MOVED)
        with (self._locks / sha).open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    others.moved(self._come(sha))
                    time.sleep(_POLL_SECONDS)
            yield

    def _come(self, sha: str) -> int:
        """Bytes of a file that another process is fetching; its part has a part's name while it comes."""
        return sum(found.st_size for _, found in _there(self._parts.glob(f"*{sha}*")))


def _there(paths: Iterable[Path]) -> Iterator[tuple[Path, os.stat_result]]:
    """What is known of files; other threads and pods take them away meanwhile."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path, path.stat()
