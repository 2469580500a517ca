"""OCI images as files: find one in a layout folder or archive, make one, add a layer, write an archive. No daemon.

An image layout holds `index.json` and content-addressed `blobs/sha256/<hex>`; see the OCI image format. Adding our code
this way takes well under a second, where a push through a builder compresses a 4 GB layer again; and an archive without
the blobs that its reader has already is kilobytes.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
import weakref
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from .errors import ToolError

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
REF = "org.opencontainers.image.ref.name"
NAME = "io.containerd.image.name"
OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
EPOCH = "1970-01-01T00:00:00Z"
Json = dict[str, Any]


@dataclass(frozen=True)
class Blob:
    digest: str  # "sha256:<hex>"
    size: int  # bytes


class Source(Protocol):
    """Files of an image layout, wherever they are."""

    def open(self, path: str) -> tuple[IO[bytes], int]:
        """A file and its size in bytes. KeyError when absent."""


@dataclass(frozen=True)
class Image:
    """One image of a source."""

    source: Source
    descriptor: Json  # its entry in the index
    manifest: Json

    @property
    def digest(self) -> str:
        return str(self.descriptor["digest"])

    @property
    def blobs(self) -> tuple[str, ...]:
        """Digests in the order of import: manifest, configuration, layers."""
        return (self.digest, self.manifest["config"]["digest"], *(x["digest"] for x in self.manifest["layers"]))

    def config(self) -> Json:
        return _read(self.source, blob_path(self.manifest["config"]["digest"]))


# ---- reading


def blob_path(digest: str) -> str:
    """Path of a blob in a layout."""
    return f"blobs/{digest.replace(':', '/', 1)}"


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _read(source: Source, path: str) -> Json:
    with source.open(path)[0] as file:
        return dict(json.load(file))


def find_image(source: Source, tag: str = "") -> Image:
    """The image that a tag names, or the only one. ToolError for what is none (an index of platforms included)."""
    try:
        descriptor = choose(_read(source, "index.json")["manifests"], tag)
        image = Image(source, descriptor, _read(source, blob_path(descriptor["digest"])))
        _ = image.blobs  # KeyError for an index of several platforms
    except (KeyError, ValueError) as error:
        raise ToolError(f"not an OCI image layout of one platform ({error!r}); push it with: oci:FOLDER:TAG") from error
    return image


def choose(manifests: Sequence[Json], tag: str) -> Json:
    """The entry of a layout's index that `tag` names (a tag or a full name); the only one if there is one."""
    if len(manifests) == 1:
        return manifests[0]
    found = [m for m in manifests if tag and tag in _names(m)]
    if len(found) != 1:
        known = sorted(name for m in manifests for name in _names(m))
        raise ToolError(f"the image archive holds {len(manifests)} images ({', '.join(known)}); say which: PATH:TAG")
    return found[0]


def _names(descriptor: Json) -> set[str]:
    annotations = descriptor.get("annotations") or {}
    names = {annotations[key] for key in (REF, NAME) if key in annotations}
    return names | {name.rsplit(":", 1)[1] for name in names if ":" in name.rsplit("/", 1)[-1]}


class Archive:
    """An OCI layout in an uncompressed tar archive."""

    def __init__(self, file: Path) -> None:
        """Reads the archive's headers. ToolError when it is no tar archive."""
        try:
            self._tar = tarfile.open(file, "r:")  # noqa: SIM115 - read from as long as this object lives
        except tarfile.TarError as error:
            raise ToolError(f"{file} is not an uncompressed tar archive ({error}); gunzip it first.") from error
        weakref.finalize(self, self._tar.close)
        self._members = {m.name.removeprefix("./"): m for m in self._tar.getmembers()}

    def open(self, path: str) -> tuple[IO[bytes], int]:
        member = self._members[path]
        file = self._tar.extractfile(member)
        if file is None:
            raise KeyError(path)
        return file, member.size


# ---- a layout folder: read and written


class Layout:
    """An OCI layout folder, such as buildah makes of `push IMAGE oci:FOLDER:TAG`."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self.folder = folder

    def open(self, path: str) -> tuple[IO[bytes], int]:
        try:
            file = (self.folder / path).open("rb")
        except FileNotFoundError as error:
            raise KeyError(path) from error
        return file, os.fstat(file.fileno()).st_size

    def image(self) -> Image:
        """Its only image. Raises ToolError."""
        return find_image(self)

    def blob_file(self, digest: str) -> Path:
        return self.folder / blob_path(digest)

    def complete(self) -> bool:
        """Whether all blobs are there in their full size (an interrupted write leaves a folder without)."""
        try:
            manifest = self.image().manifest
            parts = [manifest["config"], *manifest["layers"]]
            return all(self.blob_file(x["digest"]).stat().st_size == x["size"] for x in parts)
        except (OSError, ToolError):
            return False

    def put(self, data: bytes) -> Blob:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._place(digest).write_bytes(data)
        return Blob(digest, len(data))

    def put_file(self, source: Path) -> Blob:
        """Takes SOURCE over (it is moved)."""
        blob = Blob(f"sha256:{sha256_file(source)}", source.stat().st_size)
        shutil.move(source, self._place(blob.digest))
        return blob

    def link(self, digest: str, other: "Layout") -> None:
        """A blob of another layout: a hard link where the file system can, else a copy."""
        source, target = other.blob_file(digest), self._place(digest)
        if target.exists():
            return
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)

    def _place(self, digest: str) -> Path:
        path = self.blob_file(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, config: Json, layers: list[Json]) -> str:
        """Write config, manifest and layout marker for the blobs already there; returns the manifest's digest."""
        stored = self.put(_json(config))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": stored.digest, "size": stored.size},
            "layers": layers,
        }
        blob = self.put(_json(manifest))
        platform = {"architecture": "amd64", "os": "linux"}
        entry = {"mediaType": MANIFEST, "digest": blob.digest, "size": blob.size, "platform": platform}
        (self.folder / "oci-layout").write_bytes(OCI_LAYOUT)
        (self.folder / "index.json").write_bytes(_index(entry, {}))
        return blob.digest

    def name(self, reference: str) -> None:
        """Write the image's name (host/path:tag) into the index, where importers look for it."""
        annotations = {NAME: reference, REF: reference.rsplit(":", 1)[1]}
        (self.folder / "index.json").write_bytes(_index(self.image().descriptor, annotations))


def _index(descriptor: Json, annotations: dict[str, str]) -> bytes:
    entry = {**descriptor, "annotations": annotations}
    return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


# ---- making images


def one_layer(layout: Layout, layer: Blob, runs: Json, created_by: str) -> str:
    """Write the image of one uncompressed layer that is in the layout; `runs`: its `config`. Returns the digest."""
    config = {
        "created": EPOCH,
        "architecture": "amd64",
        "os": "linux",
        "config": runs,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        # one entry per layer, or buildah's layer cache stops with "history lists 1 non-empty layers, but we have 2"
        "history": [{"created": EPOCH, "created_by": created_by}],
    }
    return layout.write(config, [{"mediaType": LAYER, "digest": layer.digest, "size": layer.size}])


def from_rootfs(tar: Path, target: Path) -> str:
    """Make a one-layer image of a root file system tar (moved); returns the manifest's digest."""
    layout = Layout(target)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return one_layer(layout, layout.put_file(tar), {"Env": [path], "Cmd": ["/bin/sh"]}, "flywheel base")


def binary_image(folder: Path, binary: Path, entrypoint: str) -> Layout:
    """The image of one static binary at `entrypoint`; made once, by rename."""
    user = "65532:65532"  # a number, because manifests say runAsNonRoot without one
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        inside = entrypoint.lstrip("/")
        files = [(inside, binary.read_bytes()), ("etc/passwd", f"root:x:0:0::/:\nuser:x:{user}::/:\n".encode())]
        layout = Layout(partial)
        runs = {"Entrypoint": [entrypoint], "User": user, "Env": ["PATH=/"], "WorkingDir": "/"}
        one_layer(layout, layout.put(layer_tar(files, executable=[inside])), runs, f"copy {binary.name}")
        os.replace(partial, folder)
    return Layout(folder)


def add_layer(source: Layout, target: Path, layer: bytes, created_by: str) -> str:
    """Make TARGET = the image SOURCE plus one uncompressed tar LAYER, sharing SOURCE's blobs; returns the digest."""
    image, layout = source.image(), Layout(target)
    layers, config = image.manifest["layers"], image.config()
    for part in layers:
        layout.link(part["digest"], source)
    blob = layout.put(layer)
    config["rootfs"]["diff_ids"].append(blob.digest)
    config.setdefault("history", []).append({"created": EPOCH, "created_by": created_by})
    return layout.write(config, [*layers, {"mediaType": LAYER, "digest": blob.digest, "size": blob.size}])


def layer_tar(files: Iterable[tuple[str, bytes]], executable: Collection[str] = ()) -> bytes:
    """A layer of FILES (path without leading slash, content): root's, readable by all, the same bytes each time."""
    buffer = io.BytesIO()
    folders: set[str] = set()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in sorted(files):
            parents = [str(p) for p in reversed(Path(path).parents) if str(p) != "."]
            for folder in parents:
                if folder not in folders:
                    folders.add(folder)
                    tar.addfile(_entry(folder, tarfile.DIRTYPE, 0o755))
            mode = 0o755 if path in executable else 0o644
            tar.addfile(_entry(path, tarfile.REGTYPE, mode, len(content)), io.BytesIO(content))
    return buffer.getvalue()


def _entry(path: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.size, entry.mtime, entry.uid, entry.gid = kind, mode, size, 0, 0, 0
    return entry


# ---- archives


def missing_blobs(image: Image, known: Collection[str]) -> list[str]:
    """Digests of an image that are not known yet, each once."""
    return [digest for digest in dict.fromkeys(image.blobs) if digest not in known]


def write_archive(image: Image, name: str, out: IO[bytes], known: Collection[str] = ()) -> int:
    """Write an OCI archive of the image as `name` to a stream, without the known blobs; bytes of blobs written."""
    total = 0
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for digest in missing_blobs(image, known):
            file, size = image.source.open(blob_path(digest))
            with file:
                tar.addfile(_entry(blob_path(digest), tarfile.REGTYPE, 0o644, size), file)
            total += size
        # buildah and podman take the whole reference from ref.name, docker and containerd from containerd's own
        index = _index(image.descriptor, {NAME: name, REF: name})
        for path, body in (("oci-layout", OCI_LAYOUT), ("index.json", index)):
            tar.addfile(_entry(path, tarfile.REGTYPE, 0o644, len(body)), io.BytesIO(body))
    return total
