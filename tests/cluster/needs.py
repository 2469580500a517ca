"""What the machine must have before anything is built or started, each with a message that says what to do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from builder.apt import install
from cluster.errors import ClusterError
from cluster.paths import GO_MODULES, cache_dir

# command -> Debian package, per use
_BUILD_TOOLS = {"gcc": "gcc", "pkg-config": "pkg-config"}
_NODE_TOOLS = {
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mount": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "openssl": "openssl",
}
_BUILD_GIB = {"apiserver": 8, "node": 20, "helm": 12}


def required_go() -> tuple[int, int]:
    """Highest `go` directive of all our modules as (major, minor)."""
    found = [re.search(r"^go (\d+)\.(\d+)", f.read_text(), re.MULTILINE) for f in sorted(GO_MODULES.glob("*/go.mod"))]
    versions = [(int(m.group(1)), int(m.group(2))) for m in found if m]
    if not versions:
        raise ClusterError(f"no go.mod found below {GO_MODULES}; the checkout is incomplete.")
    return max(versions)


def parse_go_version(text: str) -> tuple[int, int] | None:
    """(major, minor) from what `go version` prints, None if it is not understood."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def check_go() -> None:
    """Raise ClusterError unless a Go toolchain new enough is on PATH (Go 1.21+ fetches a newer one by itself)."""
    major, minor = required_go()
    hint = f"Install Go {major}.{minor} or newer (https://go.dev/doc/install) and put it on PATH."
    go = shutil.which("go")
    if not go:
        raise ClusterError(f"Go is not installed. {hint}")
    # run outside any module: the answer is then the installed version
    text = subprocess.run([go, "version"], capture_output=True, text=True, check=False, cwd="/").stdout
    version = parse_go_version(text)
    if version is None:
        raise ClusterError(f"`go version` said {text.strip()!r}. {hint}")
    local_only = os.environ.get("GOTOOLCHAIN", "auto").startswith("local")
    if version < (1, 21) or (version < (major, minor) and local_only):
        raise ClusterError(f"Go {version[0]}.{version[1]} is too old: {major}.{minor} is needed. {hint}")


def check_platform() -> None:
    """Raise ClusterError on anything but Linux x86_64, for which the pins and images are made."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise ClusterError(
            f"This is {platform.system()} {platform.machine()}; the local cluster needs Linux x86_64. "
            "Use a cluster of your own instead: KUBECONFIG=... CLUSTER=existing."
        )


def check_root(what: str) -> None:
    """Raise ClusterError unless running as root."""
    if os.geteuid() != 0:
        raise ClusterError(f"{what} needs root (it makes network namespaces, cgroups and mounts). Run it with sudo -E.")


def _kernel_lacks() -> list[str]:
    lacks = []
    if "overlay" not in Path("/proc/filesystems").read_text().split():  # containerd's snapshots
        lacks.append("overlay")
    if not Path("/proc/sys/net/bridge").exists():  # answers of Services between pods of one bridge
        lacks.append("br_netfilter")
    return lacks


def check_kernel() -> None:
    """Raise ClusterError unless overlayfs and bridge filtering are there, built in or as modules (loaded here)."""
    for module in _kernel_lacks():
        subprocess.run(["modprobe", module], check=False, capture_output=True)
    lacks = _kernel_lacks()
    if lacks:
        raise ClusterError(
            f"the kernel has no {', '.join(lacks)} (modprobe did not help) and the node needs it. Use another kernel, "
            "or a cluster of your own: KUBECONFIG=... CLUSTER=existing."
        )


def check_disk(group: str) -> None:
    """Raise ClusterError when the cache's file system has clearly too little room to build a group."""
    need = _BUILD_GIB.get(group, 8)
    folder = cache_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < need:
        raise ClusterError(
            f"{folder} has {free:.0f} GiB free; building '{group}' takes about {need} GiB with Go's caches. "
            "Free some space or point FLYWHEEL_CACHE (and GOMODCACHE, GOCACHE) to a larger disk."
        )


def _missing(tools: dict[str, str]) -> list[str]:
    search = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    return sorted({package for tool, package in tools.items() if not shutil.which(tool, path=search)})


def _seccomp_missing() -> list[str]:
    if shutil.which("pkg-config"):
        found = subprocess.run(["pkg-config", "--exists", "libseccomp"], check=False).returncode == 0
    else:
        found = False
    return [] if found else ["libseccomp-dev"]


def for_build(group: str) -> None:
    """Check (and as root on Debian install) what building a group takes. Raises ClusterError."""
    check_platform()
    check_go()
    if group == "node":
        install(_missing(_BUILD_TOOLS) + _seccomp_missing(), "building runc (cgo, seccomp)")


def for_apiserver() -> None:
    """Check what the API server tier takes to run. Raises ClusterError."""
    check_platform()
    install(_missing({"openssl": "openssl"}), "making certificates")


def for_node() -> None:
    """Check (and install) what running the one-node cluster takes. Raises ClusterError."""
    check_platform()
    check_root("The one-node cluster")
    install(_missing(_NODE_TOOLS), "the one-node cluster")
    check_kernel()
