"""Lines and files by which verl's processes and the driver talk. No verl here.

Lines: `flywheel-<name> <JSON object>` on stdout of any Ray worker. Files, in the folder of the local checkpoints:
`.uploader` (its text: how many seconds training may wait for uploads) and `global_step_<n>/.committed`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class Signal(BaseModel):
    """What a line says."""

    model_config = ConfigDict(frozen=True)


class Groups(Signal):
    """How informative a batch was: groups in all, groups whose valid rewards were all equal, masked trajectories."""

    groups: int
    zero_variance: int
    masked: int


class Saved(Signal):
    """verl has written the checkpoint of a step, on all ranks."""

    step: int
    directory: str


class Stalled(Signal):
    """Training waited for uploads."""

    step: int
    seconds: float


_KINDS: dict[str, type[Signal]] = {"groups": Groups, "checkpoint": Saved, "stalled": Stalled}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_LINE = re.compile(r"flywheel-(groups|checkpoint|stalled) (\{.*\})\s*(?:\x1b\[[0-9;]*m)?\s*$")
_STEP = re.compile(r"global_step_(\d+)")
_UPLOADER = ".uploader"
_COMMITTED = ".committed"


def emit(signal: Signal) -> None:
    """Write a line for the driver."""
    print(f"flywheel-{_NAMES[type(signal)]} {signal.model_dump_json()}", flush=True)


def parse(line: str) -> Signal | None:
    """The signal in a line of verl's output, behind whatever prefix Ray gave it."""
    found = _LINE.search(line)
    if not found:
        return None
    try:
        return _KINDS[found[1]].model_validate_json(found[2])
    except ValidationError:
        return None


def announce_uploader(root: Path, stall_seconds: float) -> None:
    """Say that an uploader works beside training on this node, and how long training may wait for it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / _UPLOADER).write_text(f"{stall_seconds}\n")


def stall_limit(root: Path) -> float:
    """Seconds that training may wait for uploads; 0 where no uploader shares this disk."""
    try:
        return float((root / _UPLOADER).read_text())
    except (OSError, ValueError):
        return 0.0


def mark_committed(directory: Path) -> None:
    """Say that a local checkpoint is committed to the store."""
    if directory.is_dir():
        (directory / _COMMITTED).touch()


def local_steps(root: Path) -> dict[int, Path]:
    """Step to folder of the checkpoints on this disk, complete or not."""
    if not root.is_dir():
        return {}
    found = {int(m[1]): path for path in root.iterdir() if (m := _STEP.fullmatch(path.name)) and path.is_dir()}
    return dict(sorted(found.items()))


def uncommitted(root: Path, before: int) -> list[int]:
    """Steps below `before` that lie here and are not in the store yet."""
    return [step for step, path in local_steps(root).items() if step < before and not (path / _COMMITTED).exists()]
