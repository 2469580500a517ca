"""Pods that do not run yet: what they wait for, in kubelet's and the scheduler's own words, and what that would mean.

A start is over at once when one of our containers told why it cannot go on or was killed for memory, when a pod was
evicted for a limit of its own, or when an init container ends again and again. Everything else may still pass; `late`
is its class when it takes too long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_api.ends import End
from flywheel_operator import refusals
from flywheel_operator.model import Child, Ended, Run, RunState
from flywheel_operator.observe import pods as podfacts
from flywheel_operator.observe.events import KUBELET
from flywheel_operator.observe.pods import Pod, Rank

_WORDS = 300  # characters of Kubernetes' own words
_LOOPS = 2  # restarts after which an init container of ours that tells nothing is given up
_PULLS = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
    "RegistryUnavailable", "SignatureValidationFailed",
})  # fmt: skip
_MISSING = re.compile(
    r'(?:secret|configmap|persistentvolumeclaim) "[^"]*" not found|non-?existent (?:secret|config) key|'
    r'hostPath type check failed|MountVolume.*: (?:container|field|key|path) (?:"?\S+"? )?(?:was )?not found'
)
_PASSING_TAINT = re.compile(  # of nodes that come or go, by kubelet, cloud, autoscalers, and agents that start on them
    r"taint \{(?:node\.(?:kubernetes|cloud)|karpenter\.sh/|"
    r"[^}]*(?:ClusterAutoscaler|not-?ready|startup|termination|spot-itn|rebalance|maintenance|quick-remove))"
)
_TAINT_KEY = re.compile(r"(?:untolerated|had) taint \{([^:}]+)")
_NODES = re.compile(r"Insufficient|Too many pods|(?:affinity/|node )selector")  # of which others may come
_TAINTED = re.compile(r"untolerated taint|\btaints?\b.*didn't tolerate")  # of today, and before Kubernetes 1.23
_SANDBOX = "its sandbox, network and volumes are being made"


@dataclass(frozen=True)
class Wait:
    """Why something does not run yet. `weight` orders several: the highest is shown. `over` ends the start at once."""

    text: str
    refused: bool = False
    late: Cause = Cause.INFRA
    reason: Reason = Reason.STARTING
    weight: int = 0
    over: Ended | None = None


@dataclass(frozen=True)
class _Pull:
    """One kind of a failed pull: by kubelet's reason and message together."""

    pattern: re.Pattern[str]
    text: str
    refused: bool
    late: Cause


_NODE_STORE = "[Rr]ead-only file system|[Ii]nput/output error|[Ss]tructure needs cleaning"
_PULL_KINDS = (
    _Pull(
        re.compile(r"InvalidImageName|couldn't parse image|invalid reference format|short-name \S+ did not resolve"),
        "that is no name of an image: correct it",
        True,
        Cause.VALIDATION,
    ),
    _Pull(
        re.compile(r"ErrImageNeverPull|pull policy of Never"),
        "it is not on the node and imagePullPolicy is Never: put it there, or change the policy",
        True,
        Cause.VALIDATION,
    ),
    _Pull(
        re.compile(r"SignatureValidationFailed|signature"),
        "its signature is refused: sign it, or correct the node's policy",
        True,
        Cause.APP,
    ),
    _Pull(
        re.compile(r"\b429\b|toomanyrequests|[Tt]oo [Mm]any [Rr]equests|rate limit|QPS exceeded"),
        "the registry limits the rate of pulls: it passes by itself; a mirror or imagePullSecrets raise the limit",
        False,
        Cause.INFRA,
    ),
    _Pull(
        re.compile(r"no space left|disk quota|failed to extract layer|garbage collect|DiskPressure"),
        "the node's disk is full: free it, or let the pod go to another node",
        False,
        Cause.INFRA,
    ),
    _Pull(
        re.compile(rf"{_NODE_STORE}|failed to (?:prepare extraction snapshot|stat parent)"),
        "the node's own store of images is broken: have the node looked at, or let the pod go to another node",
        False,
        Cause.INFRA,
    ),
    _Pull(
        re.compile(
            r"no match for platform|no matching manifest|does not match the specified platform|exec format|"
            r"no image found in (?:image index|manifest list)"
        ),
        "there is no image for this node's platform (architecture): build one, or select other nodes",
        True,
        Cause.VALIDATION,
    ),
    _Pull(
        re.compile(r"x509|certificate"),
        "the node does not trust the registry's certificate: add its CA to the container runtime",
        True,
        Cause.APP,
    ),
    _Pull(
        re.compile(r"\b40[13]\b|unauthori|denied|forbidden|insufficient_scope|authenti|authoriz|basic auth", re.I),
        "the registry refuses access: check imagePullSecrets in this namespace, and the image's name",
        True,
        Cause.APP,
    ),
    _Pull(
        re.compile(r"NotFound|not found|manifest unknown|name unknown|\b404\b|does not exist"),
        "it does not exist in the registry: check its name and tag",
        True,
        Cause.APP,
    ),
    _Pull(
        re.compile(
            r"RegistryUnavailable|ImageInspectError|time-?out|deadline|no such host|refused|reset|EOF|\b50\d\b|"
            r"unavailable|dial tcp|temporary failure|cancell?ed|unexpected commit digest|checksum|size validation|"
            r"transport|broken pipe|connection|network|stream error|protocol error|unknown error|"
            r"code = (?:Internal|Aborted|ResourceExhausted)\b",
            re.I,
        ),
        "the registry or the node's container runtime does not answer: it may pass by itself",
        False,
        Cause.INFRA,
    ),
)  # fmt: skip
_ANY_PULL = _Pull(re.compile(""), "check its name, imagePullSecrets and the node's access", True, Cause.APP)


@dataclass(frozen=True)
class _Problem:
    """A container that is not made or not started, by kubelet's reason and message together."""

    pattern: re.Pattern[str]
    refused: bool
    late: Cause


_PROBLEMS = (
    _Problem(re.compile(r"CreateContainer.*(?:timed out|deadline exceeded|reserved|in use)", re.S), False, Cause.INFRA),
    _Problem(
        re.compile(rf"(?:Create|Run)Container.*(?:no space left|disk quota|{_NODE_STORE})", re.S), False, Cause.INFRA
    ),
    _Problem(podfacts.NO_COMMAND, True, Cause.VALIDATION),
    _Problem(re.compile(r"CreateContainerConfigError|HookError|InvalidEnv"), True, Cause.APP),
    _Problem(re.compile(r"Error\b|ContainerCannotRun"), True, Cause.INFRA),
)


def run_of_start(child: Child, pods: list[Pod], otherwise: str, served: bool = False) -> Run:
    """The Run of a child whose work does not run yet; `otherwise` is said when its pods show nothing that matters.

    Of a child that has `served`, a container that was killed once is started again, and that may be enough.
    """
    fact, wait = podfacts.evidence(pods), waiting(pods)
    shown = fact is not None and (fact.rank <= Rank.POD or fact.rank is Rank.DEVICE)
    evidence = podfacts.at_node(fact.ended, pods) if fact is not None and shown else None
    if wait is not None and wait.over is not None and wait.over.reason == End.OOM_KILLED and served:
        return Run(child, RunState.STARTING, wait.text, evidence=evidence, late=Cause.APP)
    if wait is None:
        return Run(child, RunState.STARTING, otherwise, evidence=evidence)
    if wait.over is not None:
        return Run(child, RunState.ENDED, wait.text, ended=wait.over)
    state = RunState.QUEUED if wait.reason is Reason.QUEUED else RunState.STARTING
    text = wait.text if wait.weight else f"{otherwise}; {wait.text}"
    return Run(child, state, text, wait.refused, wait.reason, evidence=evidence, late=wait.late)


def refused(child: Child, words: str) -> Run:
    """A child whose pods the API server does not take, with its words. It keeps its place; some of it passes."""
    said = refusals.of_pods(words)
    return Run(child, RunState.QUEUED, said.message, said.reason is Reason.POD_REFUSED, said.reason)


def waiting(pods: Iterable[Pod]) -> Wait | None:
    """What these pods wait for: the most telling of all."""
    found = [wait for pod in pods for wait in _waits(pod)]
    return max(found, key=lambda wait: wait.weight) if found else None


def _waits(pod: Pod) -> Iterator[Wait]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    init = {s.get("name") for s in status.get("initContainerStatuses") or []}
    for container in podfacts.container_statuses(pod):
        who = f"container {container.get('name')} of pod {name}"
        if podfacts.is_ours(container):
            yield from _of_ended_container(container, who, container.get("name") in init)
        elif _loops(container):
            text = f"{who}, which is not Flywheel's, ends again and again: {_last_words(container)}"
            yield Wait(text, True, weight=6)
        yield from _of_waiting_container(container, name)
    for condition in status.get("conditions") or []:
        yield from _of_condition(condition, name, _devices(pod))
    evicted = podfacts.own_limit(pod)
    if evicted is not None:
        yield Wait(evicted.message, weight=9, over=evicted)
    elif status.get("phase") == "Failed" and status.get("reason"):
        words = f"{status['reason']}: {status.get('message', '')}"[:_WORDS]
        yield Wait(f"pod {name} failed and another is awaited: {words}", weight=4)


def _of_ended_container(container: dict[str, Any], who: str, init: bool) -> Iterator[Wait]:
    """One of ours that ended, or ended and was started again."""
    state = container.get("state", {})
    fact = podfacts.of_container(state.get("terminated") or container.get("lastState", {}).get("terminated") or {}, who)
    if fact is None:
        if _loops(container):
            yield Wait(f"{who} ends again and again: {_last_words(container)}", True, Cause.APP, weight=6)
        return
    told = fact.rank is Rank.TOLD and fact.ended.cause is not Cause.INFRA  # lost infrastructure may come back
    repeats = init and _loops(container) and container.get("restartCount", 0) >= _LOOPS
    if told or fact.rank is Rank.KILLED or (repeats and fact.ended.cause is not Cause.INFRA):
        yield Wait(fact.ended.message, weight=9, over=_as_loop(fact, container) if repeats else fact.ended)
    elif _loops(container):
        text = f"{who} ends again and again: {fact.ended.message}; `kubectl logs -c {container['name']} --previous`"
        yield Wait(text, True, fact.ended.cause, weight=6)
    elif fact.ended.cause is Cause.INFRA or not state.get("running"):
        yield Wait(f"{who} is started again: {fact.ended.message}", late=fact.ended.cause, weight=5)


def _as_loop(fact: podfacts.Evidence, container: dict[str, Any]) -> Ended:
    if fact.rank is not Rank.BARE:
        return fact.ended
    times = f"{container.get('restartCount', 0)} times"
    return replace(fact.ended, reason=End.CRASH_LOOP.value, message=f"{fact.ended.message}, {times}")


def _loops(container: dict[str, Any]) -> bool:
    return (container.get("state", {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff"


def _last_words(container: dict[str, Any]) -> str:
    before = container.get("lastState", {}).get("terminated") or {}
    words = before.get("message") or (container.get("state", {}).get("waiting") or {}).get("message") or ""
    return f"exit code {before.get('exitCode', 'unknown')} {str(words)[-_WORDS:]}".strip()


def _of_waiting_container(container: dict[str, Any], pod: str) -> Iterator[Wait]:
    waiting = container.get("state", {}).get("waiting") or {}
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    said = f"{reason}: {message}".strip(": ")
    if reason in _PULLS:
        kind = next((k for k in _PULL_KINDS if k.pattern.search(said)), _ANY_PULL)
        text = f"pod {pod} cannot get image {container.get('image')}: {kind.text} ({said[:_WORDS]})"
        yield Wait(text, kind.refused, kind.late, weight=8 if kind.refused else 7)
    elif reason == "ContainerCreating":
        yield Wait(f"pod {pod}: {_SANDBOX}" + (f" ({message[:_WORDS]})" if message else ""))
    elif reason not in ("", "CrashLoopBackOff", "PodInitializing"):
        problem = next((p for p in _PROBLEMS if p.pattern.search(said)), None)
        if problem is not None:
            yield Wait(f"pod {pod}: {said[:_WORDS]}", problem.refused, problem.late, weight=8 if problem.refused else 7)
        else:
            yield Wait(f"pod {pod}: {said[:_WORDS]}", weight=2)


def _devices(pod: Pod) -> set[str]:
    """Names of the extended resources that it asks for, GPUs among them."""
    asked = [c.get("resources") or {} for c in pod.get("spec", {}).get("containers") or []]
    return {name for resources in asked for name in resources.get("limits") or {} if "/" in name}


def _of_condition(condition: dict[str, Any], pod: str, devices: set[str]) -> Iterator[Wait]:
    kind, reason, message = (str(condition.get(k) or "") for k in ("type", "reason", "message"))
    if kind == "PodScheduled" and reason == "Unschedulable":
        yield _unschedulable(f"pod {pod} waits for a node: {message}".strip(), message, devices)
    elif kind == "PodScheduled" and reason == "SchedulingGated":
        yield Wait(f"pod {pod} is held back by a scheduling gate (a queue): {message}", reason=Reason.QUEUED, weight=7)
    elif kind == KUBELET:
        missing = _MISSING.search(message) is not None
        late = Cause.APP if missing else Cause.INFRA
        yield Wait(f"pod {pod}: {reason}: {message[:_WORDS]}", missing, late, weight=8 if missing else 7)
    elif kind == "PodScheduled" and reason and condition.get("status") != "True":
        yield Wait(f"pod {pod} is not scheduled: {reason}: {message}", weight=5)
    elif kind == "Ready" and condition.get("status") == "False" and reason != "PodCompleted":
        yield Wait(f"pod {pod} is not ready yet: {message or reason}", weight=0)
    elif kind == "PodReadyToStartContainers" and condition.get("status") == "False":
        yield Wait(f"pod {pod}: {_SANDBOX}")


def _unschedulable(text: str, message: str, devices: set[str]) -> Wait:
    """Capacity, unless only a person can make a node fit. An autoscaler may make one that matches a selector.

    Where nodes with the wanted devices keep off whoever does not tolerate that, others may still become free; mostly
    those others have no such devices, which the scheduler does not say.
    """
    nodes = _NODES.search(message) or _PASSING_TAINT.search(message)
    barred = nodes is None and _TAINTED.search(message) is not None
    if barred or not devices.isdisjoint(_TAINT_KEY.findall(message)):
        text += "; add tolerations (config.<flavour>.<role>.pod.tolerations, or podTemplate.tolerations)"
    if barred:
        return Wait(text, True, Cause.APP, Reason.CAPACITY, weight=6)
    if _MISSING.search(message):
        return Wait(text, True, Cause.APP, Reason.CAPACITY, weight=6)
    if nodes is None and re.search(r"[Pp]ersistent[Vv]olume|volume node affinity|volume\(s\)", message):
        return Wait(text, reason=Reason.CAPACITY, weight=6)
    return Wait(text, late=Cause.CAPACITY, reason=Reason.CAPACITY, weight=6)
