"""Images into the node's containerd, without a registry and without copying what is there already."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.oci import Archive, Image, Layout, binary_image, find_image, write_archive
from cluster.build import ensure
from cluster.errors import ClusterError
from cluster.layout import CONTAINERD_SOCKET, PAUSE_IMAGE
from cluster.node import running
from cluster.paths import cache_dir
from cluster.pins import binary_path
from cluster.process import loopback_env

KUBERAY_IMAGE = "quay.io/kuberay/operator:v1.6.2"
MINIO_IMAGE = "localhost/minio:1"
# image -> (binary, its path in the image, as the manifests that use it expect)
BINARY_IMAGES = {
    PAUSE_IMAGE: ("pause", "/pause"),
    KUBERAY_IMAGE: ("kuberay-operator", "/manager"),
    MINIO_IMAGE: ("minio", "/minio"),
}


@dataclass(frozen=True)
class Loaded:
    """What `load` did: full name, manifest digest, and bytes copied (0 when the image was there already)."""

    name: str
    digest: str
    copied: int


def normalize(name: str) -> str:
    """Full image name as Kubernetes looks it up: registry and tag are made explicit (docker.io/library, latest)."""
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return name if ":" in name.rsplit("/", 1)[1] or "@" in name else f"{name}:latest"


def _ctr(*args: str) -> list[str]:
    """ctr on the host, through the node's root folder: files need not be visible inside the node."""
    socket = f"/proc/{running()['init_pid']}/root{CONTAINERD_SOCKET}"
    return [str(binary_path("ctr")), "-a", socket, "-n", "k8s.io", *args]


def _ask(*args: str) -> str:
    done = subprocess.run(_ctr(*args), capture_output=True, text=True, check=False, env=loopback_env())
    if done.returncode != 0:
        raise ClusterError(f"ctr {' '.join(args)} failed: {done.stderr.strip()}")
    return done.stdout


def present() -> dict[str, str]:
    """Full name -> manifest digest of every image of the node."""
    rows = [line.split() for line in _ask("images", "ls").splitlines()[1:]]
    return {row[0]: row[2] for row in rows if len(row) > 2}


def split_reference(text: str) -> tuple[Path, str]:
    """`PATH` or `PATH:TAG` (for a layout that holds several images)."""
    if os.path.exists(text) or ":" not in text:
        return Path(text), ""
    path, _, tag = text.rpartition(":")
    return Path(path), tag


def open_image(path: Path, tag: str = "") -> Image | None:
    """The OCI image in a layout folder or archive; None for an archive of docker's own old format."""
    if path.is_dir():
        return find_image(Layout(path), tag)
    if not path.exists():
        raise ClusterError(f"{path} does not exist; build the image first (make images).")
    archive = Archive(path)
    try:
        archive.open("index.json")
    except KeyError:
        return None
    return find_image(archive, tag)


def _name_in(image: Image, path: Path) -> str:
    annotations = image.descriptor.get("annotations") or {}
    found = annotations.get("io.containerd.image.name") or annotations.get("org.opencontainers.image.ref.name") or ""
    if "/" not in found:  # buildah writes the bare tag there
        raise ClusterError(f"the image in {path} carries no full name; say it: load {path} NAME")
    return str(found)


def load_image(image: Image, name: str) -> Loaded:
    """Import an image under a name, sending only what containerd lacks."""
    name = normalize(name)
    if present().get(name) == image.digest:
        return Loaded(name, image.digest, 0)
    known = set(_ask("content", "ls", "-q").split())
    command = _ctr("images", "import", "--digests=false", "-")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin and process.stdout
        try:
            copied = write_archive(image, name, process.stdin, known)
            process.stdin.close()
        except BrokenPipeError:
            copied = 0
        output = process.stdout.read().decode(errors="replace")
    if process.returncode != 0 or present().get(name) != image.digest:
        raise ClusterError(f"importing {name} failed: {output.strip()[-1500:]}")
    return Loaded(name, image.digest, copied)


def load(reference: str, name: str = "") -> Loaded:
    """Import `PATH[:TAG]`: an OCI layout folder, an OCI archive, or a docker archive (whole, under its own names)."""
    path, tag = split_reference(reference)
    image = open_image(path, tag)
    if image is not None:
        return load_image(image, name or _name_in(image, path))
    own = docker_name(path)
    _ask("images", "import", str(path))
    if name and normalize(name) != own:
        _ask("images", "tag", "--force", own, normalize(name))
    final = normalize(name) if name else own
    return Loaded(final, present().get(final, ""), path.stat().st_size)


def docker_name(path: Path) -> str:
    """Full name of the first image in a docker archive. Raises ClusterError when it is none or has no name."""
    with tarfile.open(path) as tar:
        try:
            manifest = tar.extractfile("manifest.json")
            assert manifest is not None
            return normalize(json.load(manifest)[0]["RepoTags"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ClusterError(f"{path} is no image archive, or its image has no name; save it by name.") from error


def superseded(names: Sequence[str], current: Sequence[str]) -> list[str]:
    """Names of the node's images that are other tags of the repositories of `current`."""
    repositories = {name.rpartition(":")[0] for name in current}
    return sorted(n for n in names if n.rpartition(":")[0] in repositories and n not in current)


def prune_built() -> list[str]:
    """Drop images of earlier `make images`, several GB each once their layers differ; only safe before any pod runs."""
    try:
        built = json.loads((cache_dir() / "images" / "images.json").read_text())
        old = superseded(list(present()), [entry["ref"] for entry in built.values()])
    except (OSError, ValueError, KeyError):
        return []  # nothing was built here
    if old:
        _ask("images", "rm", *old)
    return old


def load_built(names: Sequence[str] = ()) -> list[Loaded]:
    """Import what `make images` built (all, or those named): it lists them in $FLYWHEEL_CACHE/images/images.json."""
    index = cache_dir() / "images" / "images.json"
    try:
        built: dict[str, dict[str, str]] = json.loads(index.read_text())
    except (OSError, ValueError) as error:
        raise ClusterError(f"{index} cannot be read ({error}); build the images first: make images") from error
    unknown = sorted(set(names) - set(built))
    if unknown:
        raise ClusterError(f"not built: {', '.join(unknown)} (there are {', '.join(built)}); make images IMAGES=...")
    loaded = []
    for name in names or built:
        image = open_image(Path(built[name]["oci"]))
        assert image is not None  # a layout folder
        loaded.append(load_image(image, built[name]["ref"]))
    return loaded


def binary_layout(name: str) -> Layout:
    """One of BINARY_IMAGES, made from its built binary when needed."""
    binary, entrypoint = BINARY_IMAGES[name]
    path = ensure(binary)[binary]
    folder = cache_dir() / "binary-images" / f"{binary}-{path.parent.name.rsplit('-', 1)[1]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    return binary_image(folder, path, entrypoint)


def load_binary(name: str) -> Loaded:
    """Import one of BINARY_IMAGES."""
    return load_image(binary_layout(name).image(), name)
