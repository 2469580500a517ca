"""Pods of an attempt: why they do not run, or why they ended. One table for Jobs, Ray heads and workers (law 7)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from flywheel_api.artifacts import Failure
from flywheel_api.causes import CAUSE_OF_EXIT, Cause
from flywheel_operator.model import Ended

Pod = dict[str, Any]

_IMAGE_REASONS = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_DISRUPTION_REASONS = frozenset({"Evicted", "Preempting", "Preempted", "Shutdown", "NodeShutdown", "Terminated"})
_NODE_REASONS = frozenset({"NodeLost", "NodeAffinity", "UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory"})
_EXIT_TEXT = re.compile(r"exit(?:ed with)? code:? (\d+)")


def waiting_text(pods: Iterable[Pod]) -> tuple[str, bool]:
    """(why the pods do not run yet, whether a person must act). Empty when nothing is known."""
    for pod in pods:
        name = pod["metadata"]["name"]
        for status in _container_statuses(pod):
            waiting = status.get("state", {}).get("waiting") or {}
            reason = waiting.get("reason", "")
            if reason in _IMAGE_REASONS:
                image = status.get("image")
                return f"pod {name} cannot get image {image}: {reason}; check its name and the node's access", True
            if reason in _CONFIG_REASONS:
                return f"pod {name}: {reason}: {waiting.get('message', '')}".strip(), True
        for condition in pod.get("status", {}).get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
                return f"pod {name} waits for a node: {condition.get('message', '')}".strip(), False
    return "", False


def ended(pods: Iterable[Pod]) -> Ended | None:
    """Why pods ended, by the strongest fact: what the program wrote, disruption, out of memory, exit code."""
    best: Ended | None = None
    for pod in pods:
        for found in _causes(pod):
            if best is None or _STRENGTH.index(_rank(found)) < _STRENGTH.index(_rank(best)):
                best = found
    return best


_STRENGTH = ("told", "disrupted", "memory", "exit")


def _rank(found: Ended) -> str:
    if found.cause is Cause.PREEMPTED:
        return "disrupted"
    if found.reason == "OOMKilled":
        return "memory"
    return "exit" if found.reason.startswith("ExitCode") else "told"


def _causes(pod: Pod) -> Iterable[Ended]:
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            yield Ended(
                Cause.PREEMPTED,
                str(condition.get("reason", "Disrupted")),
                f"pod {name}: {condition.get('message', '')}",
            )
    if status.get("reason") in _DISRUPTION_REASONS:
        yield Ended(Cause.PREEMPTED, status["reason"], f"pod {name}: {status.get('message', '')}")
    if status.get("reason") in _NODE_REASONS:
        yield Ended(Cause.INFRA, status["reason"], f"pod {name}: {status.get('message', '')}")
    for container in _container_statuses(pod):
        state = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        code = state.get("exitCode", 0)
        if not state or code == 0:
            continue
        told = _told(state.get("message"))
        if told is not None:
            yield told
        elif state.get("reason") == "OOMKilled":
            text = f"container {container['name']} of pod {name} was killed for memory: raise its memory limit"
            yield Ended(Cause.APP, "OOMKilled", text)
        else:
            yield of_exit(code, f"container {container['name']} of pod {name}")


def of_exit(code: int, who: str) -> Ended:
    """Cause of an exit code; `who` says whose."""
    cause = CAUSE_OF_EXIT.get(code, Cause.APP)
    return Ended(cause, f"ExitCode{code}", f"{who} ended with exit code {code}")


def of_exit_text(message: str) -> Ended | None:
    """KubeRay hands the driver's exit code on in a sentence."""
    found = _EXIT_TEXT.search(message)
    return of_exit(int(found.group(1)), "the entry point") if found else None


def _told(message: str | None) -> Ended | None:
    """The line that our entry points write to /dev/termination-log."""
    if not message:
        return None
    try:
        failure = Failure.model_validate(json.loads(message.strip().splitlines()[-1]))
    except (ValueError, ValidationError, IndexError):
        return None
    return Ended(failure.cause, failure.reason, failure.message)


def _container_statuses(pod: Pod) -> list[dict[str, Any]]:
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
