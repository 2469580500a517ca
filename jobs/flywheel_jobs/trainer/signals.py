"""Lines and files by which verl's processes and the driver talk. No verl here.

Lines: `flywheel:<mark>:<name> <JSON object>` on stdout of any process of the run. The mark is a random word of the
attempt, which verl's processes read from their environment: a line that a model or a reward wrote does not carry it.
Files, in the folder of the local checkpoints: `.uploader` (its text: how many seconds training may wait for uploads),
`.uploading` (locked while this node's files go to the store), `.committing` (locked by the driver while any node's do)
and, in `global_step_<n>`, `.uploaded` (this node's files
are in the store) and `.committed` (everybody's are).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flywheel_api.stages import SIGNALS_ENV


class Signal(BaseModel):
    """What a line says."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


class Planned(Signal):
    """verl has read the data: prompts in all, those that are short enough, and the steps that they make."""

    prompts: int
    kept: int
    steps: int


class Refused(Signal):
    """The same settings and data would fail again; the message is for people."""

    reason: str
    message: str


class Stepped(Signal):
    """What verl reports of a step, by verl's names; values may be NaN."""

    step: int
    numbers: dict[str, float]


class Groups(Signal):
    """How informative a batch was: groups in all, those whose valid rewards were all equal or differed by form only.

    `spread` is the mean standard deviation of rewards within groups; masked trajectories are in none of it.
    """

    groups: int
    zero_variance: int
    masked: int
    form_only: int = 0
    spread: float | None = None

    @property
    def informative(self) -> int:
        """Groups that carry an advantage."""
        return self.groups - self.zero_variance - self.form_only


class Saved(Signal):
    """verl has written the checkpoint of a step, on all ranks, to the run's own folder of that step."""

    step: int


class Stalled(Signal):
    """Training waited for uploads."""

    step: int
    seconds: float


_KINDS: dict[str, type[Signal]] = {
    "planned": Planned,
    "refused": Refused,
    "step": Stepped,
    "groups": Groups,
    "checkpoint": Saved,
    "stalled": Stalled,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_LINE = re.compile(r"flywheel:(\w*):(\w+) (?=\{)")
_DECODER = json.JSONDecoder()
_STEP = re.compile(r"global_step_(\d+)")
_UPLOADER = ".uploader"
_COMMITTED = ".committed"
_UPLOADED = ".uploaded"
_UPLOADING = ".uploading"
_COMMITTING = ".committing"


def emit(signal: Signal) -> None:
    """Write a line for the driver."""
    mark = os.environ.get(SIGNALS_ENV, "")
    print(f"flywheel:{mark}:{_NAMES[type(signal)]} {signal.model_dump_json()}", flush=True)


def parse(line: str, mark: str) -> list[Signal]:
    """The signals of a line of verl's output that carry the mark, whatever stands before or behind them."""
    said = []
    for found in _LINE.finditer(line):
        kind = _KINDS.get(found[2])
        if found[1] != mark or kind is None:
            continue
        try:
            said.append(kind.model_validate(_DECODER.raw_decode(line, found.end())[0]))
        except (ValueError, ValidationError, RecursionError):
            continue
    return said


def announce_uploader(root: Path, stall_seconds: float) -> None:
    """Say that uploads go on beside training, and how long training may wait for them. Runs on every node."""
    root.mkdir(parents=True, exist_ok=True)
    (root / _UPLOADER).write_text(f"{stall_seconds}\n")


def stall_limit(root: Path) -> float:
    """Seconds that training may wait for uploads; 0 where none was announced."""
    try:
        return float((root / _UPLOADER).read_text())
    except (OSError, ValueError):
        return 0.0


def checkpoint_folder(root: Path, step: int) -> Path:
    """verl's name for the local checkpoint of a step."""
    return root / f"global_step_{step}"


def mark_committed(directory: Path) -> None:
    """Say that training need not wait for a local checkpoint: it is in the store, or it will never be."""
    if directory.is_dir():
        (directory / _COMMITTED).touch()


@contextmanager
def uploading(directory: Path) -> Iterator[None]:
    """While this node's files of a local checkpoint go to the store: its pod waits for that before it goes."""
    with upload_lock(directory.parent).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
        (directory / _UPLOADED).touch()


def upload_lock(root: Path) -> Path:
    """The file that is locked while files go to the store."""
    return root / _UPLOADING


@contextmanager
def committing(root: Path) -> Iterator[None]:
    """While the driver has a checkpoint to bring home: the pod of the driver waits for that before it goes."""
    root.mkdir(parents=True, exist_ok=True)
    with commit_lock(root).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def commit_lock(root: Path) -> Path:
    """The file that the driver locks while a checkpoint goes to the store from any node."""
    return root / _COMMITTING


def is_away(directory: Path) -> bool:
    """Whether this node's files of a local checkpoint are in the store, or will never be."""
    return (directory / _UPLOADED).exists() or (directory / _COMMITTED).exists()


def forget(directory: Path) -> None:
    """Delete a local checkpoint."""
    shutil.rmtree(directory, ignore_errors=True)


def drop_committed(root: Path, before: int) -> None:
    """Delete the local checkpoints below a step that are in the store.

    A node's disk holds two at most, and the one resumed from until the next is committed.
    """
    for step, path in local_steps(root).items():
        if step < before and (path / _COMMITTED).exists():
            forget(path)


def local_steps(root: Path) -> dict[int, Path]:
    """Step to folder of the checkpoints on this disk, complete or not."""
    if not root.is_dir():
        return {}
    found = {int(m[1]): path for path in root.iterdir() if (m := _STEP.fullmatch(path.name)) and path.is_dir()}
    return dict(sorted(found.items()))


def uncommitted(root: Path, before: int) -> list[int]:
    """Steps below `before` that lie here and are not in the store yet."""
    return [step for step, path in local_steps(root).items() if step < before and not (path / _COMMITTED).exists()]
