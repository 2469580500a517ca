"""What is built from which Go module, with which flags, and the cache key that follows from it.

Versions are not repeated here: they are read from each module's go.mod, whose go.sum holds the hashes.
Build seconds are those of a quiet 2-core machine with an empty Go build cache; they are only shown, never asserted.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import ClusterError
from cluster.paths import GO_MODULES, bin_root

GOFLAGS = "-trimpath -buildvcs=false"
BUILD_ARGS = ("-mod=readonly",)
STRIP = "-s -w"


@dataclass(frozen=True)
class Binary:
    """One `go build` of one package of a module."""

    module: str  # folder below go/
    name: str  # output file, relative to the module's folder in the cache
    package: str
    seconds: int  # cold build on 2 cores
    tags: str = ""
    cgo: bool = False


@dataclass(frozen=True)
class Module:
    """A folder below go/ with go.mod and go.sum; `pinned` is the Go module whose version names the release."""

    name: str
    pinned: str
    ldflags: str = ""  # {version} is the pinned version without the leading v, {tag} with it
    sources: tuple[str, ...] = field(default=())


_KUBE_VERSION = (
    "-X k8s.io/component-base/version.gitVersion={tag}"
    " -X k8s.io/component-base/version.gitMajor={major} -X k8s.io/component-base/version.gitMinor={minor}"
    " -X k8s.io/client-go/pkg/version.gitVersion={tag}"
)
# MinIO's module version is a pseudo-version; the release that this commit was tagged as has to be told to the linker.
_MINIO_VERSION = (
    "-X github.com/minio/minio/cmd.Version=2026-02-12T20:18:48Z"
    " -X github.com/minio/minio/cmd.ReleaseTag=RELEASE.2026-02-12T20-18-48Z"
)

MODULES: dict[str, Module] = {
    m.name: m
    for m in (
        Module("etcd", "go.etcd.io/etcd/server/v3"),
        Module("k8s", "k8s.io/kubernetes", _KUBE_VERSION),
        Module(
            "containerd",
            "github.com/containerd/containerd/v2",
            "-X github.com/containerd/containerd/v2/version.Version={tag}",
        ),
        Module("runc", "github.com/opencontainers/runc", "-X main.version={version}"),
        Module("cni", "github.com/containernetworking/plugins"),
        Module("coredns", "github.com/coredns/coredns"),
        Module("kuberay", "github.com/ray-project/kuberay/ray-operator"),
        Module("minio", "github.com/minio/minio", _MINIO_VERSION),
        Module("helm", "helm.sh/helm/v4"),
        Module("versitygw", "github.com/versity/versitygw"),
        Module("pause", "", sources=("main.go",)),
    )
}

_KUBE = "k8s.io/kubernetes/cmd/"
_CTD = "github.com/containerd/containerd/v2/cmd/"
_CNI = "github.com/containernetworking/plugins/plugins/"
_CTD_TAGS = "no_btrfs,no_zfs,no_devmapper,no_aufs"

BINARIES: dict[str, Binary] = {
    b.name: b
    for b in (
        Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3", 40),
        Binary("k8s", "kube-apiserver", _KUBE + "kube-apiserver", 180),
        Binary("k8s", "kubectl", _KUBE + "kubectl", 20),
        Binary("k8s", "kube-controller-manager", _KUBE + "kube-controller-manager", 50),
        Binary("k8s", "kube-scheduler", _KUBE + "kube-scheduler", 10),
        Binary("k8s", "kubelet", _KUBE + "kubelet", 25),
        Binary("k8s", "kube-proxy", _KUBE + "kube-proxy", 10),
        Binary("containerd", "containerd", _CTD + "containerd", 60, tags=_CTD_TAGS),
        Binary("containerd", "containerd-shim-runc-v2", _CTD + "containerd-shim-runc-v2", 3, tags=_CTD_TAGS),
        Binary("containerd", "ctr", _CTD + "ctr", 5, tags=_CTD_TAGS),
        Binary("runc", "runc", "github.com/opencontainers/runc", 15, tags="seccomp", cgo=True),
        Binary("cni", "bridge", _CNI + "main/bridge", 5),
        Binary("cni", "loopback", _CNI + "main/loopback", 2),
        Binary("cni", "host-local", _CNI + "ipam/host-local", 2),
        Binary("cni", "portmap", _CNI + "meta/portmap", 2),
        Binary("coredns", "coredns", "github.com/coredns/coredns", 60),
        Binary("kuberay", "kuberay-operator", "github.com/ray-project/kuberay/ray-operator", 40),
        Binary("minio", "minio", "github.com/minio/minio", 150),
        Binary("pause", "pause", ".", 1),
        Binary("helm", "helm", "helm.sh/helm/v4/cmd/helm", 170),
        Binary("versitygw", "versitygw", "github.com/versity/versitygw/cmd/versitygw", 70),
    )
}

_APISERVER = ("etcd", "kube-apiserver", "kubectl")
GROUPS: dict[str, tuple[str, ...]] = {
    "apiserver": _APISERVER,
    "node": tuple(name for name in BINARIES if name not in ("helm", "versitygw")),
    "helm": ("helm",),
}


def pinned_version(module: Module, go_mod: str) -> str:
    """Version (with its `v`) that a go.mod's text requires of the module's pinned Go module; '' if it pins none."""
    if not module.pinned:
        return ""
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(module.pinned)}\s+(v\S+)", go_mod, re.MULTILINE)
    if not found:
        raise ClusterError(f"go/{module.name}/go.mod does not require {module.pinned}; restore it from git.")
    return found.group(1)


def ldflags(module: Module, go_mod: str) -> str:
    """Linker flags of a module, with the version of go.mod filled in."""
    tag = pinned_version(module, go_mod)
    parts = tag.lstrip("v").split(".")
    filled = module.ldflags.format(tag=tag, version=tag.lstrip("v"), major=parts[0], minor=[*parts, ""][1])
    return f"{STRIP} {filled}".strip()


def cache_key(module: Module, folder: Path) -> str:
    """12 hex digits over everything that decides a module's binaries: go.mod, go.sum, own sources, flags, packages."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum", *module.sources):
        file = folder / name
        digest.update(name.encode() + b"\0" + (file.read_bytes() if file.exists() else b"") + b"\0")
    go_mod = (folder / "go.mod").read_text()
    digest.update(repr((GOFLAGS, BUILD_ARGS, ldflags(module, go_mod))).encode())
    for binary in sorted((b for b in BINARIES.values() if b.module == module.name), key=lambda b: b.name):
        digest.update(repr((binary.name, binary.package, binary.tags, binary.cgo)).encode())
    return digest.hexdigest()[:12]


def module_dir(module_name: str) -> Path:
    """Cache folder of a module's binaries under its present pins."""
    return bin_root() / f"{module_name}-{cache_key(MODULES[module_name], GO_MODULES / module_name)}"


def binary_path(name: str) -> Path:
    """Where a binary is (or will be) for the present pins; it exists only when its build has finished."""
    return module_dir(BINARIES[name].module) / name
