"""What is said in Events only: of Jobs without pods, of pods that kubelet cannot set up, of claims without a volume.

Why a Job has no pods stands nowhere else (kubernetes/kubernetes#90124).

Events are asked for only while a Job has no pods, a pod stands still between its node and its first container, or a
claim is not bound. The API server reads all Events of a namespace for each such question: one is asked for all Jobs of
a namespace every 5 s, and one for a pod or a claim every 15 s, of many pods that stand still for a few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from flywheel_api.base import parse_time
from flywheel_operator.model import Object
from flywheel_operator.observe.attempts import Memory
from flywheel_operator.observe.pods import container_statuses
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import KubeApi

_PAUSE = 15.0  # seconds between two questions about a pod or a claim
_JOBS_PAUSE = 5.0  # the same about the Jobs of a namespace
_REMEMBERED = 1024
_PODS = 3  # of those that stand still: what keeps one keeps most
_STILL = 20.0  # seconds on a node without a container: most pods are further by then
_SETTING_UP = frozenset({"ContainerCreating", "PodInitializing"})
_FAILURES = frozenset({
    "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "FailedPrepareDynamicResources",
    "NetworkNotReady", "FailedToCreateEndpoint", "FailedSync",
})  # fmt: skip
KUBELET = "flywheel.dev/KubeletSays"
"""Type of the condition that a pod gets here with kubelet's words, which Kubernetes keeps in Events."""


class Words:
    """The words of the API server for a Job whose pods it refuses, and of kubelet for pods that it cannot set up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = Memory[tuple[float, list[Object]]](_REMEMBERED)

    async def of(self, kube: KubeApi, job: Object) -> str:
        """Message of the newest FailedCreate event of this Job; empty without one, or without the right to see it."""
        namespace, uid = job["metadata"]["namespace"], job["metadata"]["uid"]
        asked = {"involvedObject.kind": job["kind"], "reason": "FailedCreate"}
        failed = await self._events(kube, namespace, asked, _JOBS_PAUSE)
        newest = max((event for event in failed if event["involvedObject"].get("uid") == uid), key=moment, default={})
        return str(newest.get("message", "")).removeprefix("Error creating: ")

    async def with_kubelet(self, kube: KubeApi, pods: list[Object], now: datetime) -> list[Object]:
        """The pods; those that stand still with what kubelet cannot do for them, if that was its newest word."""
        still = [(p["metadata"]["namespace"], p["metadata"]["uid"]) for p in pods if _stands_still(p, now)][:_PODS]
        said = {uid: await self._events(kube, space, {"involvedObject.uid": uid}, _PAUSE) for space, uid in still}
        return [_with_words(pod, said.get(pod["metadata"].get("uid"), [])) for pod in pods]

    async def newest(self, kube: KubeApi, namespace: str, uid: str) -> Object:
        """The last event about an object; empty without one."""
        return max(await self._events(kube, namespace, {"involvedObject.uid": uid}, _PAUSE), key=moment, default={})

    async def _events(self, kube: KubeApi, namespace: str, fields: dict[str, str], pause: float) -> list[Object]:
        key = (namespace, *fields.values())
        known = self._said.get(key)
        if known is not None and self._clock() - known[0] < pause:
            return known[1]
        try:
            events = await kube.events(namespace, fields)
        except Forbidden:  # an installation whose role is older than this question
            events = []
        self._said.put(key, (self._clock(), events))
        return events


def _stands_still(pod: Object, now: datetime) -> bool:
    status = pod.get("status") or {}
    began = status.get("startTime")
    if status.get("phase") != "Pending" or not began or (now - parse_time(began)).total_seconds() < _STILL:
        return False
    states = [s.get("state") or {} for s in container_statuses(pod)]
    return all(state.keys() <= {"waiting"} for state in states) and all(
        (state.get("waiting") or {}).get("reason", "ContainerCreating") in _SETTING_UP for state in states
    )


def _with_words(pod: Object, events: list[Object]) -> Object:
    newest = max(events, key=moment, default={})
    if newest.get("reason") not in _FAILURES:
        return pod
    condition = {"type": KUBELET, "status": "False", "reason": newest["reason"], "message": newest.get("message", "")}
    status = pod["status"]
    return {**pod, "status": {**status, "conditions": [*(status.get("conditions") or []), condition]}}


def moment(event: Object) -> str:
    """When an event was seen last."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
