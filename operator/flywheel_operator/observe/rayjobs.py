"""Maps a RayJob, its RayCluster and its pods to our shape; every row has a test.

Facts of KubeRay 1.6: a refused pod leaves the RayJob Initializing with an empty message (the text is in conditions of
the RayCluster); Complete with STOPPED is no success; ValidationFailed never clears; jobStatus alone proves nothing.
"""

from __future__ import annotations

from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_operator.model import Child, Ended, Object, Run, RunState
from flywheel_operator.observe import pods as podfacts

_BY_REASON: dict[str, tuple[Cause, str]] = {
    "SubmissionFailed": (Cause.INFRA, "the job could not be submitted to the Ray head"),
    "JobStatusCheckTimeoutExceeded": (Cause.INFRA, "the Ray head did not answer: it or its network was lost"),
    "JobDeploymentStatusTransitionGracePeriodExceeded": (Cause.INFRA, "Ray's and KubeRay's view of the job disagree"),
    "PreRunningDeadlineExceeded": (Cause.CAPACITY, "the pods did not get ready in time"),
    "DeadlineExceeded": (Cause.BUDGET, "the time of the whole run is over"),
    "ValidationFailed": (Cause.VALIDATION, "KubeRay refuses the RayJob"),
}


def child_of(obj: Object) -> Child:
    """Identity of any object."""
    meta = obj["metadata"]
    return Child(obj["kind"], meta["name"], meta["uid"], "deletionTimestamp" in meta)


def run_of(rayjob: Object, cluster: Object | None, pods: list[Object]) -> Run:
    """The RayJob as a Run."""
    status = rayjob.get("status") or {}
    deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    child = child_of(rayjob)
    message = str(status.get("message", ""))
    if deployment == "ValidationFailed":
        return Run(
            child, RunState.ENDED, ended=Ended(Cause.VALIDATION, "ValidationFailed", message or "KubeRay refuses it")
        )
    if deployment == "Failed":
        return Run(child, RunState.ENDED, ended=_failed(str(status.get("reason", "")), message, pods))
    if deployment == "Complete":
        if job == "SUCCEEDED":
            return Run(child, RunState.SUCCEEDED)
        text = f"the Ray job ended with {job or 'no status'}: somebody or something stopped it"
        return Run(child, RunState.ENDED, ended=Ended(Cause.INFRA, "Stopped", text))
    if deployment in ("Running", "Retrying") and job == "RUNNING":
        return Run(child, RunState.RUNNING)
    if deployment in ("Suspended", "Suspending", "Retrying"):
        text = f"the RayJob is {deployment.lower()}: whoever holds it back (Kueue, or a person) lets it go on"
        return Run(child, RunState.QUEUED, text, reason=Reason.QUEUED)
    waiting, refused = _waiting(deployment, job, cluster, pods)
    capacity = "waits for a node" in waiting
    reason = Reason.CAPACITY if capacity else Reason.STARTING
    return Run(child, RunState.STARTING, waiting, refused, reason, late=Cause.CAPACITY if capacity else Cause.INFRA)


def _failed(reason: str, message: str, pods: list[Object]) -> Ended:
    facts = podfacts.ended(pods)
    if reason in _BY_REASON:
        cause, text = _BY_REASON[reason]
        if cause is Cause.CAPACITY and facts is not None and facts.cause is not Cause.APP:
            return facts
        return Ended(cause, reason, f"{text}: {message[-400:]}" if message else text)
    if facts is not None and not facts.reason.startswith("ExitCode"):
        return facts
    told = podfacts.of_exit_text(message)
    if told is not None:
        return Ended(told.cause, told.reason, f"{told.message}; last words: {message[-300:]}")
    if "ActorDiedError" in message or "node has died" in message or "NodeDiedError" in message:
        return Ended(Cause.INFRA, "WorkerLost", f"a Ray node was lost: {message[-300:]}")
    return Ended(Cause.APP, reason or "Failed", message[-400:] or "the job failed without a message")


def _waiting(deployment: str, job: str, cluster: Object | None, pods: list[Object]) -> tuple[str, bool]:
    refused = refusal(cluster)
    if refused:
        return refused, True
    text, act = podfacts.waiting_text(pods)
    if text:
        return text, act
    if not pods:
        return "waiting for KubeRay to make the pods", False
    if deployment == "Initializing":
        return "the Ray cluster is starting", False
    return f"the Ray cluster is up, the job is {job.lower() or 'not submitted yet'}", False


def refusal(cluster: Object | None) -> str:
    """Text of a RayCluster whose pods the API server refuses (Pod Security, quota); empty otherwise."""
    for condition in ((cluster or {}).get("status") or {}).get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return f"pods are refused: {condition.get('reason', '')}: {condition.get('message', '')}"
    return ""
