"""Truths and tasks of the rows that train, checked before a cluster runs on them: by these rewards are computed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from flywheel_api.records.prompt import Prompt
from flywheel_api.results import CurvePoint
from flywheel_api.rljob import RewardType, RLJobSpec
from flywheel_jobs.agentic.right import right_of, summary
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.reading.equality import checkable
from flywheel_jobs.reading.final import truth
from flywheel_jobs.reasoning.truths import CONVENTION
from flywheel_jobs.trainer.trajectory import task_of

log = get_logger(__name__)
MAX_UNREADABLE = 0.05  # of the rows of a file; more, and the file writes its answers in a way that is not understood
NOTHING_RIGHT = "nothing was right so far"
ASKED = ": does the prompt ask for an answer that the reward reads (docs/answers.md)?"


def check(path: Path, spec: RLJobSpec, shelf: Shelf) -> None:
    """Raises ValidationFailure for a file whose rows the reward of this run cannot score, naming the first such row."""
    kind = spec.reward.type
    if kind is RewardType.MATH:
        check_truths(path.name, _column(path, "reward_model"))
    elif kind is RewardType.STATE_DIFF and spec.agent_loop is not None:
        for number, row in enumerate(_rows(path), start=1):
            check_task(f"row {number} of {path.name}", row, shelf)


def check_truths(name: str, rewards: Iterable[Any]) -> None:
    """Truths of the Math reward: text or number, understood by the reader, equal to themselves."""
    bad, rows, first = 0, 0, ""
    for rows, value in enumerate(rewards, start=1):
        found = value.get("ground_truth") if isinstance(value, Mapping) else None
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            raise ValidationFailure(
                f"row {rows} of {name}: reward_model.ground_truth is {type(found).__name__}, give text or a number",
                reason="InvalidDataset",
            )
        if not checkable(truth(str(found))):
            bad, first = bad + 1, first or f"row {rows}: {str(found)[:80]!r}"
    if bad > MAX_UNREADABLE * rows:
        raise ValidationFailure(
            f"{bad} of {rows} truths of {name} cannot be compared with any answer, such as {first}: reward Math reads "
            f"{CONVENTION}",
            reason="InvalidDataset",
        )
    if bad:
        log.warning("truths that no answer can meet", file=name, rows=bad, of=rows, first=first)


def check_task(where: str, row: Mapping[str, Any], shelf: Shelf) -> None:
    """A task that can be played: it parses, its package is here, and what is right in it is what its record says."""
    try:
        task = task_of(Prompt.read(row))
        found = summary(right_of(shelf, task))
    except ValidationFailure as error:
        raise ValidationFailure(f"{where}: {error}", reason="InvalidDataset") from error
    if task.right.state and found.state != task.right.state:
        raise ValidationFailure(
            f"{where}: its package and case lead to other tables than the record says: it was made by another version",
            reason="InvalidDataset",
        )


def nothing_right(points: Iterable[CurvePoint], reward: RewardType) -> str:
    """What is said where no trajectory of these steps was right; empty where one was, or where nothing says so."""
    said = [p.success if p.success is not None else p.reward_max for p in points]
    known = [value for value in said if value is not None]
    if not known or max(known) > 0.0:
        return ""
    return NOTHING_RIGHT + (ASKED if reward is RewardType.MATH else "")


def _column(path: Path, name: str) -> Iterable[Any]:
    for batch in parquet.ParquetFile(path).iter_batches(columns=[name]):
        yield from batch.column(0).to_pylist()


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
        yield from batch.to_pylist()
