"""KubeRay and MinIO on the node: images from the built binaries, manifests from the pinned module and from here."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.build import module_source
from cluster.errors import ClusterError
from cluster.images import KUBERAY_IMAGE, MINIO_IMAGE, load_binary
from cluster.kubeapi import KubeApi, condition
from cluster.layout import layout
from cluster.node import kubectl
from cluster.paths import MANIFESTS, cache_dir
from cluster.pins import module_dir

MINIO_NAMESPACE = "minio"
KUBERAY_NAMESPACE = "ray-system"
_READY_TIMEOUT_S = 240
_APPLIED = "cluster.flywheel.dev/applied"


def apply(manifest: str | Path, what: str) -> None:
    """Server-side apply of a file or of text, without the client's schema download. Raises ClusterError."""
    args = ["apply", "--server-side", "--force-conflicts", "--validate=false", "-f"]
    text = None if isinstance(manifest, Path) else manifest
    done = kubectl(*args, str(manifest) if text is None else "-", capture=True, stdin=text)
    if done.returncode != 0:
        raise ClusterError(f"applying {what} failed: {done.stderr.strip()}")


def restricted_namespace(name: str, annotations: Mapping[str, str] | None = None) -> str:
    """A Namespace whose pods must meet Pod Security `restricted`."""
    prefix = "pod-security.kubernetes.io"
    labels = {f"{prefix}/enforce": "restricted", f"{prefix}/enforce-version": "latest", f"{prefix}/warn": "restricted"}
    metadata = {"name": name, "labels": labels, "annotations": dict(annotations or {})}
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def _minio_secret() -> str:
    data = {"MINIO_ROOT_USER": f"root-{secrets.token_hex(4)}", "MINIO_ROOT_PASSWORD": secrets.token_urlsafe(24)}
    metadata = {"name": "minio-root", "namespace": MINIO_NAMESPACE}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})


def wait_available(api: KubeApi, namespace: str, deployment: str, timeout_s: float = _READY_TIMEOUT_S) -> None:
    """Wait for a Deployment's condition Available; ClusterError with its pods' description after timeout_s."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{deployment}"
    deadline = time.monotonic() + timeout_s
    while not condition(api.get(path), "Available"):
        if time.monotonic() > deadline:
            pods = kubectl("-n", namespace, "describe", "pods", capture=True).stdout
            raise ClusterError(f"{namespace}/{deployment} was not available after {timeout_s:.0f} s:\n{pods[-3000:]}")
        time.sleep(0.2)


def install_minio(api: KubeApi, step: Callable[[str], None]) -> None:
    """MinIO with its Service `minio` in namespace `minio`; root credentials are random and kept in a Secret."""
    apply(restricted_namespace(MINIO_NAMESPACE), "the namespace of MinIO")
    if api.get(f"/api/v1/namespaces/{MINIO_NAMESPACE}/secrets/minio-root") is None:
        apply(_minio_secret(), "MinIO's credentials")
    load_binary(MINIO_IMAGE)
    apply(MANIFESTS / "minio.yaml", "MinIO")
    wait_available(api, MINIO_NAMESPACE, "minio")
    step("MinIO Ready")


def kuberay_manifests() -> Path:
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
    done = kubectl("kustomize", str(work / "overlay"), capture=True)
    shutil.rmtree(work)
    if done.returncode != 0:
        raise ClusterError(f"rendering KubeRay's manifests failed: {done.stderr.strip()}")
    partial = rendered.with_suffix(".partial")
    partial.write_text(done.stdout)
    os.replace(partial, rendered)
    return rendered


def install_kuberay(api: KubeApi, step: Callable[[str], None]) -> None:
    """The KubeRay operator in namespace `ray-system`, cluster-wide."""
    rendered = kuberay_manifests()
    namespace = api.get(f"/api/v1/namespaces/{KUBERAY_NAMESPACE}") or {}
    if namespace.get("metadata", {}).get("annotations", {}).get(_APPLIED) != rendered.stem:
        apply(restricted_namespace(KUBERAY_NAMESPACE), "the namespace of KubeRay")
        load_binary(KUBERAY_IMAGE)
        apply(rendered, "KubeRay")
        # noted last: 4 MB of CRDs take the API server seconds, so a second `addons` skips what was applied whole
        apply(restricted_namespace(KUBERAY_NAMESPACE, {_APPLIED: rendered.stem}), "the namespace of KubeRay")
    step("KubeRay applied")
    wait_available(api, KUBERAY_NAMESPACE, "kuberay-operator")
    step("KubeRay operator Ready")


def install(step: Callable[[str], None] = lambda _: None) -> None:
    """Both, side by side; what is there already is left alone. Raises ClusterError."""
    api = KubeApi(layout().kubeconfig)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(task, api, step) for task in (install_kuberay, install_minio)]
    for job in jobs:
        job.result()
