"""OCI images as files: making one from a static binary, reading layouts and archives, and thin archives.

A thin archive holds only the blobs that containerd lacks: importing a 4 GB image whose last layer changed copies
kilobytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from cluster.errors import ClusterError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_REF = "org.opencontainers.image.ref.name"
_NAME = "io.containerd.image.name"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EPOCH = "1970-01-01T00:00:00Z"


def normalize(name: str) -> str:
    """Full image name as Kubernetes looks it up: registry and tag are made explicit (docker.io/library, latest)."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return name if ":" in name.rsplit("/", 1)[1] or "@" in name else f"{name}:latest"


class Source(Protocol):
    """Blobs of an image, wherever they are."""

    def read(self, path: str) -> bytes:
        """A small file (index, manifest, configuration). KeyError when absent."""

    def open(self, path: str) -> tuple[IO[bytes], int]:
        """A file of any size, with its size in bytes. KeyError when absent."""


class LayoutFolder:
    """An OCI layout folder, as `buildah push IMAGE oci:FOLDER:TAG` makes."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet."""
        self._folder = folder

    def read(self, path: str) -> bytes:
        try:
            return (self._folder / path).read_bytes()
        except FileNotFoundError as error:
            raise KeyError(path) from error

    def open(self, path: str) -> tuple[IO[bytes], int]:
        try:
            file = (self._folder / path).open("rb")
        except FileNotFoundError as error:
            raise KeyError(path) from error
        return file, os.fstat(file.fileno()).st_size


class LayoutArchive:
    """An OCI layout in an uncompressed tar archive."""

    def __init__(self, file: Path) -> None:
        """Reads the archive's headers. ClusterError when it is no tar archive."""
        try:
            self._tar = tarfile.open(file, "r:")  # noqa: SIM115 - read from as long as this object lives
        except tarfile.TarError as error:
            raise ClusterError(f"{file} is not an uncompressed tar archive ({error}); gunzip it first.") from error
        self._members = {m.name.removeprefix("./"): m for m in self._tar.getmembers()}

    def read(self, path: str) -> bytes:
        with self.open(path)[0] as file:
            return file.read()

    def open(self, path: str) -> tuple[IO[bytes], int]:
        member = self._members[path]
        file = self._tar.extractfile(member)
        if file is None:
            raise KeyError(path)
        return file, member.size


@dataclass(frozen=True)
class Image:
    """One image of a source: its manifest's descriptor and digests in the order of import."""

    source: Source
    descriptor: dict[str, Any]
    blobs: tuple[str, ...]  # manifest, configuration, layers

    @property
    def digest(self) -> str:
        return str(self.descriptor["digest"])


def blob_path(digest: str) -> str:
    """Path of a blob in a layout."""
    algorithm, _, value = digest.partition(":")
    return f"blobs/{algorithm}/{value}"


def choose(manifests: Sequence[dict[str, Any]], tag: str) -> dict[str, Any]:
    """The descriptor of a layout's index that `tag` names (a tag or a full name); the only one if there is one."""
    if len(manifests) == 1:
        return manifests[0]
    found = [m for m in manifests if tag and tag in _names(m)]
    if len(found) != 1:
        known = sorted(name for m in manifests for name in _names(m))
        raise ClusterError(f"the image archive holds {len(manifests)} images ({', '.join(known)}); say which: PATH:TAG")
    return found[0]


def _names(descriptor: dict[str, Any]) -> set[str]:
    annotations = descriptor.get("annotations") or {}
    names = {annotations[key] for key in (_REF, _NAME) if key in annotations}
    return names | {name.rsplit(":", 1)[1] for name in names if ":" in name.rsplit("/", 1)[-1]}


def read_image(source: Source, tag: str = "") -> Image:
    """Find an image in a layout. Raises ClusterError for anything that is none (multi-platform indexes included)."""
    try:
        index = json.loads(source.read("index.json"))
        descriptor = choose(index["manifests"], tag)
        manifest = json.loads(source.read(blob_path(descriptor["digest"])))
        blobs = (descriptor["digest"], manifest["config"]["digest"], *(x["digest"] for x in manifest["layers"]))
    except (KeyError, ValueError) as error:
        raise ClusterError(
            f"not an OCI image layout of one platform ({error!r}); push it with: oci:FOLDER:TAG"
        ) from error
    return Image(source, descriptor, blobs)


def missing_blobs(image: Image, known: Collection[str]) -> list[str]:
    """Digests of an image that are not known yet, each once."""
    return [digest for digest in dict.fromkeys(image.blobs) if digest not in known]


def write_thin(image: Image, name: str, known: Collection[str], out: IO[bytes]) -> int:
    """Write an OCI archive named `name` without the known blobs to a stream; bytes of blobs written."""
    total = 0
    with tarfile.open(fileobj=out, mode="w|") as tar:
        for digest in missing_blobs(image, known):
            file, size = image.source.open(blob_path(digest))
            with file:
                _add(tar, blob_path(digest), file, size)
            total += size
        descriptor = {**image.descriptor, "annotations": {_NAME: name, _REF: name}}
        index = json.dumps({"schemaVersion": 2, "manifests": [descriptor]}).encode()
        for path, body in (("oci-layout", _LAYOUT), ("index.json", index)):
            _add(tar, path, io.BytesIO(body), len(body))
    return total


def _add(tar: tarfile.TarFile, path: str, file: IO[bytes], size: int) -> None:
    info = tarfile.TarInfo(path)
    info.size = size
    tar.addfile(info, file)


def _digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def binary_image(folder: Path, binary: Path, entrypoint: str, user: str = "65532:65532") -> Path:
    """An OCI layout folder of an image that holds one static binary at `entrypoint`; made once, by rename.

    The user is set because manifests say runAsNonRoot without a number, and every layer has a history entry because
    buildah refuses images without.
    """
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "blobs" / "sha256").mkdir(parents=True)

    def put(body: bytes) -> str:
        digest = _digest(body)
        (partial / blob_path(digest)).write_bytes(body)
        return digest

    layer_file = io.BytesIO()
    with tarfile.open(fileobj=layer_file, mode="w") as tar:
        info = tarfile.TarInfo(entrypoint.lstrip("/"))
        info.size, info.mode = binary.stat().st_size, 0o755
        with binary.open("rb") as file:
            tar.addfile(info, file)
        passwd = f"root:x:0:0::/:\nuser:x:{user}::/:\n".encode()
        _add(tar, "etc/passwd", io.BytesIO(passwd), len(passwd))
    layer = layer_file.getvalue()
    layer_digest = put(layer)
    config = {
        "created": _EPOCH,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [entrypoint], "User": user, "Env": ["PATH=/"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
        "history": [{"created": _EPOCH, "created_by": f"copy {binary.name}"}],
    }
    config_body = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": put(config_body),
            "size": len(config_body),
        },
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": len(layer)}],
    }
    body = json.dumps(manifest).encode()
    index = {"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": put(body), "size": len(body)}]}
    (partial / "oci-layout").write_bytes(_LAYOUT)
    (partial / "index.json").write_text(json.dumps(index))
    os.replace(partial, folder)
    return folder
