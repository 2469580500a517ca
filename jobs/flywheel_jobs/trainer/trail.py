"""What can be looked at while a training runs: a record of every step, and TensorBoard's files, in the store.

Both lie under the training's content, so that who goes on with it goes on with them; TensorBoard is told from which
step on an attempt draws anew. A store that is away costs a look, never a step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, StepRecord
from flywheel_api.results import CurvePoint
from flywheel_jobs.core.errors import StoreProblem
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.harness.attempt import Attempt

FILE_BYTES = 1 << 20  # a file that is written again after every step stays small; TensorBoard reads one after the other
log = get_logger(__name__)


class Trail:
    """The steps of an attempt, as they come."""

    def __init__(self, attempt: Attempt, folder: Path) -> None:
        self._attempt = attempt
        self._namespace = attempt.owner.namespace
        self._board = Board(folder)
        # TensorBoard reads a directory's files in the order of their names
        self._name = f"events.out.tfevents.{int(time.time()):010d}.{attempt.owner.uid[:8]}-a{attempt.number:03d}"
        self._uploaded: dict[Path, int] = {}
        self._draws = True

    def numbers(self, step: int, numbers: Mapping[str, float]) -> None:
        """Everything that verl reports of a step, by its names."""
        try:
            if self._draws:
                self._board.add(step, numbers)
        except ImportError as error:  # verl's own requirements bring it; an image may have left it out
            self._draws = False
            log.warning("no TensorBoard files are written", error=str(error))

    def step(self, point: CurvePoint, samples: FileEntry | None) -> None:
        """A step with what its trajectories say of it."""
        attempt = self._attempt
        record = StepRecord(owner=attempt.owner, attempt=attempt.number, point=point, samples=samples)
        try:
            attempt.store.put_json(artifacts.step_key(self._namespace, attempt.content_key, point.step), record)
            self._send()
        except StoreProblem as problem:
            log.warning("a step's record was not written", step=point.step, error=str(problem))

    def _send(self) -> None:
        prefix = artifacts.board_prefix(self._namespace, self._attempt.content_key)
        for number, path in enumerate(self._board.files()):
            data = path.read_bytes()
            if len(data) != self._uploaded.get(path):
                self._attempt.store.put_bytes(f"{prefix}{self._name}.{number:05d}", data)
                self._uploaded[path] = len(data)


class Board:
    """TensorBoard's event files in a folder, made when there is something to write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        self._number = self._written = 0

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds the finite numbers of a step."""
        from tensorboard.compat.proto import event_pb2, summary_pb2

        values = [
            summary_pb2.Summary.Value(tag=name, simple_value=value)
            for name, value in sorted(numbers.items())
            if math.isfinite(value)
        ]
        first = self._writer is None
        if first or self._written > FILE_BYTES:
            self._open()
        if first:  # later points of an attempt that was lost are not this training's
            again = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(event_pb2.Event(wall_time=time.time(), step=step, session_log=again))
        self._write(event_pb2.Event(wall_time=time.time(), step=step, summary=summary_pb2.Summary(value=values)))
        self._writer.flush()

    def files(self) -> list[Path]:
        """The files so far, the oldest first."""
        return sorted(self._folder.glob("*/events.*")) if self._folder.is_dir() else []

    def _open(self) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        if self._writer is not None:
            self._writer.close()
        self._writer, self._written = EventFileWriter(str(self._folder / f"{self._number:05d}")), 0
        self._number += 1

    def _write(self, event: Any) -> None:
        self._writer.add_event(event)
        self._written += event.ByteSize()
