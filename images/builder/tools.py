"""buildah, podman or docker: whichever there is, behind one small face."""

import os
import shlex
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from . import oci
from .apt import install
from .errors import ToolError
from .indexes import index_settings

PREFERENCE = ("buildah", "podman", "docker")
CA_SETTINGS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Tool:
    name: str
    cache: Path  # $FLYWHEEL_CACHE/images

    @property
    def environment(self) -> dict[str, str]:
        """buildah and podman keep all in our cache, cache mounts (under TMPDIR) included; docker has its daemon."""
        if self.name == "docker":
            return {**os.environ, "DOCKER_BUILDKIT": "1"}
        temporary = self.cache / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "CONTAINERS_STORAGE_CONF": str(self._storage_conf()), "TMPDIR": str(temporary)}

    def _storage_conf(self) -> Path:
        path = self.cache / "storage.conf"
        text = (
            "[storage]\n"
            f'driver = "{_storage_driver(self.cache)}"\n'
            f'graphroot = "{self.cache / "storage"}"\n'
            f'runroot = "{self.cache / "run"}"\n'
        )
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        return path

    def run(self, *arguments: str, quiet: bool = False) -> None:
        output = subprocess.PIPE if quiet else None
        done = subprocess.run(
            [self.name, *arguments], env=self.environment, stdout=output, stderr=subprocess.STDOUT if quiet else None
        )
        if done.returncode:
            text = (done.stdout or b"").decode(errors="replace")[-4000:]
            raise ToolError(f"{self.name} {arguments[0]} failed with exit code {done.returncode}\n{text}".rstrip())

    def build(self, containerfile: Path, context: Path, target: str, tag: str, arguments: dict[str, str]) -> None:
        """Build one stage of a Containerfile as TAG."""
        command = ["bud" if self.name == "buildah" else "build", "--file", str(containerfile), "--target", target]
        if self.name != "docker":
            # chroot: needs no cgroups, seccomp or user namespaces of its own, so it works inside a container as well
            command += ["--layers", "--isolation", "chroot"]
        command += ["--network", "host", "--tag", tag]
        for key, value in sorted(arguments.items()):
            command += ["--build-arg", f"{key}={value}"]
        for name, path in self._secrets().items():
            command += ["--secret", f"id={name},src={path}"]
        self.run(*command, str(context))

    def _secrets(self) -> dict[str, Path]:
        """What the build steps may read and no layer keeps: the CA bundle, the package-index settings."""
        folder = self.cache / "tmp" / "secrets"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        settings = folder / "build-env"
        found = index_settings(os.environ, Path.home())
        lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(found.items())]
        settings.write_text("\n".join(lines) + "\n")
        bundle = next((Path(os.environ[k]) for k in CA_SETTINGS if os.environ.get(k)), SYSTEM_CA)
        copy = folder / "ca"
        # an empty file means: nothing of this machine's, use the image's own
        copy.write_bytes(bundle.read_bytes() if bundle.is_file() else b"")
        return {"build-env": settings, "ca": copy}

    def load(self, image: oci.Layout, tag: str) -> None:
        """Make the image of an OCI layout folder known to the builder as TAG."""
        archive = self.cache / "tmp" / "load.tar"
        with archive.open("wb") as out:
            oci.write_archive(image.image(), tag, out)
        if self.name == "docker":
            self.run("load", "--input", str(archive), quiet=True)
        else:
            self.run("pull", "--quiet", f"oci-archive:{archive}", quiet=True)
        archive.unlink()

    def has(self, tag: str) -> bool:
        command = [self.name, "inspect", "--type", "image", tag]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0

    def export(self, tag: str, target: Path) -> None:
        """Write the image TAG as an OCI layout folder."""
        if self.name == "docker":
            archive = target.parent / f"{target.name}.tar"
            self.run("save", "--output", str(archive), tag)
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
            archive.unlink()
            if not (target / "index.json").exists():
                raise ToolError("docker save wrote no OCI layout; use Docker 25 or newer, podman or buildah")
            return
        # zstd: gzip takes 47 s for the 4 GB of ray-cpu and is slower to unpack; containerd reads both
        self.run("push", "--quiet", "--compression-format", "zstd", "--format", "oci", tag, f"oci:{target}", quiet=True)


def _storage_driver(cache: Path) -> str:
    """overlay where the cache's file system allows it; vfs copies every layer but works everywhere."""
    text = Path("/proc/filesystems").read_text()
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(cache)], capture_output=True, text=True, check=False).stdout
    return "overlay" if "overlay" in text and kind.strip() != "overlayfs" else "vfs"


def find_tool(cache: Path) -> Tool:
    """The builder named by IMAGE_BUILDER, else the first that works; buildah is installed when there is none."""
    wanted = os.environ.get("IMAGE_BUILDER")
    for name in (wanted,) if wanted else PREFERENCE:
        if shutil.which(name) and _works(name):
            return Tool(name, cache)
    if wanted:
        raise ToolError(f"IMAGE_BUILDER={wanted}: not found or not working; unset it or use one of {PREFERENCE}")
    install(["buildah"], "building images (none of buildah, podman and docker works here)")
    return Tool("buildah", cache)


def _works(name: str) -> bool:
    command = ["docker", "info"] if name == "docker" else [name, "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
