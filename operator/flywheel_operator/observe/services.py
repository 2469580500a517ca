"""A RayService, its RayCluster and its pods mapped to our shape."""

from __future__ import annotations

from typing import Any

from flywheel_api.causes import Cause
from flywheel_operator.model import Ended, Object, Run, RunState
from flywheel_operator.observe import pods as podfacts
from flywheel_operator.observe.rayjobs import child_of, refusal


def run_of(service: Object, clusters: list[Object], pods: list[Object]) -> Run:
    """RUNNING means that Serve answers with every replica healthy."""
    child = child_of(service)
    status = service.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    if conditions.get("Ready", {}).get("status") == "True" and _applications_run(status):
        return Run(child, RunState.RUNNING)
    for cluster in clusters:
        text = refusal(cluster)
        if text:
            return Run(child, RunState.STARTING, text, True)
    failed = _failed_application(status)
    if failed is not None:
        return Run(child, RunState.ENDED, ended=failed)
    text, act = podfacts.waiting_text(pods)
    return Run(child, RunState.STARTING, text or _starting_text(pods, status), act)


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


def _failed_application(status: Object) -> Ended | None:
    for app in _applications(status).values():
        if app.get("status") == "DEPLOY_FAILED":
            return Ended(
                Cause.APP, "DeployFailed", f"Ray Serve could not deploy the model: {app.get('message', '')[-400:]}"
            )
    return None


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
