"""A short check of a running node: pods under `restricted`, Service, DNS, exec, logs, Indexed Job, no way out."""

from __future__ import annotations

import time
from collections.abc import Callable

from cluster.addons import apply, wait_available
from cluster.errors import ClusterError
from cluster.images import present
from cluster.kubeapi import KubeApi, condition
from cluster.layout import layout
from cluster.node import kubectl
from cluster.paths import MANIFESTS

_NAMESPACE = "smoke"
_UNSAFE_POD = """
apiVersion: v1
kind: Pod
metadata: {name: unsafe, namespace: smoke}
spec: {containers: [{name: c, image: localhost/pause:1, securityContext: {privileged: true}}]}
"""


def _kubectl(*args: str, stdin: str | None = None) -> str:
    done = kubectl("-n", _NAMESPACE, *args, capture=True, stdin=stdin)
    if done.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(args)} failed: {done.stderr.strip()}")
    return done.stdout


def _check_refusal() -> None:
    refused = kubectl("apply", "-f", "-", capture=True, stdin=_UNSAFE_POD)
    if refused.returncode == 0 or 'violates PodSecurity "restricted' not in refused.stderr:
        raise ClusterError(f"a privileged pod was not refused: {refused.stdout}{refused.stderr}")


def _check_job(api: KubeApi) -> None:
    path = f"/apis/batch/v1/namespaces/{_NAMESPACE}/jobs/indexed"
    deadline = time.monotonic() + 120
    while not condition(api.get(path), "Complete"):
        if time.monotonic() > deadline:
            raise ClusterError(f"the Indexed Job did not complete:\n{_kubectl('describe', 'job', 'indexed')}")
        time.sleep(0.2)
    lines = _kubectl("logs", "-l", "job-name=indexed", "--tail=-1").splitlines()
    done = {line.split()[1] for line in lines if line.startswith("index")}
    if done != {"0", "1", "2"}:
        raise ClusterError(f"the Indexed Job's logs lack an index: {lines}")


def _check_inside() -> None:
    inside = _kubectl("exec", "deploy/web", "--", "grep", "-E", "Seccomp:|CapEff:", "/proc/self/status").split()
    if inside != ["CapEff:", "0000000000000000", "Seccomp:", "2"]:
        raise ClusterError(f"a restricted pod has capabilities or no seccomp filter: {inside}")
    connect = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    out = kubectl("-n", _NAMESPACE, "exec", "deploy/web", "--", "python3", "-c", connect, capture=True)
    if "Network is unreachable" not in out.stderr:
        raise ClusterError(f"a pod has a route out of the node: {out.stderr}")


def run(image: str, step: Callable[[str], None] = lambda _: None) -> None:
    """Run it with an image of the node that has python3 and grep, then remove it. Raises ClusterError."""
    if image not in present():
        raise ClusterError(f"{image} is not in the node; load it first. There are: {', '.join(sorted(present()))}")
    api = KubeApi(layout().kubeconfig)
    try:
        apply((MANIFESTS / "smoke.yaml").read_text().replace("@IMAGE@", image), "smoke.yaml")
        wait_available(api, _NAMESPACE, "web", 120)
        step("Deployment available under Pod Security restricted")
        _check_job(api)
        step("Indexed Job done through Service and DNS, logs read")
        _check_inside()
        step("exec; no capabilities, seccomp on, no route out")
        _check_refusal()
        step("privileged pod refused")
    finally:
        kubectl("delete", "namespace", _NAMESPACE, "--wait=false", capture=True)
