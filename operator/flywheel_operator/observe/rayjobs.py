"""Maps a RayJob, its RayCluster and its pods to our shape; every row has a test.

Facts of KubeRay 1.6: a refused pod leaves the RayJob Initializing with an empty message (the text is in conditions of
the RayCluster); Complete with STOPPED is no success; ValidationFailed never clears; jobStatus alone proves nothing; a
head's container is started again in its place, so that a head killed for memory shows in `lastState` only. What KubeRay
says of a lost head, a job that it cannot submit or a state that does not change are symptoms: pods come first (law 7).
"""

from __future__ import annotations

import re

from flywheel_api import signs
from flywheel_api.causes import CAUSE_OF_EXIT, Cause, ExitCode
from flywheel_api.conditions import Reason
from flywheel_api.ends import End
from flywheel_operator.model import Child, Ended, Object, Run, RunState
from flywheel_operator.observe import pods as podfacts
from flywheel_operator.observe import waiting
from flywheel_operator.observe.pods import Rank

_SYMPTOMS: dict[str, tuple[Cause, str]] = {
    "SubmissionFailed": (Cause.INFRA, "the job could not be submitted to the Ray head"),
    "JobStatusCheckTimeoutExceeded": (Cause.INFRA, "the Ray head did not answer: it or its network was lost"),
    "JobDeploymentStatusTransitionGracePeriodExceeded": (Cause.INFRA, "Ray's and KubeRay's view of the job disagree"),
    "PreRunningDeadlineExceeded": (Cause.CAPACITY, "the pods did not get ready in time"),
}
_DECIDED: dict[str, tuple[Cause, str]] = {
    "DeadlineExceeded": (Cause.BUDGET, "the time of the whole run is over"),
    "ValidationFailed": (Cause.VALIDATION, "KubeRay refuses the RayJob"),
}
_SAYINGS = (  # of Ray's job server and KubeRay, where the entry point itself did not end with a code
    (re.compile(r"runtime_?env.*(?:[Nn]o space left|Errno 28|disk is full)", re.S), End.NODE_DISK_FULL),
    (re.compile(r"running low on memory|exceeds the memory usage threshold"), End.OUT_OF_MEMORY),
    (re.compile(r"intentionally stopped|was stopped"), End.STOPPED),
    (re.compile(r"head pod not found|head (?:was|is) (?:gone|lost)", re.I), End.HEAD_LOST),
    (re.compile(r"node has died|NodeDiedError|node was (?:lost|terminated)|marked dead"), End.NODE_LOST),
    (
        re.compile(
            r"job not found|not found in RayCluster|[Ss]upervisor|runtime_?env|ActorDiedError|actor died|unschedulable|"
            r"[Ff]ailed to get job (?:info|status)",
            re.I,
        ),
        End.JOB_LOST,
    ),
)
_EXIT_TEXT = re.compile(r"[^\n,]{0,120}?exit(?:ed with)? code:? (-?\d+)")
_LOG = re.compile(r"last available logs[^\n:]*:\s*", re.I)
_HELD = {"Suspended": "suspended", "Suspending": "being suspended", "Retrying": "started again by KubeRay"}


def child_of(obj: Object) -> Child:
    """Identity of any object."""
    meta = obj["metadata"]
    return Child(obj["kind"], meta["name"], meta["uid"], "deletionTimestamp" in meta)


def run_of(rayjob: Object, cluster: Object | None, pods: list[Object]) -> Run:
    """The RayJob as a Run."""
    status = rayjob.get("status") or {}
    deployment, job = str(status.get("jobDeploymentStatus") or ""), str(status.get("jobStatus") or "")
    child, message = child_of(rayjob), str(status.get("message") or "")
    if deployment == "ValidationFailed":
        refused = Ended(Cause.VALIDATION, "ValidationFailed", message or "KubeRay refuses it")
        return Run(child, RunState.ENDED, ended=refused)
    if deployment in _HELD:
        text = f"the RayJob is {_HELD[deployment]}: whoever holds it back (Kueue, or a person) lets it go on"
        return Run(child, RunState.QUEUED, text, reason=Reason.QUEUED)
    if deployment in ("Complete", "Running") and job == "SUCCEEDED":
        return Run(child, RunState.SUCCEEDED)
    if deployment in ("Failed", "Complete") or job in ("FAILED", "STOPPED"):
        ended = _ended(str(status.get("reason") or ""), job, message, pods)
        return Run(child, RunState.ENDED, ended=podfacts.at_node(ended, pods))
    if deployment == "Running" and job == "RUNNING":
        fact = podfacts.evidence(pods)
        shown = fact is not None and fact.rank in (Rank.POD, Rank.DEVICE)
        return Run(child, RunState.RUNNING, evidence=podfacts.at_node(fact.ended, pods) if fact and shown else None)
    return held_run(child, cluster) or waiting.run_of_start(child, pods, _otherwise(deployment, job, pods))


def _ended(reason: str, job: str, message: str, pods: list[Object]) -> Ended:
    """The strongest of: what KubeRay itself decided, the pods' facts, the entry point's end, KubeRay's symptoms.

    Last words that are known, and a device that is unhealthy, say more than an exit code of which nothing is known.
    """
    if reason in _DECIDED:
        cause, text = _DECIDED[reason]
        return Ended(cause, reason, _with(text, message))
    facts = podfacts.evidence(pods)
    if facts is not None and facts.rank <= Rank.POD:
        return facts.ended
    if job == "STOPPED":
        return podfacts.known(End.STOPPED, "RayJob", message)
    shown = facts.ended if facts is not None and facts.rank <= Rank.DEVICE else None
    of_exit = _of_exit(message, shown)
    if of_exit is not None:
        return of_exit
    if facts is not None and facts.rank <= Rank.EXIT:
        return facts.ended
    if reason in _SYMPTOMS and job != "FAILED":
        cause, text = _SYMPTOMS[reason]
        return Ended(cause, reason, _with(text, message))
    return _of_saying(message) or _of_log(_log_in(message)) or _plain(reason, job, message)


def _of_exit(message: str, shown: Ended | None) -> Ended | None:
    """KubeRay hands the entry point's exit code on in a sentence, before the end of its log."""
    found = _EXIT_TEXT.match(message)
    if found is None:
        return None
    code, who = int(found.group(1)), "the entry point"
    lines = _log_in(message)
    if code in (-9, 137):
        return podfacts.known(End.KILLED, who, f"exit code {code}")
    if code in (126, 127):
        return podfacts.known(End.IMAGE_UNUSABLE, who, f"exit code {code}; {signs.excerpt(lines)}")
    if code in CAUSE_OF_EXIT and code != ExitCode.APP:
        ended = podfacts.of_exit(code, who)
        return Ended(ended.cause, ended.reason, f"{ended.message}; {signs.excerpt(lines)}")
    if shown is not None and signs.known(lines) is None:
        return shown
    signal = 128 - code if 128 < code < 160 else code  # a shell's word for a signal
    if signal < 0:
        read = signs.read(signal, lines)
        return Ended(read.cause, read.reason, read.text, read.address)
    ended = podfacts.of_exit(code, who)
    return _of_log(lines) or Ended(ended.cause, ended.reason, f"{ended.message}; {signs.excerpt(lines)}")


def _log_in(message: str) -> list[str]:
    """The end of the entry point's log, which KubeRay hands on after its own sentence."""
    log = _LOG.split(message, maxsplit=1)
    return log[1].splitlines() if len(log) > 1 else []


def _of_log(lines: list[str]) -> Ended | None:
    """What that log says by itself; a script that is not in the image is no exception of a program."""
    if podfacts.NO_COMMAND.search("\n".join(lines[-5:])):
        return podfacts.known(End.IMAGE_UNUSABLE, "the entry point", signs.excerpt(lines))
    return podfacts.of_words(lines)


def _of_saying(message: str) -> Ended | None:
    end = next((end for pattern, end in _SAYINGS if pattern.search(message)), None)
    return podfacts.known(end, "RayJob", message[-300:]) if end is not None else None


def _plain(reason: str, job: str, message: str) -> Ended:
    if job == "FAILED" or reason:
        return Ended(Cause.APP, reason or "Failed", message[-400:] or "the job failed without a message")
    return podfacts.known(End.JOB_LOST, "RayJob", f"it ended with {job or 'no status'}")


def _with(text: str, message: str) -> str:
    return f"{text}: {message[-400:]}" if message else text


def _otherwise(deployment: str, job: str, pods: list[Object]) -> str:
    if not pods:
        return f"waiting for KubeRay to make the pods{_named(deployment)}"
    if deployment in ("Initializing", ""):
        return "the Ray cluster is starting"
    return f"the Ray cluster is up, the job is {job.lower() or 'not submitted yet'}{_named(deployment)}"


def _named(deployment: str) -> str:
    """A state of KubeRay's that is not known here is told by its name."""
    return "" if deployment in ("", "Initializing", "Running") else f" (the RayJob is {deployment})"


def held_run(child: Child, cluster: Object | None) -> Run | None:
    """A cluster that is suspended, or whose pods the API server refuses: it keeps its place."""
    if ((cluster or {}).get("spec") or {}).get("suspend"):
        text = "the Ray cluster is suspended: whoever suspended it (Kueue, or a person) lets it go on"
        return Run(child, RunState.QUEUED, text, reason=Reason.QUEUED)
    for condition in ((cluster or {}).get("status") or {}).get("conditions") or []:
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return waiting.refused(child, f"{condition.get('reason', '')}: {condition.get('message', '')}")
    return None
