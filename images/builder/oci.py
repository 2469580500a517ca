"""OCI image layouts on disk: read one, add a layer, write one. No tool, no daemon.

An image layout is a folder with `index.json` and content-addressed `blobs/sha256/<hex>`; see the OCI image format.
Adding our code this way takes well under a second; a push through a builder compresses a 4 GB layer again.
"""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class Blob:
    digest: str  # "sha256:<hex>"
    size: int  # bytes


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class Layout:
    """One image in one layout folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def blob_path(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def manifest_digest(self) -> str:
        index = json.loads((self.folder / "index.json").read_bytes())
        if len(index["manifests"]) != 1:
            raise ValueError(f"{self.folder} holds {len(index['manifests'])} images, one was expected")
        return str(index["manifests"][0]["digest"])

    def manifest(self) -> dict[str, Any]:
        return dict(json.loads(self.blob_path(self.manifest_digest()).read_bytes()))

    def config(self) -> dict[str, Any]:
        return dict(json.loads(self.blob_path(self.manifest()["config"]["digest"]).read_bytes()))

    def digests(self) -> list[str]:
        """Every blob of the image: manifest, config, layers."""
        manifest = self.manifest()
        return [self.manifest_digest(), manifest["config"]["digest"], *(x["digest"] for x in manifest["layers"])]

    def complete(self) -> bool:
        """Whether all blobs are there in their full size (an interrupted write leaves a folder without)."""
        try:
            manifest = self.manifest()
            parts = [manifest["config"], *manifest["layers"]]
            return all(self.blob_path(x["digest"]).stat().st_size == x["size"] for x in parts)
        except (OSError, ValueError, KeyError):
            return False

    # ---- writing

    def put(self, data: bytes) -> Blob:
        digest = hashlib.sha256(data).hexdigest()
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return Blob(f"sha256:{digest}", len(data))

    def put_file(self, source: Path) -> Blob:
        """Takes SOURCE over (it is moved)."""
        digest = sha256_file(source)
        path = self.blob_path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        size = source.stat().st_size
        shutil.move(source, path)
        return Blob(f"sha256:{digest}", size)

    def write(self, config: dict[str, Any], layers: list[dict[str, Any]]) -> str:
        """Write config, manifest and layout marker for the blobs already there; returns the manifest's digest."""
        config_blob = self.put(_json(config))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config_blob.digest, "size": config_blob.size},
            "layers": layers,
        }
        blob = self.put(_json(manifest))
        (self.folder / "oci-layout").write_bytes(OCI_LAYOUT)
        self._write_index(blob, {})
        return blob.digest

    def name(self, reference: str) -> None:
        """Write the image's name (host/path:tag) into the index, where importers look for it."""
        digest = self.manifest_digest()
        annotations = {
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": reference.rsplit(":", 1)[1],
        }
        self._write_index(Blob(digest, self.blob_path(digest).stat().st_size), annotations)

    def _write_index(self, blob: Blob, annotations: dict[str, str]) -> None:
        (self.folder / "index.json").write_bytes(_index(blob.digest, blob.size, annotations))

    def archive(self, target: Path, reference: str) -> None:
        """Write the image as one tar which buildah, podman and docker load under the name REFERENCE."""
        digest = self.manifest_digest()
        # buildah and podman take the whole reference from ref.name, docker from containerd's own annotation
        annotations = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": reference}
        index = _index(digest, self.blob_path(digest).stat().st_size, annotations)
        with tarfile.open(target, "w") as tar:
            for blob in self.digests():
                tar.add(self.blob_path(blob), f"blobs/sha256/{blob.removeprefix('sha256:')}")
            for name, content in (("oci-layout", OCI_LAYOUT), ("index.json", index)):
                entry = _entry(name, tarfile.REGTYPE, 0o644)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def _index(digest: str, size: int, annotations: dict[str, str]) -> bytes:
    entry = {
        "mediaType": MANIFEST,
        "digest": digest,
        "size": size,
        "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": annotations,
    }
    return _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def from_rootfs(tar: Path, target: Path) -> str:
    """Make a one-layer image of a root file system tar (moved); returns the manifest's digest."""
    layout = Layout(target)
    layer = layout.put_file(tar)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        # one entry per layer, or buildah's layer cache stops with "history lists 1 non-empty layers, but we have 2"
        "history": [{"created": EPOCH, "created_by": "flywheel base"}],
    }
    return layout.write(config, [{"mediaType": LAYER, "digest": layer.digest, "size": layer.size}])


def add_layer(source: Layout, target: Path, layer: bytes, created_by: str) -> str:
    """Make TARGET = the image SOURCE plus one uncompressed tar LAYER, sharing SOURCE's blobs; returns the digest."""
    manifest, config = source.manifest(), source.config()
    layout = Layout(target)
    for part in manifest["layers"]:
        link(source.blob_path(part["digest"]), layout.blob_path(part["digest"]))
    blob = layout.put(layer)
    config["rootfs"]["diff_ids"].append(blob.digest)
    config.setdefault("history", []).append({"created": EPOCH, "created_by": created_by})
    return layout.write(config, [*manifest["layers"], {"mediaType": LAYER, "digest": blob.digest, "size": blob.size}])


def link(source: Path, target: Path) -> None:
    """Hard link where the file system can, else copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def layer_tar(files: Iterable[tuple[str, bytes]]) -> bytes:
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
            entry = _entry(path, tarfile.REGTYPE, 0o644)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode, entry.mtime, entry.uid, entry.gid = kind, mode, 0, 0, 0
    return entry
