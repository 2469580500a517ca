"""Why a Job has no pods: the Job controller says it in Events only (kubernetes/kubernetes#90124).

Events are asked for only while a Job has no pods, and for one Job not oftener than every 15 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flywheel_operator.model import Object
from flywheel_operator.observe.attempts import Memory
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import KubeApi

_PAUSE = 15.0
_REMEMBERED = 1024


class Refusals:
    """The API server's words for a Job whose pods it refuses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = Memory[tuple[float, str]](_REMEMBERED)

    async def of(self, kube: KubeApi, job: Object) -> str:
        """Message of the newest FailedCreate event of this Job; empty without one, or without the right to see it."""
        uid = job["metadata"]["uid"]
        known = self._said.get(uid)
        if known is not None and self._clock() - known[0] < _PAUSE:
            return known[1]
        try:
            events = await kube.events(job["metadata"]["namespace"], uid)
        except Forbidden:  # an installation whose role is older than this question
            events = []
        failed = [event for event in events if event.get("reason") == "FailedCreate"]
        newest = max(failed, key=_moment, default={})
        text = str(newest.get("message", "")).removeprefix("Error creating: ")
        self._said.put(uid, (self._clock(), text))
        return text


def _moment(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
