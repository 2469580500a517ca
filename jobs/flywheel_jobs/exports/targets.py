"""Where a model goes. A file has its name only when it is whole, so that an attempt that was cut can go on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from flywheel_api.artifacts import FileEntry
from flywheel_api.ends import End
from flywheel_api.stages import EXPORT_DIR
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.storage.store import Store, inside, need_space


class Target(Protocol):
    """A directory outside the store. Calls block."""

    uri: str
    """Its address; that of a hub says the commit once it is finished."""

    def names(self) -> set[str]:
        """Paths of the files that are there."""

    def read(self, name: str) -> bytes | None:
        """A small file, or None."""

    def write(self, name: str, data: bytes) -> None:
        """Writes a small file, replacing what was there."""

    def bring(self, store: Store, name: str, blob: FileEntry) -> None:
        """Copies a blob of the store, verified by its sha256."""

    def finish(self, message: str) -> None:
        """Shows what was written, where that is a step of its own; `message` says what it is.

        Raises Overtaken where somebody else has shown something since: look at what is there, and write again.
        """


class Prefix:
    """`s3://bucket/prefix` on the store's server."""

    def __init__(self, address: str, store: Store) -> None:
        self.uri = address.rstrip("/")
        bucket, _, prefix = self.uri.removeprefix("s3://").partition("/")
        self._bucket = store.bucket.elsewhere(bucket, prefix)

    def names(self) -> set[str]:
        """See Target."""
        return set(self._bucket.keys(""))

    def read(self, name: str) -> bytes | None:
        """See Target."""
        return self._bucket.get(name)

    def write(self, name: str, data: bytes) -> None:
        """See Target."""
        self._bucket.put(name, data, "text/plain; charset=utf-8")

    def bring(self, store: Store, name: str, blob: FileEntry) -> None:
        """See Target."""
        with tempfile.TemporaryDirectory(prefix="flywheel-export-") as scratch:
            need_space(Path(scratch), blob.size, name)
            path = Path(scratch) / "file"
            store.fetch_blob(blob.sha256, path)
            self._bucket.put_file(name, path)

    def finish(self, message: str) -> None:
        """See Target. Objects are there as soon as they are written."""


class Volume:
    """A directory of the volume that is mounted at `root`."""

    def __init__(self, claim: str, path: str, root: Path = Path(EXPORT_DIR)) -> None:
        self.uri = f"pvc://{claim}/{path}"
        self._folder = inside(root, path)

    def names(self) -> set[str]:
        """See Target."""
        parts = set(self._parts())
        there = (p for p in self._folder.rglob("*") if p.is_file() and p not in parts)
        return {p.relative_to(self._folder).as_posix() for p in there}

    def read(self, name: str) -> bytes | None:
        """See Target."""
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def write(self, name: str, data: bytes) -> None:
        """See Target. Raises ValidationFailure where the volume refuses."""
        path = self._folder / name
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            os.replace(part, path)
        except OSError as error:
            why = f"{self.uri} cannot be written ({error.strerror}): user {os.getuid()} must be able to"
            raise unusable(why) from error

    def bring(self, store: Store, name: str, blob: FileEntry) -> None:
        """See Target."""
        need_space(self._folder, blob.size, name)
        store.fetch_blob(blob.sha256, self._folder / name)

    def finish(self, message: str) -> None:
        """See Target. Files are there as soon as they are written; what a killed attempt had begun goes."""
        for part in list(self._parts()):
            part.unlink(missing_ok=True)

    def _parts(self) -> Iterator[Path]:
        """Files that were begun, by `write` or by the store's download: no attempt's files yet, and nobody else's."""
        return self._folder.rglob(".*.part")


def unusable(text: str) -> ValidationFailure:
    """The target cannot take the model, and another attempt will not change that."""
    return ValidationFailure(text, End.EXPORT_TARGET_UNUSABLE)
