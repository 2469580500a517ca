"""When a round fails: what it says itself, what Kubernetes saw, the last lines of its pods, and where to read on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster.kube import Kubectl, condition
from demo.settings import ROOT, SYSTEM_NAMESPACE

EVENTS = 12
LOG_LINES = 20
OPERATOR = "app.kubernetes.io/name=flywheel-operator"


def _failed_stage(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    stages = status.get("stages") or []
    return next((s for s in stages if s.get("state") == "Failed"), None) or next(
        (s for s in stages if s.get("state") in ("Running", "Waiting")), None
    )


def _pods_of(kube: Kubectl, namespace: str, child: str) -> list[str]:
    names = [p["metadata"]["name"] for p in kube.list("pods", namespace)]
    return [n for n in names if n.startswith(child)]


def lines(kube: Kubectl, namespace: str, resource: Mapping[str, Any]) -> list[str]:
    """What a person needs to decide what to do."""
    status = resource.get("status", {})
    name = resource["metadata"]["name"]
    ready = condition(resource, "Ready")
    out = [f"Round {name} failed: {ready.get('reason', '')}: {ready.get('message', 'no message')}"]
    for attempt in (status.get("attempts") or [])[-5:]:
        where = f"{attempt.get('stage')} attempt {attempt.get('attempt')}"
        out.append(f"  {where}: {attempt.get('cause')}: {attempt.get('message', '')}")
    stage = _failed_stage(status)
    child = (stage or {}).get("child") or {}
    out += ["", "Events:", *_events(kube, namespace)]
    if child:
        out += [
            "",
            f"Last log lines of {child.get('kind')} {child.get('name')}:",
            *_logs(kube, namespace, child["name"]),
        ]
    reason = str(ready.get("reason", "")).lower()
    out += [
        "",
        f"What the reasons mean: {ROOT / 'docs' / 'troubleshooting.md'}#{reason}",
        f"Look around:           {kube.line} -n {namespace} describe fwr {name}",
        f"The operator's log:    {kube.line} -n {SYSTEM_NAMESPACE} logs -l {OPERATOR} --tail=100",
        "`make demo` deletes this round and starts it again; finished work of other rounds stays in the store.",
    ]
    return out


def _events(kube: Kubectl, namespace: str) -> list[str]:
    _, text, _ = kube.try_run("-n", namespace, "get", "events", "--sort-by=.lastTimestamp", "--no-headers")
    return [f"  {line}" for line in text.splitlines()[-EVENTS:]] or ["  none"]


def _logs(kube: Kubectl, namespace: str, child: str) -> list[str]:
    found = []
    for pod in _pods_of(kube, namespace, child):
        _, text, _ = kube.try_run("-n", namespace, "logs", pod, "--all-containers", f"--tail={LOG_LINES}")
        found += [f"  {pod}: {line}" for line in text.splitlines()[-LOG_LINES:]]
    return found or ["  its pods are gone"]


def save(kube: Kubectl, namespace: str, folder: Path) -> None:
    """Everything that may be asked for later, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    calls = {
        "rounds.yaml": ("-n", namespace, "get", "fwr,rlp,rlj", "-o", "yaml"),
        "pods.txt": ("-n", namespace, "describe", "pods"),
        "ray.yaml": ("-n", namespace, "get", "rayjobs,rayservices,rayclusters", "-o", "yaml"),
        "events.txt": ("-n", namespace, "get", "events", "--sort-by=.lastTimestamp"),
        "operator.log": ("-n", SYSTEM_NAMESPACE, "logs", "-l", OPERATOR, "--tail=-1"),
    }
    for name, call in calls.items():
        _, out, err = kube.try_run(*call)
        (folder / name).write_text(out + err)
