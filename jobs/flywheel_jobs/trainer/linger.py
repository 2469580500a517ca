"""preStop of a training's pods: `python -m flywheel_jobs.trainer.linger` ends when this node's checkpoints are away.

A pod that is asked to go (preemption, a drained node) keeps its grace period only as long as something of it is being
written to the store: without the last shards of one node the checkpoint of all is lost. Nobody is waited for who has
died: an upload holds a lock that the kernel takes from it, and a checkpoint that nobody takes up is old after a while.
Then everything in the container is ended: what does not stop by itself would hold GPUs for the rest of a grace period
that is meant for hundreds of gigabytes. Ray's own wait for a node to drain is switched off (`render/raycluster.py`):
whoever it would wait for is dead by then.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flywheel_jobs.trainer import signals
from flywheel_jobs.trainer.workspace import base_folder

POLL_SECONDS = 0.5
TAKEN_UP_SECONDS = 20.0
"""From the last byte that verl writes of a checkpoint to the start of its upload."""
ENDING_SECONDS = 10.0
FIRST = 1  # the container's own, which ends with what it waits for
NO_GOODBYE = ("gcs_server", "raylet", "ray::")
"""How names of Ray's servers and actors begin: they wait for each other longer than `ENDING_SECONDS`, and keep nothing
that anybody needs once no upload holds a lock."""


class Running(NamedTuple):
    """A process of this container and its name, at most 15 letters of it."""

    pid: int
    name: str


def linger(base: Path, now: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep) -> None:
    """Returns when nothing in the folder of any attempt is on its way to the store.

    How long that may take is Kubernetes' to say: it ends this at the end of the grace period.
    """
    while any(_busy(root, now()) for root in base.glob("*/checkpoints")):
        sleep(POLL_SECONDS)


def end_all(others: Callable[[], list[Running]], sleep: Callable[[float], None] = time.sleep) -> None:
    """Ends processes: politely, and for good those that are still there after a while."""
    _send(others(), signal.SIGTERM)
    for _ in range(int(ENDING_SECONDS / POLL_SECONDS)):
        if all(process.name.startswith(NO_GOODBYE) for process in others()):
            break
        sleep(POLL_SECONDS)
    _send(others(), signal.SIGKILL)


def everybody(proc: Path = Path("/proc")) -> list[Running]:
    """What runs in this container but the first and this one. The dead that nobody has buried do not run."""
    found = []
    for entry in proc.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            if entry.name.isdecimal() and int(entry.name) not in (FIRST, os.getpid()):
                name, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                if rest.split()[0] not in ("Z", "X"):
                    found.append(Running(int(entry.name), name))
    return sorted(found)


def _send(processes: list[Running], sign: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, sign)


def _busy(root: Path, now: float) -> bool:
    if _held(signals.upload_lock(root)) or _held(signals.commit_lock(root)):
        return True
    waiting = [path for path in signals.local_steps(root).values() if not signals.is_away(path)]
    return any(now - _written(path) < TAKEN_UP_SECONDS for path in waiting)


def _held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _written(path: Path) -> float:
    """When the last file below a folder was written."""
    times = [0.0]
    for file in path.rglob("*"):
        try:
            times.append(file.stat().st_mtime)
        except FileNotFoundError:  # it is deleted meanwhile
            continue
    return max(times)


if __name__ == "__main__":
    linger(base_folder())
    end_all(everybody)
