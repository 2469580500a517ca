"""Ports of the node on the host's loopback: services and addresses, and what the node is doing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from cluster.errors import ClusterError
from cluster.kube import KubeApi, is_true
from cluster.layout import NODE_NAME, layout
from cluster.node import ask_daemon, record

# processes of the node itself, as the kernel names them (15 characters)
_CONTROL_PLANE = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "containerd",
)


def parse_target(text: str) -> tuple[str, str, int]:
    """`SERVICE.NAMESPACE:PORT` -> (service, namespace, port); `ADDRESS:PORT` -> (address, '', port)."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or not host:
        raise ClusterError(
            f"'{text}' is no target; write SERVICE.NAMESPACE:PORT, or an address in the node and a port."
        )
    if re.fullmatch(r"[\d.]+", host):
        return host, "", int(port)
    service, dot, rest = host.partition(".")
    if not dot:
        raise ClusterError(f"'{text}' names no namespace; write {service}.NAMESPACE:{port}.")
    return service, rest.split(".")[0], int(port)


def _address(api: KubeApi, service: str, namespace: str) -> str:
    """Cluster address of a service; of a headless one the address of its first ready pod."""
    found = api.get(f"/api/v1/namespaces/{namespace}/services/{service}")
    if found is None:
        raise ClusterError(f"there is no service {service} in namespace {namespace}.")
    address = str(found["spec"].get("clusterIP", ""))
    if address and address != "None":
        return address
    selector = f"labelSelector=kubernetes.io/service-name%3D{service}"
    slices = api.get(f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?{selector}") or {}
    for item in slices.get("items", []):
        for endpoint in item.get("endpoints") or []:
            if endpoint.get("conditions", {}).get("ready") is not False:
                return str(endpoint["addresses"][0])
    raise ClusterError(f"headless service {namespace}/{service} has no ready pod yet.")


def forward(name: str, target: str, local_port: int = 0) -> int:
    """Open 127.0.0.1:PORT on the host for a target inside the node and return PORT (again: same port, new target)."""
    host, namespace, port = parse_target(target)
    if namespace:
        host = _address(KubeApi(layout().kubeconfig), host, namespace)
    request = {"do": "forward", "name": name, "host": host, "port": port, "local_port": local_port}
    return int(ask_daemon(request)["port"])


def _memory(init_pid: int) -> dict[str, float]:
    """Resident MB (10^6) of each control-plane process of the node."""
    namespace = os.readlink(f"/proc/{init_pid}/ns/pid")
    names = {name[:15]: name for name in _CONTROL_PLANE}
    found: dict[str, float] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            name = (entry / "comm").read_text().strip()
            if name in names and os.readlink(entry / "ns" / "pid") == namespace:
                resident = re.search(r"VmRSS:\s+(\d+) kB", (entry / "status").read_text())
                found[names[name]] = round(int(resident.group(1)) * 1024 / 1e6, 1) if resident else 0.0
        except OSError:
            continue
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def status() -> dict[str, Any]:
    """What is running: `state` is down, starting, not-ready or ready; memory in MB, forwards with their ports."""
    at = layout()
    found = record(at)
    if not found or not found.get("init_pid"):
        return {"state": "starting" if found else "down"}
    node = KubeApi(at.kubeconfig).get(f"/api/v1/nodes/{NODE_NAME}")
    memory = _memory(found["init_pid"])
    return {
        "state": "ready" if is_true(node, "Ready") else "not-ready",
        "kubeconfig": str(at.kubeconfig),
        "daemonPid": found["pid"],
        "logs": str(at.logs),
        "memoryMB": memory,
        "memoryTotalMB": round(sum(memory.values()), 1),
        "forwards": ask_daemon({"do": "list"})["forwards"],
    }
