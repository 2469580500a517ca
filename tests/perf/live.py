"""A look at a running cluster: watches with arrival times, the operator's metrics and memory, objects of the store."""

from __future__ import annotations

import base64
import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.kubeapi import condition
from cluster.layout import layout
from cluster.node import running
from cluster.pins import binary_path
from cluster.process import loopback_env
from cluster.services import forward
from demo.kube import Kubectl
from demo.settings import NAMESPACE, STORE_SECRET, SYSTEM_NAMESPACE
from flywheel_jobs.store import Store

RESOURCES = {
    "FlywheelRound": f"/apis/flywheel.dev/v1alpha1/namespaces/{NAMESPACE}/flywheelrounds",
    "RLJob": f"/apis/flywheel.dev/v1alpha1/namespaces/{NAMESPACE}/rljobs",
    "RolloutPool": f"/apis/flywheel.dev/v1alpha1/namespaces/{NAMESPACE}/rolloutpools",
    "Job": f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs",
}
Arrival = tuple[float, str, str, dict[str, Any]]  # unix time, kind, type of the event, object


def connect() -> Kubectl | None:
    """The local cluster with our operator Available, or None."""
    try:
        running()
    except ClusterError:
        return None
    kube = Kubectl(binary_path("kubectl"), layout().kubeconfig)
    deployment = kube.get("deployment", "flywheel", SYSTEM_NAMESPACE)
    return kube if condition(deployment, "Available") else None


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


def operator_memory_mb() -> float:
    """Resident memory of the operator's process in MB (10^6), read from the host."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if entry.name.isdigit() and b"flywheel_operator" in words:
                for line in (entry / "status").read_text().splitlines():
                    if line.startswith("VmRSS:"):
                        return round(int(line.split()[1]) * 1024 / 1e6, 1)
        except OSError:
            continue
    raise LookupError("no process of the operator was found")


@contextmanager
def watching(kube: Kubectl, *kinds: str) -> Iterator[queue.Queue[Arrival]]:
    """Events of those kinds as they arrive, each with its time; what exists already comes first."""
    arrivals: queue.Queue[Arrival] = queue.Queue()
    processes = []

    def read(kind: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            arrivals.put((time.time(), kind, event["type"], event["object"]))

    for kind in kinds:
        command = [str(kube.binary), f"--kubeconfig={kube.kubeconfig}", "get", "--raw", f"{RESOURCES[kind]}?watch=1"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=loopback_env())
        processes.append(process)
        threading.Thread(target=read, args=(kind, process), daemon=True).start()
    try:
        yield arrivals
    finally:
        for process in processes:
            process.terminate()
            process.wait(10)


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
