"""A batch/v1 Job and its pods mapped to our shape."""

from __future__ import annotations

from typing import Any

from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_operator.model import Ended, Object, Run, RunState
from flywheel_operator.observe import pods as podfacts
from flywheel_operator.observe.rayjobs import child_of


def run_of(job: Object, pods: list[Object]) -> Run:
    """The Job as a Run. A failed Job takes its cause from its pods; without pods, they were lost."""
    status = job.get("status") or {}
    child = child_of(job)
    conditions = conditions_of(job)
    if "Complete" in conditions:
        return Run(child, RunState.SUCCEEDED)
    if "Failed" in conditions:
        return Run(child, RunState.ENDED, ended=_failed(conditions["Failed"], pods))
    if "Suspended" in conditions or (job.get("spec") or {}).get("suspend"):
        text = "the Job is suspended: whoever suspended it (Kueue, or a person) lets it go on"
        return Run(child, RunState.QUEUED, text, reason=Reason.QUEUED)
    if any(p.get("status", {}).get("phase") in ("Running", "Succeeded") for p in pods):
        return Run(child, RunState.RUNNING)
    text, act = podfacts.waiting_text(pods)
    if not pods and status.get("active", 0) == 0:
        text = "waiting for the Job controller to make the pods (if this lasts, `kubectl describe job` says why)"
    return Run(child, RunState.STARTING, text, act)


def conditions_of(job: Object) -> dict[str, dict[str, Any]]:
    """A Job's conditions that are true, by type."""
    found = (job.get("status") or {}).get("conditions") or []
    return {c["type"]: c for c in found if c.get("status") == "True"}


def _failed(condition: dict[str, Any], pods: list[Object]) -> Ended:
    found = podfacts.ended(pods)
    if found is not None:
        return found
    reason, message = str(condition.get("reason", "Failed")), str(condition.get("message", ""))
    if reason == "DeadlineExceeded":
        return Ended(Cause.STALLED, reason, message)
    return Ended(Cause.INFRA, "PodsGone", f"the Job failed ({reason}) and its pods are gone: {message}")
