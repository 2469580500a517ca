"""From a reference to a package: fetched, brought into one form, and known by the digest of that form.

The form is a plain tar of the folder, the same for the same files whoever packed them, so that a package lies in the
store as a blob under its own digest. What an archive of a user's may do to a disk is the matter of
`flywheel_domains.archive`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path, PurePosixPath

import flywheel_domains
from flywheel_api.common import BUILTIN_DOMAINS, DomainPin, DomainRef
from flywheel_domains import archive
from flywheel_domains.archive import DECLARATION, LARGEST, MOST_FILES, BadArchive
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_store.store import BlobStore

GROUP = "flywheel.domains"
BUILTIN = Path(flywheel_domains.__file__).with_name("builtin")
REASON = "InvalidDomain"


@dataclass(frozen=True)
class Package:
    """A domain in the one form."""

    name: str
    data: bytes

    @property
    def digest(self) -> str:
        """sha256:<hex> of the form: what it is pinned by, and the name of its blob."""
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    @property
    def path(self) -> str:
        """Its place among Prepare's files."""
        return f"domains/{self.name}.tar"

    @property
    def pin(self) -> DomainPin:
        """As a status says it."""
        return DomainPin(name=self.name, digest=self.digest)

    def unpack(self, folder: Path) -> None:
        """Its files in a folder that is not there yet; the folder appears with all of them, or not at all."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            whole = Path(scratch) / "package"
            whole.mkdir()
            archive.written(archive.members(self.data), whole)
            try:
                whole.rename(folder)
            except OSError:  # another process was first
                if not folder.is_dir():
                    raise


def pack(name: str, folder: Path) -> Package:
    """The files of a folder that make a domain; nothing of the machine that packed them. Raises ValidationFailure."""
    with _refused(name, "the folder"):
        return _packed(name, archive.from_folder(folder))


def packed(name: str, files: dict[str, bytes]) -> Package:
    """The one form of these files. Raises ValidationFailure where they are too many or too much, or no domain."""
    with _refused(name, "the package"):
        return _packed(name, archive.fitting(files))


def _packed(name: str, files: dict[str, bytes]) -> Package:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as whole:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            whole.addfile(entry, io.BytesIO(content))
    return Package(name, buffer.getvalue())


@contextmanager
def _refused(name: str, what: str) -> Iterator[None]:
    """What the door refuses, as a fault of a round's spec."""
    try:
        yield
    except BadArchive as error:
        raise ValidationFailure(f"domain {name}: {what} is refused: {error}", REASON) from error


def find(ref: DomainRef, store: BlobStore) -> Package:
    """The package that a spec names. Raises ValidationFailure naming the domain and what to do."""
    source = ref.source
    if source is None:
        return builtin(ref.name)
    if source.startswith("image://"):
        return pack(ref.name, entry_point(ref.name, source.removeprefix("image://")))
    if source.startswith("sha256:"):
        return _blob(ref.name, source, store)
    return _fetched(ref.name, source, store)


def builtin(name: str) -> Package:
    """A domain that comes with this image. Raises ValidationFailure."""
    if name not in BUILTIN_DOMAINS:
        known = ", ".join(BUILTIN_DOMAINS)
        raise ValidationFailure(f"no domain {name!r} is built in ({known}): give it a source", REASON)
    return pack(name, BUILTIN / name)


def entry_point(name: str, wanted: str) -> Path:
    """The folder of the package that an entry point of this image names; nothing of it is imported."""
    found = {e.name: e for e in entry_points(group=GROUP)}
    if wanted not in found:
        known = ", ".join(sorted(found)) or "none"
        raise ValidationFailure(f"domain {name}: this image has no entry point {wanted!r} in {GROUP} ({known})", REASON)
    spec = importlib.util.find_spec(found[wanted].module)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise ValidationFailure(f"domain {name}: {found[wanted].value} of {GROUP} is no package with a folder", REASON)
    return Path(places[0])


def _blob(name: str, digest: str, store: BlobStore) -> Package:
    """A package of ours by its digest; whatever else lies there is read as a user's archive, and so is another one."""
    if not store.has_blob(digest.removeprefix("sha256:")):
        raise ValidationFailure(
            f"domain {name}: {digest} is not in this store: give the s3:// address that it came from", REASON
        )
    return from_archive(name, store.get_blob(digest.removeprefix("sha256:")))


def _fetched(name: str, source: str, store: BlobStore) -> Package:
    """An archive, or a folder of files. Sizes are asked before anything is moved."""
    keys = store.objects_at(source)
    if not keys:
        raise ValidationFailure(f"domain {name}: {source} does not exist", "DataNotFound")
    sizes = [store.bucket.size(key) or 0 for key in keys[: MOST_FILES + 1]]
    if len(keys) > MOST_FILES or sum(sizes) > LARGEST:
        raise ValidationFailure(
            f"domain {name}: {source} has more than {MOST_FILES} files or {LARGEST >> 20} MiB: name one archive, or "
            f"the folder of one {DECLARATION}",
            REASON,
        )
    with tempfile.TemporaryDirectory() as scratch:
        if len(keys) == 1 and not keys[0].endswith(DECLARATION):
            store.fetch(keys[0], Path(scratch) / "archive")
            return from_archive(name, (Path(scratch) / "archive").read_bytes())
        root = source.rstrip("/") + "/"
        files = {}
        for number, key in enumerate(keys):
            path = PurePosixPath(key.removeprefix(root) if key.startswith(root) else PurePosixPath(key).name)
            if not archive.kept(path):
                continue
            store.fetch(key, Path(scratch) / str(number))
            files[path.as_posix()] = (Path(scratch) / str(number)).read_bytes()
        return packed(name, files)


def from_archive(name: str, data: bytes) -> Package:
    """A user's archive, whatever it was packed by. Raises ValidationFailure for one that is no archive, or a trap."""
    with _refused(name, "the archive"):
        return _packed(name, archive.from_archive(data))
