"""Trajectories of training as a dataset: what the next round mines and expands."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from flywheel_api.artifacts import FileEntry
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer.nodes import Nodes

SCHEMA = "trajectory/v1"
PREFIX = "rollouts/"


def read_step(root: str, step: int) -> list[str]:
    """The JSON lines that this node's workers recorded for a step."""
    folder = Path(root) / f"step-{step}"
    lines: list[str] = []
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        lines += [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines


def gather(nodes: Nodes, root: Path, step: int) -> list[dict[str, Any]]:
    """All trajectories of a step from all nodes, in a stable order."""
    records = [json.loads(line) for lines in nodes.each(read_step, str(root), step) for line in lines]
    return sorted(records, key=lambda r: (str(r.get("item")), str(r.get("id"))))


def store_step(store: Store, step: int, records: list[dict[str, Any]]) -> FileEntry:
    """Stores a step's trajectories as one blob."""
    data = "".join(json.dumps(r, ensure_ascii=False, sort_keys=True) + "\n" for r in records).encode()
    sha, size = store.put_blob(data)
    return FileEntry(
        path=f"{PREFIX}step-{step}.jsonl", sha256=sha, size=size, records=len(records), record_schema=SCHEMA
    )


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """What trajectories add to a step's point: reward of those that count, masked ones, reward by expected outcome."""
    counted = [r for r in records if r.get("score") is not None]
    scores = [float(r["score"]) for r in counted]
    out: dict[str, Any] = {"trajectories": len(records), "masked": sum(bool(r.get("masked")) for r in records)}
    if scores:
        out["reward"] = statistics.fmean(scores)
    correct = [float(c) for r in counted if (c := (r.get("details") or {}).get("correct")) is not None]
    if correct:
        out["success"] = statistics.fmean(
            correct
        )  # the reward may give something for form; this is what evaluation counts
    by: dict[str, list[float]] = {}
    for r in counted:
        outcome = (r.get("details") or {}).get("outcome")
        if outcome is not None:
            by.setdefault(str(outcome), []).append(float(r["score"]))
    if by:
        out["byOutcome"] = {k: {"reward": statistics.fmean(v), "n": len(v)} for k, v in sorted(by.items())}
    return out
