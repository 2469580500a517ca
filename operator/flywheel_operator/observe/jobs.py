"""A batch/v1 Job and its pods mapped to our shape.

Judged by the stage's own container, not by the pod's phase: a mesh's sidecar keeps a pod Running after the work ended.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flywheel_api.base import parse_time
from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_api.ends import MEANINGS, End
from flywheel_operator.model import Ended, Object, Run, RunState
from flywheel_operator.observe import pods as podfacts
from flywheel_operator.observe import waiting
from flywheel_operator.observe.pods import Rank
from flywheel_operator.observe.rayjobs import child_of

_STAGE = "stage"
_SLOW = 2.0  # seconds in which a Job gets its pods: the API server reads all events of a namespace to find a Job's


def run_of(job: Object, pods: list[Object], refusal: str = "") -> Run:
    """The Job as a Run. `refusal` is what the API server said to the Job controller, which made no pod."""
    spec, status = job.get("spec") or {}, job.get("status") or {}
    child = child_of(job)
    conditions = conditions_of(job)
    if conditions.keys() & {"Complete", "SuccessCriteriaMet"}:
        return Run(child, RunState.SUCCEEDED)
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    if failed is not None:
        return Run(child, RunState.ENDED, ended=_failed(failed, pods))
    if "Suspended" in conditions or spec.get("suspend"):
        text = "the Job is suspended: whoever suspended it (Kueue, or a person) lets it go on"
        return Run(child, RunState.QUEUED, text, reason=Reason.QUEUED)
    states = [_stage_state(pod) for pod in pods]
    if any(int(state.get("terminated", {}).get("exitCode", 0)) != 0 for state in states):
        return Run(child, RunState.ENDED, ended=podfacts.ended(pods))
    if pods and sum("terminated" in state for state in states) >= int(spec.get("completions") or 1):
        return Run(child, RunState.SUCCEEDED)
    if any(_runs(pod, state) for pod, state in zip(pods, states, strict=True)):
        return Run(child, RunState.RUNNING)
    if not pods and status.get("active", 0) == 0:
        if refusal:
            return waiting.refused(child, refusal)
        return Run(child, RunState.STARTING, "waiting for the Job controller to make the pods")
    return waiting.run_of_start(child, pods, "the stage's pods are starting")


def lacks_pods(job: Object, pods: list[Object], now: datetime) -> bool:
    """Whether the Job controller should have made pods by now and has not: only events tell why."""
    status = job.get("status") or {}
    held = bool((job.get("spec") or {}).get("suspend")) or bool(conditions_of(job))
    if pods or held or status.get("active", 0):
        return False
    made = job["metadata"].get("creationTimestamp")
    return made is None or (now - parse_time(made)).total_seconds() >= _SLOW


def conditions_of(job: Object) -> dict[str, dict[str, Any]]:
    """A Job's conditions that are true, by type."""
    found = (job.get("status") or {}).get("conditions") or []
    return {c["type"]: c for c in found if c.get("status") == "True"}


def _stage_state(pod: Object) -> dict[str, Any]:
    statuses = podfacts.container_statuses(pod)
    return next((dict(s.get("state") or {}) for s in statuses if s.get("name") == _STAGE), {})


def _runs(pod: Object, state: dict[str, Any]) -> bool:
    """By the stage's container; by the phase where kubelet has not told of containers."""
    return bool(state.keys() & {"running", "terminated"}) or (
        not state and pod.get("status", {}).get("phase") in ("Running", "Succeeded")
    )


def _failed(condition: dict[str, Any], pods: list[Object]) -> Ended:
    found = podfacts.evidence(pods)
    reason, message = str(condition.get("reason", "Failed")), str(condition.get("message", ""))
    if reason == "DeadlineExceeded" and (found is None or found.rank > Rank.KILLED):
        return Ended(Cause.STALLED, reason, message)  # that its pods were told to stop follows from it
    if found is not None:
        return found.ended
    meaning = MEANINGS[End.PODS_GONE]
    return Ended(meaning.cause, End.PODS_GONE.value, f"{meaning.text} ({reason}): {message}")
