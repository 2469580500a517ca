"""A short check of a running node: pods under `restricted`, Service, DNS, exec, logs, Indexed Job, no way out."""

from __future__ import annotations

from collections.abc import Callable

from cluster.errors import ClusterError
from cluster.images import present
from cluster.kube import Kubectl
from cluster.paths import MANIFESTS

_NAMESPACE = "smoke"
_UNSAFE_POD = """
apiVersion: v1
kind: Pod
metadata: {name: unsafe, namespace: smoke}
spec: {containers: [{name: c, image: localhost/pause:1, securityContext: {privileged: true}}]}
"""


def _check_refusal(kube: Kubectl) -> None:
    code, out, err = kube.try_run("apply", "-f", "-", stdin=_UNSAFE_POD)
    if code == 0 or 'violates PodSecurity "restricted' not in err:
        raise ClusterError(f"a privileged pod was not refused: {out}{err}")


def _check_job(kube: Kubectl) -> None:
    kube.wait("job", "indexed", _NAMESPACE, "Complete", 120)
    lines = kube.run("-n", _NAMESPACE, "logs", "-l", "job-name=indexed", "--tail=-1").splitlines()
    done = {line.split()[1] for line in lines if line.startswith("index")}
    if done != {"0", "1", "2"}:
        raise ClusterError(f"the Indexed Job's logs lack an index: {lines}")


def _check_inside(kube: Kubectl) -> None:
    enter = ("-n", _NAMESPACE, "exec", "deploy/web", "--")
    inside = kube.run(*enter, "grep", "-E", "Seccomp:|CapEff:", "/proc/self/status").split()
    if inside != ["CapEff:", "0000000000000000", "Seccomp:", "2"]:
        raise ClusterError(f"a restricted pod has capabilities or no seccomp filter: {inside}")
    connect = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    _, _, err = kube.try_run(*enter, "python3", "-c", connect)
    if "Network is unreachable" not in err:
        raise ClusterError(f"a pod has a route out of the node: {err}")


def run(kube: Kubectl, image: str, step: Callable[[str], None]) -> None:
    """Run it with an image of the node that has python3 and grep, then remove it. Raises ClusterError."""
    if image not in present():
        raise ClusterError(f"{image} is not in the node; load it first. There are: {', '.join(sorted(present()))}")
    try:
        kube.apply_text((MANIFESTS / "smoke.yaml").read_text().replace("@IMAGE@", image))
        kube.wait("deployment", "web", _NAMESPACE, "Available", 120)
        step("Deployment available under Pod Security restricted")
        _check_job(kube)
        step("Indexed Job done through Service and DNS, logs read")
        _check_inside(kube)
        step("exec; no capabilities, seccomp on, no route out")
        _check_refusal(kube)
        step("privileged pod refused")
    finally:
        kube.try_run("delete", "namespace", _NAMESPACE, "--wait=false")
