"""The one door for a package of a user's, a folder or an archive: plain files with names inside it, few and small.

An archive is read in memory, never unpacked by a library, and no further than its limits, so that a small file of
zeros does not become a large one. `domain test` and Prepare both come in here, so that what passes the one is taken
by the other.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

DECLARATION = "domain.yaml"
LARGEST = 8 << 20  # bytes of a package, packed or not: declarations and code, no data
MOST_FILES = 64
SUFFIXES = frozenset({".yaml", ".py", ".md", ".txt", ".csv", ".json"})
"""What a package is made of; other files of a folder or an archive are left out."""


class BadArchive(Exception):
    """A package that nobody should unpack, or that is none; the message says which of its files is at fault."""


class Bounded(io.RawIOBase):
    """A stream that ends with BadArchive after so many bytes: the limit of what is unpacked, headers and all."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self.source, self.left = source, most

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Bytes of the source while there is room. Raises BadArchive."""
        data = self.source.read(len(buffer))
        self.left -= len(data)
        if self.left < 0:
            raise BadArchive(f"unpacked it is larger than {LARGEST >> 20} MiB")
        buffer[: len(data)] = data
        return len(data)


def members(data: bytes) -> dict[str, bytes]:
    """Files of a tar archive, plain or gz, bz2, xz, by path. Raises BadArchive."""
    try:
        return dict(_members(data))
    except (tarfile.TarError, EOFError, OSError, ValueError, lzma.LZMAError) as error:
        raise BadArchive(f"it cannot be read as a tar archive: {error}") from error


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    count = 0
    with tarfile.open(fileobj=io.BytesIO(_unpacked(data)), mode="r:") as archive:
        for member in archive:
            count += 1
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise BadArchive(f"{member.name!r} leads out of it")
            if not (member.isreg() or member.isdir()):
                raise BadArchive(f"{member.name!r} is a link or a device")
            if count > 4 * MOST_FILES:
                raise BadArchive(f"it has more than {4 * MOST_FILES} members")
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None and kept(path):
                yield path.as_posix(), content.read()


def kept(path: PurePosixPath) -> bool:
    """Whether a file belongs to a package: what interpreters and desktops leave behind does not."""
    return path.suffix in SUFFIXES and not any(part.startswith((".", "__")) for part in path.parts)


def _unpacked(data: bytes) -> bytes:
    """The bare tar, no larger than it may be."""
    opener = _OPENERS.get(data[:2])
    if opener is None:
        if len(data) > LARGEST:
            raise BadArchive(f"it is larger than {LARGEST >> 20} MiB")
        return data
    with opener(io.BytesIO(data)) as stream:
        return io.BufferedReader(Bounded(stream, LARGEST)).read()


_OPENERS: dict[bytes, Callable[[io.BytesIO], IO[bytes]]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw),  # type: ignore[dict-item,return-value]
    b"BZ": bz2.BZ2File,
    b"\xfd7": lzma.LZMAFile,
}


def from_archive(data: bytes) -> dict[str, bytes]:
    """Files of a package in an archive, whatever it was packed by. Raises BadArchive."""
    return fitting(_rooted(members(data)))


def from_folder(folder: Path) -> dict[str, bytes]:
    """Files of a package in a folder; sizes are asked before anything is read. Raises BadArchive."""
    paths = [path for path in sorted(folder.rglob("*")) if kept(PurePosixPath(path.relative_to(folder).as_posix()))]
    for path in paths:
        if any(each.is_symlink() for each in (path, *path.parents) if folder in each.parents):
            raise BadArchive(
                f"{path.relative_to(folder).as_posix()!r} is a link or below one: put the file itself there"
            )
    files = [path for path in paths if path.is_file()]
    if sum(path.stat().st_size for path in files) > LARGEST:
        raise BadArchive(_TOO_MUCH)
    return fitting({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})


def from_path(path: Path) -> dict[str, bytes]:
    """Files of a package on this machine: a folder, or an archive of one. Raises BadArchive, FileNotFoundError."""
    if path.is_dir():
        return from_folder(path)
    if path.stat().st_size > LARGEST:
        raise BadArchive(_TOO_MUCH)
    return from_archive(path.read_bytes())


def fitting(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files, if they are a domain and few and small. Raises BadArchive."""
    if DECLARATION not in files:
        raise BadArchive(f"there is no {DECLARATION} in it: `domain new NAME` writes one to begin with")
    if len(files) > MOST_FILES or sum(map(len, files.values())) > LARGEST:
        raise BadArchive(_TOO_MUCH)
    return files


_TOO_MUCH = (
    f"it has more than {MOST_FILES} files or {LARGEST >> 20} MiB: a package holds a declaration and code, "
    "its rows come from generators"
)


def written(files: dict[str, bytes], folder: Path) -> Path:
    """Writes the files below a folder, and returns it."""
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return folder


def _rooted(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files below the one folder that holds the declaration: `tar czf x.tgz library/` has it around all."""
    if DECLARATION in files:
        return files
    tops = {PurePosixPath(path).parts[0] for path in files}
    if len(tops) != 1:
        return files
    head = f"{tops.pop()}/"
    return {path.removeprefix(head): content for path, content in files.items()}
