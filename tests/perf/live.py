"""A look at a running cluster: the operator's metrics and memory, objects of the store."""

from __future__ import annotations

import base64
from pathlib import Path

from cluster.errors import ClusterError
from cluster.kube import Kubectl, is_true
from cluster.node import kubectl, running
from cluster.services import forward
from demo.settings import NAMESPACE, STORE_SECRET, SYSTEM_NAMESPACE
from flywheel_jobs.storage.store import Store


def connect() -> Kubectl | None:
    """The local cluster with our operator Available, or None."""
    try:
        running()
    except ClusterError:
        return None
    kube = kubectl()
    deployment = kube.get("deployment", "flywheel", SYSTEM_NAMESPACE)
    return kube if is_true(deployment, "Available") else None


def operator_pod(kube: Kubectl) -> str:
    """Name of the operator's running pod."""
    pods = kube.list("pods", SYSTEM_NAMESPACE, "app.kubernetes.io/name=flywheel-operator")
    return next(str(p["metadata"]["name"]) for p in pods if p["status"]["phase"] == "Running")


def metric(kube: Kubectl, name: str) -> float:
    """A metric without labels of the operator."""
    path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods/{operator_pod(kube)}:8080/proxy/metrics"
    for line in kube.run("get", "--raw", path).splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise LookupError(f"the operator has no metric {name}")


OPERATOR, KUBERAY, MINIO = "flywheel_operator", "/manager", "/minio"  # a word of each process's command line


def memory_mb(program: str) -> float:
    """Resident memory of a pod's process in MB (10^6), read from the host. Raises LookupError if there is none."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if entry.name.isdigit() and program.encode() in words:
                for line in (entry / "status").read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        return round(int(line.split()[1]) * 1024 / 1e6, 1)
        except OSError:
            continue
    raise LookupError(f"no process of {program} was found")


def store(kube: Kubectl) -> Store:
    """The demo's store, through a port on loopback."""
    secret = kube.get("secret", STORE_SECRET, NAMESPACE)
    assert secret is not None
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    port = forward("perf-minio", "minio.minio:9000")
    return Store.from_env(
        {
            "FLYWHEEL_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "FLYWHEEL_S3_BUCKET": data["bucket"],
            "FLYWHEEL_S3_ACCESS_KEY": data["accessKey"],
            "FLYWHEEL_S3_SECRET_KEY": data["secretKey"],
        }
    )
