"""Trajectories of training as a dataset: what the next round mines and expands."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from flywheel_api.artifacts import FileEntry
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import CurvePoint, OutcomeReward
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.reading import final
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer.nodes import Nodes
from flywheel_jobs.trainer.trajectory import line_of

PREFIX = "rollouts/"
MALFORMED = "malformed"  # how an episode ends whose agent writes calls that do not parse
log = get_logger(__name__)


@dataclass(frozen=True)
class Step:
    """The recorded trajectories of a step, and how many records could not be read."""

    trajectories: list[Trajectory]
    unreadable: int = 0


def read_step(root: str, step: int) -> list[bytes]:
    """The JSON lines that this node's workers recorded for a step. Only `\\n` ends one: texts hold all others."""
    folder = Path(root) / f"step-{step}"
    lines: list[bytes] = []
    for path in sorted(folder.glob("*.jsonl")) if folder.is_dir() else []:
        lines += [line for line in path.read_bytes().split(b"\n") if line.strip()]
    return lines


def gather(nodes: Nodes, root: Path, step: int) -> Step:
    """All trajectories of a step from all nodes, in a stable order. Records are a by-product: a bad one is counted."""
    found: list[Trajectory] = []
    lines = [line for part in nodes.each(read_step, str(root), step) for line in part]
    for line in lines:
        try:
            found.append(Trajectory.model_validate_json(line))
        except ValidationError as error:
            log.warning("a recorded trajectory cannot be read", step=step, error=str(error.errors()[0]["msg"]))
    return Step(sorted(found, key=lambda t: (t.item, t.id)), len(lines) - len(found))


def store_step(store: Store, step: int, trajectories: Sequence[Trajectory]) -> FileEntry:
    """Stores a step's trajectories as one blob."""
    sha, size = store.put_blob(b"".join(line_of(t) + b"\n" for t in trajectories))
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


def summary(step: int, found: Step) -> CurvePoint:
    """What trajectories add to a step's point: reward of those that count, masked ones, reward by expected outcome."""
    trajectories = found.trajectories
    if not trajectories:  # verl's own reward stands where no record is left to say more
        return CurvePoint(step=step, unreadable=found.unreadable)
    by: dict[str, list[float]] = defaultdict(list)
    for t in trajectories:
        if t.score is not None and t.outcome:
            by[t.outcome].append(t.score)
    return CurvePoint(
        step=step,
        trajectories=len(trajectories),
        masked=sum(t.masked for t in trajectories),
        unscored=sum(t.unscored is not None for t in trajectories),
        overlong=sum(t.masked and t.cut and t.outage is None and t.unscored is None for t in trajectories),
        unreadable=found.unreadable,
        reward=_mean([t.score for t in trajectories if t.score is not None]),
        # the reward may give something for form; this is what evaluation counts
        success=_mean([t.correct for t in trajectories if t.score is not None and t.correct is not None]),
        format_rate=_mean([formed(t) for t in trajectories]),
        distinct_answers=_distinct(trajectories),
        truncated=_mean([float(t.cut) for t in trajectories]),
        by_outcome={name: OutcomeReward(reward=statistics.fmean(v), n=len(v)) for name, v in sorted(by.items())},
    )


def formed(trajectory: Trajectory) -> float:
    """1 where what was written has the form that is asked for: an answer of the truth's kind, or calls that parse."""
    return float(trajectory.closed != MALFORMED) if trajectory.formed is None else trajectory.formed


def _distinct(trajectories: Sequence[Trajectory]) -> float | None:
    """Different final answers per trajectory; None where trajectories are episodes and not answers."""
    answers = [final.find(str(t.messages[-1].get("content"))).text for t in trajectories if not t.task and t.messages]
    return len(set(answers)) / len(answers) if answers else None


def _mean(values: Sequence[float]) -> float | None:
    """None of nothing: a step whose trajectories were all ended by outages has no reward, not verl's reward 0."""
    return statistics.fmean(values) if values else None
