"""A RayService, its RayCluster and its pods mapped to our shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flywheel_api.ends import End
from flywheel_api.names import NODE_TYPE
from flywheel_operator.model import Ended, Object, Run, RunState
from flywheel_operator.observe import pods as podfacts
from flywheel_operator.observe import waiting
from flywheel_operator.observe.rayjobs import child_of, held_run
from flywheel_operator.ports.kinds import labels_of


def run_of(service: Object, clusters: list[Object], pods: list[Object]) -> Run:
    """RUNNING means that Serve answers with every replica healthy."""
    child = child_of(service)
    status = service.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    if conditions.get("Ready", {}).get("status") == "True" and _applications_run(status):
        return Run(child, RunState.RUNNING)
    for cluster in clusters:
        refused = held_run(child, cluster)
        if refused is not None:
            return refused
    start = waiting.run_of_start(child, pods, _starting_text(pods, status), served=bool(_applications(status)))
    ended = start.ended or _failed_application(status, pods)
    if ended is not None:
        return Run(child, RunState.ENDED, start.text, ended=podfacts.at_node(ended, pods))
    fault = _gpu_fault(status, pods)
    return start if fault is None else replace(start, evidence=podfacts.at_node(fault, pods))


def ready_on(pods: list[Object]) -> tuple[str, ...]:
    """Nodes whose servers are ready; the head serves nothing itself beside GPUs."""
    return tuple(sorted({str(p.get("spec", {}).get("nodeName", "")) for p in _servers(pods) if _ready(p)}))


def _applications(status: Object) -> dict[str, Any]:
    """Of the active cluster, else of the pending one."""
    for part in ("activeServiceStatus", "pendingServiceStatus"):
        found = (status.get(part) or {}).get("applicationStatuses")
        if found:
            return dict(found)
    return {}


def _applications_run(status: Object) -> bool:
    active = (status.get("activeServiceStatus") or {}).get("applicationStatuses") or {}
    return bool(active) and all(app.get("status") == "RUNNING" for app in active.values())


def _failed_application(status: Object, pods: list[Object]) -> Ended | None:
    for app in _applications(status).values():
        if app.get("status") == "DEPLOY_FAILED":
            message = _words(app)
            told = podfacts.of_words(message.splitlines()) or podfacts.gpu_fault(_servers(pods))
            return told or podfacts.known(End.DEPLOY_FAILED, "Ray Serve", message[-400:])
    return None


def _gpu_fault(status: Object, pods: list[Object]) -> Ended | None:
    """A GPU that fails: of a deployment that has answered once, Serve starts a lost replica again for ever."""
    read = [podfacts.of_words(_words(app).splitlines()) for app in _applications(status).values()]
    told = next((ended for ended in read if ended is not None and ended.reason == End.GPU_FAULT), None)
    return told or podfacts.gpu_fault(_servers(pods))


def _words(app: dict[str, Any]) -> str:
    """What Serve says of an application: only which deployments are not well, of which each has its own error."""
    parts = [app, *(app.get("serveDeploymentStatuses") or {}).values()]
    return "\n".join(str(part["message"]) for part in parts if part.get("message"))


def _servers(pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if labels_of(pod).get(NODE_TYPE) != "head"]


def _starting_text(pods: list[Object], status: Object) -> str:
    if not pods:
        return "waiting for KubeRay to make the pods"
    if not any(_ready(pod) for pod in pods):
        init = any(
            s.get("state", {}).get("running") for p in pods for s in p["status"].get("initContainerStatuses") or []
        )
        return "fetching the model" if init else "the Ray cluster is starting"
    states = {app.get("status", "") for app in _applications(status).values()}
    return (
        "the model is loading"
        if states <= {"DEPLOYING", "NOT_STARTED", ""}
        else f"Ray Serve says {', '.join(sorted(states))}"
    )


def _ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions") or [])
