"""A Debian 12 base image made by mmdebstrap, for machines that reach a package mirror and no image registry."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from . import oci
from .apt import install
from .errors import ToolError
from .tools import Tool

SUITE = "bookworm"
# python3: 3.11. libnuma1, wget, procps: for the Ray images (see ray-cpu/Containerfile); one base for all images
PACKAGES = ("python3", "python3-venv", "ca-certificates", "libnuma1", "wget", "bash", "procps")


def ensure_base(tool: Tool, base_image: str) -> str:
    """The base to build on: BASE_IMAGE as given, or for `local` the tag of one made here."""
    if base_image != "local":
        return base_image
    key = hashlib.sha256(f"{SUITE} {PACKAGES}".encode()).hexdigest()[:12]
    tag = f"localhost/flywheel/base:{key}"
    folder = tool.cache / "base" / key
    if not oci.Layout(folder).complete():
        shutil.rmtree(folder, ignore_errors=True)
        _make(folder, tool.cache / "tmp")
    if not tool.has(tag):
        tool.load(oci.Layout(folder), tag)
    return tag


def _make(folder: Path, temporary: Path) -> None:
    if not shutil.which("mmdebstrap"):
        install(["mmdebstrap"], "making the base image (or set BASE_IMAGE to a Debian 12 image of a registry)")
    temporary.mkdir(parents=True, exist_ok=True)
    tar = temporary / "base.tar"
    tar.unlink(missing_ok=True)
    # no documentation and translations: 20 MB that nobody reads in a container
    command = [
        "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        SUITE, str(tar), *_sources(),
    ]  # fmt: skip
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "TMPDIR": str(temporary)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ToolError(f"mmdebstrap failed; set BASE_IMAGE to a Debian 12 image you can reach\n{done.stderr[-3000:]}")
    oci.from_rootfs(tar, folder)


def _sources() -> list[str]:
    """This machine's own mirror settings when it runs the same Debian; else mmdebstrap's default mirror."""
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    if f"VERSION_CODENAME={SUITE}" not in release or "ID=debian" not in release:
        return []
    candidates = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
    return next(([str(p)] for p in candidates if p.is_file() and p.stat().st_size), [])
