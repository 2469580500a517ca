"""KubeRay and MinIO on the node: images from the built binaries, manifests from the pinned module and from here."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.build import module_source
from cluster.images import KUBERAY_IMAGE, MINIO_IMAGE
from cluster.kube import Json, Kubectl
from cluster.paths import MANIFESTS, cache_dir
from cluster.pins import module_dir

MINIO_NAMESPACE = "minio"
KUBERAY_NAMESPACE = "ray-system"
_READY_TIMEOUT_S = 240
_APPLIED = "cluster.flywheel.dev/applied"
Load = Callable[[str], object]


def restricted_namespace(name: str, annotations: Mapping[str, str] | None = None) -> Json:
    """A Namespace whose pods must meet Pod Security `restricted`."""
    prefix = "pod-security.kubernetes.io"
    labels = {f"{prefix}/enforce": "restricted", f"{prefix}/enforce-version": "latest", f"{prefix}/warn": "restricted"}
    metadata = {"name": name, "labels": labels, "annotations": dict(annotations or {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _minio_secret() -> Json:
    data = {"MINIO_ROOT_USER": f"root-{secrets.token_hex(4)}", "MINIO_ROOT_PASSWORD": secrets.token_urlsafe(24)}
    metadata = {"name": "minio-root", "namespace": MINIO_NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def install_minio(kube: Kubectl, load: Load, step: Callable[[str], None]) -> None:
    """MinIO with its Service `minio` in namespace `minio`; root credentials are random and kept in a Secret."""
    kube.apply([restricted_namespace(MINIO_NAMESPACE)])
    if kube.get("secret", "minio-root", MINIO_NAMESPACE) is None:
        kube.apply([_minio_secret()])
    load(MINIO_IMAGE)
    kube.apply_text((MANIFESTS / "minio.yaml").read_text())
    kube.wait("deployment", "minio", MINIO_NAMESPACE, "Available", _READY_TIMEOUT_S)
    step("MinIO Ready")


def kuberay_manifests(kube: Kubectl) -> Path:
    """KubeRay's CRDs, RBAC and operator as one rendered file, kept in the cache."""
    overlay = MANIFESTS / "kuberay"
    key = hashlib.sha256((overlay / "kustomization.yaml").read_bytes()).hexdigest()[:8]
    rendered = cache_dir() / "manifests" / f"{module_dir('kuberay').name}-{key}.yaml"
    if rendered.exists():
        return rendered
    work = rendered.with_suffix(f".{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(module_source("kuberay") / "config", work / "config")
    for folder, _, files in os.walk(work):  # the module cache is read-only, and so is a copy of it
        for path in [Path(folder), *(Path(folder) / name for name in files)]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    shutil.copytree(overlay, work / "overlay")
    text = kube.run("kustomize", str(work / "overlay"))
    shutil.rmtree(work)
    partial = rendered.with_suffix(f".{os.getpid()}-partial")
    partial.write_text(text)
    os.replace(partial, rendered)
    return rendered


def install_kuberay(kube: Kubectl, load: Load, step: Callable[[str], None]) -> None:
    """The KubeRay operator in namespace `ray-system`, cluster-wide."""
    rendered = kuberay_manifests(kube)
    namespace = kube.get("namespace", KUBERAY_NAMESPACE) or {"metadata": {}}
    if namespace["metadata"].get("annotations", {}).get(_APPLIED) != rendered.stem:
        kube.apply([restricted_namespace(KUBERAY_NAMESPACE)])
        load(KUBERAY_IMAGE)
        kube.apply_text(rendered.read_text())
        # noted last: 4 MB of CRDs take the API server seconds, so a second `addons` skips what was applied whole
        kube.apply([restricted_namespace(KUBERAY_NAMESPACE, {_APPLIED: rendered.stem})])
    step("KubeRay applied")
    kube.wait("deployment", "kuberay-operator", KUBERAY_NAMESPACE, "Available", _READY_TIMEOUT_S)
    step("KubeRay operator Ready")


def install(kube: Kubectl, load: Load, step: Callable[[str], None]) -> None:
    """Installs both, side by side. Raises ClusterError.

    What is there already is left alone. `load` puts an image of `images.BINARY_IMAGES` into the cluster.
    """
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(task, kube, load, step) for task in (install_kuberay, install_minio)]
    for job in jobs:
        job.result()
