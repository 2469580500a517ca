"""What a round's status says, as lines for a person. Pure: JSON of the object and the time in, text out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cluster.kube import condition

# Seconds that stages take on two cores; only for the overall percentage, where a rough figure is better than none.
TYPICAL_SECONDS = {
    "Preflight": 1,
    "Prepare": 2,
    "ImportModel": 1,  # skipped: the demo's base is in the store
    "ServeBase": 118,
    "EvaluateBase": 47,
    "MineReasoning": 32,
    "SynthesizeReasoning": 4,
    "VerifyReasoning": 6,
    "MeasureReasoning": 90,
    "SeedAgentic": 41,
    "ExpandAgentic": 3,
    "InvertAgentic": 3,
    "SolveAgentic": 3,
    "Package": 2,
    "TrainReasoning": 437,
    "TrainAgentic": 346,
    "ServeCandidate": 78,
    "EvaluateCandidate": 20,
    "Gate": 2,
    "Export": 1,  # skipped: the demo's round asks for none
    "Report": 2,
}
DONE = ("Succeeded", "Skipped")
ACTIVE = ("Running", "Waiting")
# at the start only: what a stage waits for has numbers of its own ("retrying, 2 of 120 s")
_PART = re.compile(r"(?:\w+ )?(?:step )?(\d+)(?:/| of )(\d+)")

Json = Mapping[str, Any]


def parse_time(text: str | None) -> datetime | None:
    """A Kubernetes timestamp."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def seconds_between(start: str | None, end: str | None, now: datetime) -> float | None:
    """Seconds from start to end, or to now while there is no end."""
    begun = parse_time(start)
    if begun is None:
        return None
    return max(0.0, ((parse_time(end) or now) - begun).total_seconds())


def clock(seconds: float | None) -> str:
    """`0:07`, `12:05`, `1:02:05`."""
    if seconds is None:
        return "-"
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def fraction(text: str) -> float | None:
    """`VerifyReasoning 12/40 items` or `step 3 of 12` as a fraction; None when the text begins otherwise."""
    found = _PART.match(text or "")
    if not found or int(found.group(2)) == 0:
        return None
    return min(1.0, int(found.group(1)) / int(found.group(2)))


def guess(stage: Json, now: datetime) -> float:
    """How much of a running stage is done: what its text says, else its time against the typical one, at most 0.95."""
    said = fraction(stage.get("progress", ""))
    if said is not None:
        return said
    took = seconds_between(stage.get("startedAt"), None, now) or 0.0
    return min(0.95, took / TYPICAL_SECONDS.get(stage["name"], 10))


def overall(status: Json, now: datetime) -> int:
    """Percent of the round's typical work that is done."""
    total = done = 0.0
    for stage in status.get("stages") or []:
        weight = TYPICAL_SECONDS.get(stage["name"], 10)
        total += weight
        if stage.get("state") in DONE:
            done += weight
        elif stage.get("state") in ACTIVE:
            done += weight * guess(stage, now)
    return int(100 * done / total) if total else 0


def verdict(resource: Json) -> str | None:
    """Promoted, Held or Failed once the round is over; a round that can never go on counts as Failed."""
    status = resource.get("status", {})
    if status.get("finishedAt") and status.get("verdict"):
        return str(status["verdict"])
    ready = condition(resource, "Ready")
    if ready.get("status") == "False" and ready.get("reason") == "Failed":
        return "Failed"
    return None


def stuck(resource: Json) -> str | None:
    """The message of the condition that a person must act on, e.g. a failed preflight."""
    for kind in ("Stalled", "Preflight", "StorageReady", "EndpointsAvailable", "BudgetAvailable"):
        found = condition(resource, kind)
        bad = "True" if kind == "Stalled" else "False"
        if found.get("status") == bad and found.get("reason") not in ("Pending", "NotStalled", "Running", "Waiting"):
            return f"{found.get('reason')}: {found.get('message')}"
    return None


def stage_line(stage: Json, now: datetime) -> str:
    """One running stage: name, its time, what it is doing."""
    took = clock(seconds_between(stage.get("startedAt"), None, now))
    attempt = f" (attempt {stage['attempt']})" if stage.get("attempt", 1) > 1 else ""
    done = fraction(stage.get("progress", ""))
    percent = f" {100 * done:3.0f} %" if done is not None else "      "
    state = "" if stage.get("state") == "Running" else f"{str(stage.get('state', '')).lower()}: "
    doing = str(stage.get("progress") or "starting").removeprefix(f"{stage['name']}: ")
    return f"{stage['name'] + attempt:<22}{took:>8}{percent}  {state}{doing}"


def block(resource: Json, now: datetime) -> list[str]:
    """The round as a few lines: the head, then one for each stage at work, then what needs a person."""
    status = resource.get("status", {})
    name = resource["metadata"]["name"]
    states = status.get("stages") or []
    begun = status.get("startedAt") or min((s["startedAt"] for s in states if s.get("startedAt")), default=None)
    elapsed = clock(seconds_between(begun, status.get("finishedAt"), now))
    ended = sum(s.get("state") in DONE for s in states)
    lines = [f"round {name}: {overall(status, now)} %, {ended} of {len(states)} stages, {elapsed}"]
    active = [s for s in states if s.get("state") in ACTIVE]
    lines += ["  " + stage_line(s, now) for s in active]
    if not active and status.get("progress"):
        lines.append(f"  {status['progress']}")
    problem = stuck(resource)
    if problem and not any(problem.partition(": ")[2] in line for line in lines):
        lines.append(f"  ! {problem}")
    return lines


def changes(old: Json, new: Json) -> list[str]:
    """One line for each stage whose state changed between two looks."""
    before = {s["name"]: s for s in old.get("status", {}).get("stages") or []}
    lines = []
    for stage in new.get("status", {}).get("stages") or []:
        was = before.get(stage["name"], {})
        if (was.get("state"), was.get("attempt")) == (stage.get("state"), stage.get("attempt")):
            continue
        if stage.get("state") in (*DONE, "Failed") or stage.get("state") in ACTIVE:
            lines.append(ended_line(stage) if stage.get("state") not in ACTIVE else f"{stage['name']} started")
    return lines


def ended_line(stage: Json) -> str:
    """A stage that is over: its time and its counts."""
    took = seconds_between(stage.get("startedAt"), stage.get("finishedAt"), datetime.now().astimezone())
    counts = stage.get("counts") or {}
    said = f", {counts.get('in', '0')} in, {counts.get('out', '0')} out" if counts else ""
    return f"{stage['name']} {str(stage['state']).lower()} after {clock(took)}{said}"
