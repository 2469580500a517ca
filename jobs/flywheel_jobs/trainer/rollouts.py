"""Trajectories of training as a dataset: what the next round mines and expands."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from flywheel_api.artifacts import FileEntry
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import CurvePoint, OutcomeReward
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer.nodes import Nodes
from flywheel_jobs.trainer.trajectory import line_of

PREFIX = "rollouts/"


def read_step(root: str, step: int) -> list[str]:
    """The JSON lines that this node's workers recorded for a step."""
    folder = Path(root) / f"step-{step}"
    lines: list[str] = []
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        lines += [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines


def gather(nodes: Nodes, root: Path, step: int) -> list[Trajectory]:
    """All trajectories of a step from all nodes, in a stable order."""
    found = [Trajectory.model_validate_json(line) for lines in nodes.each(read_step, str(root), step) for line in lines]
    return sorted(found, key=lambda t: (t.item, t.id))


def store_step(store: Store, step: int, trajectories: Sequence[Trajectory]) -> FileEntry:
    """Stores a step's trajectories as one blob."""
    sha, size = store.put_blob("".join(line_of(t) + "\n" for t in trajectories).encode())
    return FileEntry(
        path=f"{PREFIX}step-{step}.jsonl",
        sha256=sha,
        size=size,
        records=len(trajectories),
        record_schema=Trajectory.schema_name(),
    )


def step_of(entry: FileEntry) -> int:
    """The step of a file of trajectories."""
    return int(entry.path.rpartition("-")[2].removesuffix(".jsonl"))


def summary(step: int, trajectories: Sequence[Trajectory]) -> CurvePoint:
    """What trajectories add to a step's point: reward of those that count, masked ones, reward by expected outcome."""
    by: dict[str, list[float]] = defaultdict(list)
    for t in trajectories:
        if t.score is not None and t.outcome:
            by[t.outcome].append(t.score)
    return CurvePoint(
        step=step,
        trajectories=len(trajectories),
        masked=sum(t.masked for t in trajectories),
        reward=_mean([t.score for t in trajectories if t.score is not None]),
        # the reward may give something for form; this is what evaluation counts
        success=_mean([t.correct for t in trajectories if t.score is not None and t.correct is not None]),
        by_outcome={name: OutcomeReward(reward=statistics.fmean(v), n=len(v)) for name, v in sorted(by.items())},
    )


def _mean(values: Sequence[float]) -> float | None:
    """None of nothing: a step whose trajectories were all ended by outages has no reward, not verl's reward 0."""
    return statistics.fmean(values) if values else None
