"""The store as jobs use it: patient, with uploads of files in parallel and create-only commits."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_api.canonical import digest_of
from flywheel_jobs.core.errors import CorruptArtifact, Superseded, ValidationFailure
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits
from flywheel_store.settings import from_env
from flywheel_store.store import BlobStore, hash_file
from flywheel_store.traffic import MOVED, Moved

PARALLEL_FILES = 4
_COMMITS = 3  # tries at a key that is held, and gone when it is read
PATIENCE_ENV = "FLYWHEEL_S3_PATIENCE_SECONDS"


@dataclass(frozen=True)
class Committed:
    """What stands under a commit key now, and whether this call put it there."""

    digest: str
    won: bool


class Store(BlobStore):
    """One bucket and prefix. Safe to use from several threads."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, moved: Moved = MOVED.add) -> Self:
        """The store that the pod's environment names. Raises StoreProblem naming what is missing or wrong.

        `moved` is told of bytes of files as they travel, by default the process's own meter (`traffic.MOVED`).
        """
        environ = os.environ if environ is None else environ
        limits = Limits(patience=float(environ.get(PATIENCE_ENV) or Limits.patience))
        return cls(S3Bucket(from_env(environ), limits, moved))

    def put_blob_file(self, path: Path | str, need: Callable[[str], None] = lambda _: None) -> tuple[str, int]:
        """Stores a file under its sha256, in parallel parts. Raises ValidationFailure if the file changes meanwhile.

        `need` is told the sha256 before anybody looks whether the blob is there.
        """
        path = Path(path)
        before = path.stat()
        sha = hash_file(path)
        need(sha)

        def upload(key: str) -> None:
            self.bucket.put_file(key, path)
            after = path.stat()
            if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
                self.delete(key)
                raise ValidationFailure(f"{path} changed while it was uploaded; write it to the end first")

        self.put_once(sha, before.st_size, upload)
        return sha, before.st_size

    def put_files(
        self,
        files: Sequence[tuple[str, Path]],
        parallel: int = PARALLEL_FILES,
        need: Callable[[FileEntry], None] = lambda _: None,
    ) -> list[FileEntry]:
        """Stores several files at once as (manifest path, local path); entries in the same order.

        `need` is told of each before anybody looks whether it is there.
        """

        def one(item: tuple[str, Path]) -> FileEntry:
            name, path = item
            size = path.stat().st_size
            sha, size = self.put_blob_file(path, lambda sha: need(FileEntry(path=name, sha256=sha, size=size)))
            return FileEntry(path=name, sha256=sha, size=size)

        with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
            return list(pool.map(one, files))

    def put_manifest(self, manifest: Manifest) -> str:
        """Stores a manifest by its digest. Raises CorruptArtifact if a blob of it is missing."""
        absent = self.absent(manifest.files)
        if absent:
            raise CorruptArtifact(f"manifest names files whose blobs are not in the store: {', '.join(absent[:5])}")
        return super().put_manifest(manifest)

    def absent(self, files: Sequence[FileEntry]) -> list[str]:
        """Paths of files whose blobs are not there with their size."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            there = pool.map(lambda entry: self.has_blob(entry.sha256, entry.size), files)
            return [entry.path for entry, found in zip(files, there, strict=True) if not found]

    def commit(self, manifest: Manifest, key: str) -> Committed:
        """Stores a manifest by digest, then creates `key`, last: whoever comes second finds the winner's digest.

        Raises CorruptArtifact if a blob of the manifest is missing.
        """
        digest = self.put_manifest(manifest)
        for _ in range(_COMMITS):
            if self.put_bytes_new(key, manifest.canonical()):
                return Committed(digest, True)
            standing = self.get_bytes(key)
            if standing is not None:
                return Committed(digest_of(standing), False)
        raise Superseded(f"{key} is created and removed by someone else again and again")


def inside(folder: Path, name: str) -> Path:
    """Where a file of a manifest goes: a manifest may be anybody's. Raises CorruptArtifact if that is elsewhere."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise CorruptArtifact(f"a manifest names {name!r}, which leads out of its folder")
    return path


def need_space(folder: Path, missing: int, what: str) -> None:
    """Raises ValidationFailure unless `missing` more bytes fit on the folder's volume."""
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < missing:
        raise ValidationFailure(
            f"{what} needs {missing >> 20} MiB in {folder}; give that volume more space", "DiskFull"
        )
