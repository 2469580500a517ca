"""Pods of an attempt: why they ended. One table for Jobs, Ray heads and workers (law 7).

Evidence has ranks. First what our own container told, then how it was killed, then the pod's conditions, what is known
of its last words, a device that kubelet calls unhealthy, then a bare exit code. Containers that are not ours (a mesh's
proxy, a log shipper) are no evidence. What a container had ended with before it was started again counts as well, its
exit code last of all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from pydantic import ValidationError

from flywheel_api import signs
from flywheel_api.artifacts import Failure
from flywheel_api.base import parse_time
from flywheel_api.bounds import quantity
from flywheel_api.causes import CAUSE_OF_EXIT, Cause, ExitCode
from flywheel_api.ends import MEANINGS, End
from flywheel_operator.model import Ended

Pod = dict[str, Any]

OURS = frozenset({"stage", "ray-head", "ray-worker", "fetch-model"})
_DISRUPTIONS = frozenset({"Evicted", "Preempting", "Preempted", "Shutdown", "NodeShutdown", "Terminated"})
_OWN_LIMIT = re.compile(  # kubelet's three; evictions for the node's sake say "The node was low on resource"
    r"EmptyDir volume \"(?P<volume>[^\"]*)\" exceeds the limit|ephemeral local storage usage exceeds the total limit|"
    r"exceeded its local ephemeral storage limit"
)
_ENDING = timedelta(minutes=5)  # kubelet may be slow to confirm an end; a node that is gone never does
_LOW = re.compile(r"low on resource: (cpu|memory|ephemeral-storage)\b")  # the others can be requested by nobody
NO_COMMAND = re.compile(  # what nvidia's runtime cannot execute is the node's matter
    r"\A(?!.*nvidia).*(?:exec format error|executable file not found|exec:? [\"/].*(?:no such file|permission denied)|"
    r"python\S*: can't open file|chdir to cwd \()",
    re.S,
)
_RUNTIME = frozenset({"StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError"})
_LOST = frozenset({"ContainerStatusUnknown", "Unknown"})
_SIGNALS = {
    132: End.WORKER_CRASHED, 134: End.WORKER_CRASHED, 136: End.WORKER_CRASHED, 137: End.KILLED,
    139: End.WORKER_CRASHED,
}  # fmt: skip
"""Ends of whose signal nothing else is known: of a Ray cluster's pods they count less than what KubeRay says."""
_SIZE_OF_VOLUME = {"model": "modelDirSize", "shm": "shmSize"}


class Rank(IntEnum):
    """Of evidence, the strongest first."""

    TOLD = 0
    KILLED = 1
    POD = 2
    READ = 3
    DEVICE = 4
    EXIT = 5
    BARE = 6
    EARLIER = 7


@dataclass(frozen=True)
class Evidence:
    """One fact of one pod. `at` is when a container ended: of two equal facts the earlier is the cause."""

    rank: Rank
    ended: Ended
    at: str = "9"


def evidence(pods: Iterable[Pod]) -> Evidence | None:
    """The strongest fact of these pods."""
    found = [fact for pod in pods for fact in _facts(pod)]
    return min(found, key=lambda fact: (fact.rank, fact.at)) if found else None


def ended(pods: Iterable[Pod]) -> Ended | None:
    """Why these pods ended; None when nothing shows it."""
    found = evidence(pods)
    return found.ended if found is not None else None


def at_node(ended: Ended, pods: Iterable[Pod]) -> Ended:
    """The same with the name of the node in place of the pod's address that the program knows; none if it is gone."""
    if ended.node is None:
        return ended
    names = (p.get("spec", {}).get("nodeName") for p in pods if p.get("status", {}).get("podIP") == ended.node)
    node = next((str(name) for name in names if name), None)
    return replace(ended, node=node, message=f"on node {node}: {ended.message}" if node else ended.message)


def gpu_fault(pods: Sequence[Pod]) -> Ended | None:
    """The failure of a GPU that ended a container of these pods, with the address of its pod; else what kubelet says.

    Kubelet's word counts where nothing stronger is known of these pods.
    """
    for pod in pods:
        for fact in _facts(pod):
            if fact.rank < Rank.EARLIER and fact.rank is not Rank.DEVICE and fact.ended.reason == End.GPU_FAULT:
                return replace(fact.ended, node=fact.ended.node or pod["status"].get("podIP"))
    found = evidence(pods)
    return found.ended if found is not None and found.rank is Rank.DEVICE else None


def known(end: End, who: str, words: object = "", advice: str = "") -> Ended:
    """An end with its meaning; `who` it happened to, and Kubernetes' own words."""
    said = f": {str(words).strip()}" if words else ""
    return Ended(MEANINGS[end].cause, end.value, f"{who}{said}: {advice or MEANINGS[end].text}")


def of_words(lines: Sequence[str], who: str = "") -> Ended | None:
    """What a program's last lines say by themselves, if they are known; `who` printed them."""
    read = signs.known(lines)
    if read is None:
        return None
    return Ended(read.cause, read.reason, f"{who}: {read.text}" if who else read.text, read.address)


def of_exit(code: int, who: str) -> Ended:
    """Cause of an exit code; `who` says whose."""
    return Ended(CAUSE_OF_EXIT.get(code, Cause.APP), f"ExitCode{code}", f"{who} ended with exit code {code}")


def held(pods: Iterable[Pod], resource: str) -> int:
    """GPUs that nodes have given to these pods: one that waits for a node holds none."""
    found = 0
    for pod in pods:
        spec, phase = pod.get("spec") or {}, (pod.get("status") or {}).get("phase")
        if spec.get("nodeName") and phase not in ("Succeeded", "Failed"):
            sizes = ((c.get("resources") or {}).get("limits") or {} for c in spec.get("containers") or [])
            found += sum(int(quantity(str(size[resource]))) for size in sizes if resource in size)
    return found


def stuck(pods: Iterable[Pod], now: datetime) -> str:
    """Which pods should have ended long ago and are still there; nothing where all go in time."""
    for pod in pods:
        meta = pod["metadata"]
        due = parse_time(meta["deletionTimestamp"]) if "deletionTimestamp" in meta else now  # its grace is over then
        if now - due > _ENDING:
            node = (pod.get("spec") or {}).get("nodeName", "")
            return (
                f"pod {meta['name']} should have ended at {meta['deletionTimestamp']} and is still there; if its node "
                f"{node} is gone, delete the node, or the pod by `kubectl delete pod {meta['name']} --force`"
            )
    return ""


def is_ours(status: dict[str, Any]) -> bool:
    """Whether a container's status is of one that Flywheel put into the pod."""
    return status.get("name") in OURS


def container_statuses(pod: Pod) -> list[dict[str, Any]]:
    """Statuses of all containers, init containers first."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _facts(pod: Pod) -> Iterator[Evidence]:
    yield from _of_pod(pod)
    for container in filter(is_ours, container_statuses(pod)):
        who = f"container {container['name']} of pod {pod['metadata']['name']}"
        now = container.get("state", {}).get("terminated")
        before = container.get("lastState", {}).get("terminated")
        fact = of_container(now or before or {}, who)
        if fact is not None and fact.ended.reason == End.KILLED and _is_told_to_stop(pod, now or {}):
            fact = Evidence(Rank.EXIT, known(End.TERMINATED, who, "killed at the end of its grace period"), fact.at)
        if fact is not None and not now and fact.rank >= Rank.READ:
            fact = Evidence(Rank.EARLIER, fact.ended, fact.at)
        if fact is not None:
            yield fact
        if (device := _unhealthy(container)) is not None:
            ended = known(End.GPU_FAULT, who, f"kubelet says that its {device} is unhealthy")
            yield Evidence(Rank.DEVICE, replace(ended, node=pod["status"].get("podIP")))


def _unhealthy(container: dict[str, Any]) -> str | None:
    """A device that a container was given and that fails, by its device plugin or DRA driver (KEP-4680).

    It may pass, so that it ends nothing: it explains an end. `Unknown` says that the plugin is away, not the device.
    """
    for resource in container.get("allocatedResourcesStatus") or []:
        for device in resource.get("resources") or []:
            if device.get("health") == "Unhealthy":
                words = f" ({device['message']})" if device.get("message") else ""
                return f"{resource.get('name')} {device.get('resourceID')}{words}"
    return None


def _is_told_to_stop(pod: Pod, state: dict[str, Any]) -> bool:
    """Whether a container ended after somebody deleted its pod: what does not stop within the grace is killed."""
    meta, at = pod["metadata"], state.get("finishedAt")
    if "deletionTimestamp" not in meta or not at:
        return False
    grace = timedelta(seconds=int(meta.get("deletionGracePeriodSeconds") or 0))
    return parse_time(str(at)) >= parse_time(meta["deletionTimestamp"]) - grace


def _of_pod(pod: Pod) -> Iterator[Evidence]:
    who, status = f"pod {pod['metadata']['name']}", pod.get("status", {})
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    evicted = own_limit(pod)
    if evicted is not None:
        yield Evidence(Rank.POD, evicted)
        return
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            words = condition.get("message") or message
            yield Evidence(Rank.POD, _disrupted(who, str(condition.get("reason") or "Disrupted"), f"{words} {message}"))
            return
    if reason in _DISRUPTIONS:
        yield Evidence(Rank.POD, _disrupted(who, reason, message))
    elif reason == "DeadlineExceeded":
        yield Evidence(Rank.POD, known(End.POD_DEADLINE, who, message))
    elif reason == "NodeLost":
        yield Evidence(Rank.POD, known(End.NODE_LOST, who, message))
    elif reason and not any(c.get("state", {}).get("terminated") for c in container_statuses(pod)):
        # kubelet's admission: OutOf<resource>, UnexpectedAdmissionError, TopologyAffinityError, ... nothing was started
        yield Evidence(Rank.POD, known(End.NODE_REFUSED, who, f"{reason}: {message}"))


def own_limit(pod: Pod) -> Ended | None:
    """An eviction for a limit of the pod's own; the next pod would go the same way. None if there was none."""
    status = pod.get("status", {})
    message = str(status.get("message") or "")
    found = _OWN_LIMIT.search(message) if status.get("reason") == "Evicted" else None
    if found is None:
        return None
    return known(End.STORAGE_LIMIT, f"pod {pod['metadata']['name']}", message, _size_to_raise(found.group("volume")))


def _size_to_raise(volume: str | None) -> str:
    size = next((s for part, s in _SIZE_OF_VOLUME.items() if part in (volume or "")), None)
    return f"raise {size}, whose limit it is" if size else ""


def _disrupted(who: str, reason: str, words: str) -> Ended:
    low = _LOW.search(words)
    more = f"; raise the request of {low.group(1)}, so that the pod gets a node that has it" if low else ""
    return Ended(Cause.PREEMPTED, reason, f"{who}: {words.strip()}{more}")


def of_container(state: dict[str, Any], who: str) -> Evidence | None:
    """What a terminated container shows; None for one that ended well."""
    code, reason = int(state.get("exitCode", 0)), state.get("reason")
    message, at = str(state.get("message") or ""), str(state.get("finishedAt") or "9")
    if not state or (code == 0 and reason != "OOMKilled"):
        return None
    told = _told(message)
    if told is not None:
        return Evidence(Rank.TOLD, told, at)
    if reason == "OOMKilled" or "container init was OOM-killed" in message:
        return Evidence(Rank.KILLED, known(End.OOM_KILLED, who, f"{reason} (exit code {code})"), at)
    if code in CAUSE_OF_EXIT and code != ExitCode.APP:
        return Evidence(Rank.TOLD, of_exit(code, who), at)
    end = _end_of(code, str(reason), message)
    if end is not None:
        return Evidence(Rank.EXIT, known(end, who, f"{reason} (exit code {code}) {message[-400:]}"), at)
    read = of_words(message.splitlines(), who)
    if read is not None:
        return Evidence(Rank.READ, read, at)
    plain = known(_SIGNALS[code], who, f"exit code {code}") if code in _SIGNALS else of_exit(code, who)
    words = f"; {signs.excerpt(message.splitlines())}" if message else ""
    return Evidence(Rank.BARE, Ended(plain.cause, plain.reason, plain.message + words), at)


def _end_of(code: int, reason: str, message: str) -> End | None:
    if code in (126, 127) and reason not in _RUNTIME:
        return End.IMAGE_UNUSABLE
    if NO_COMMAND.search(message):
        return End.IMAGE_UNUSABLE
    if reason in _RUNTIME:
        return End.CONTAINER_NOT_STARTED
    if reason in _LOST:
        return End.CONTAINER_LOST
    return {135: End.SHARED_MEMORY, 143: End.TERMINATED}.get(code)


def _told(message: str) -> Ended | None:
    """The line that our entry points write to /dev/termination-log."""
    try:
        failure = Failure.model_validate(json.loads(message.strip().splitlines()[-1]))
    except (ValueError, ValidationError, IndexError):
        return None
    return Ended(failure.cause, failure.reason, failure.message, failure.node)
