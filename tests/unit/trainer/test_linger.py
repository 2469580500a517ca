"""A pod that is asked to go waits for its own files on their way to the store, and for nothing else."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import linger, retention, signals
from flywheel_jobs.trainer.checkpoints import upload_tree
from flywheel_store.memory import MemoryBucket


class Clock:
    """Seconds since the last byte was written; what happens while the pod waits."""

    def __init__(self, *happens: Any, limit: int = 500) -> None:
        self.seconds, self.happens, self.limit = 0.0, list(happens), limit

    def __call__(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.limit -= 1
        assert self.limit, "the pod waits for ever"
        if self.happens:
            self.happens.pop(0)()


def folder(base: Path, step: int = 3) -> Path:
    made = base / "uid-a1" / "checkpoints" / f"global_step_{step}"
    made.mkdir(parents=True)
    (made / "model.pt").write_bytes(b"x")
    os.utime(made / "model.pt", (0, 0))
    return made


def waited(base: Path, clock: Clock) -> float:
    linger.linger(base, clock, clock.sleep)
    return clock.seconds


def test_nothing_is_on_its_way(tmp_path: Path) -> None:
    assert waited(tmp_path, Clock()) == 0.0
    (folder(tmp_path) / ".uploaded").touch()
    signals.mark_committed(folder(tmp_path, 4))
    assert waited(tmp_path, Clock()) == 0.0


def test_an_upload_is_waited_for_however_long_it_takes(tmp_path: Path) -> None:
    root = folder(tmp_path).parent
    lock = signals.upload_lock(root).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    over = [lambda: None] * 399
    assert waited(tmp_path, Clock(*over, lock.close)) == 400 * linger.POLL_SECONDS


def test_an_upload_that_has_yet_to_begin_is_waited_for(tmp_path: Path) -> None:
    made = folder(tmp_path)
    assert waited(tmp_path, Clock(lambda: None, lambda: (made / ".uploaded").touch())) == 2 * linger.POLL_SECONDS


def test_nobody_takes_a_checkpoint_up_when_the_driver_is_dead(tmp_path: Path) -> None:
    folder(tmp_path)
    assert waited(tmp_path, Clock()) == linger.TAKEN_UP_SECONDS


def test_uploads_hold_the_lock_and_say_when_they_are_over(tmp_path: Path, monkeypatch: Any) -> None:
    store = Store(MemoryBucket())
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls, _environ=None: store))
    made, inside, go = folder(tmp_path), threading.Event(), threading.Event()
    put = store.put_files

    def slow(*args: Any, **more: Any) -> Any:
        inside.set()
        assert go.wait(10)
        return put(*args, **more)

    monkeypatch.setattr(store, "put_files", slow)
    work = threading.Thread(target=upload_tree, args=(str(made), retention.Referrer("n", "sha256:" + "a" * 64, "u")))
    work.start()
    assert inside.wait(10) and linger._held(signals.upload_lock(made.parent)) and not signals.is_away(made)
    go.set()
    work.join(10)
    assert not linger._held(signals.upload_lock(made.parent)) and signals.is_away(made)


def test_the_head_waits_for_what_other_nodes_upload(tmp_path: Path) -> None:
    root = tmp_path / "uid-a1" / "checkpoints"
    with signals.committing(root):
        assert linger._busy(root, 0.0)
    assert not linger._busy(root, 0.0)


def running(*pids: int, name: str = "python") -> list[linger.Running]:
    return [linger.Running(pid, name) for pid in pids]


def test_then_everything_in_the_container_is_ended(monkeypatch: Any) -> None:
    """What does not stop would hold GPUs for the rest of the grace period."""
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(os, "kill", lambda pid, sign: sent.append((pid, sign.name)))
    alive = [running(7, 8), running(8), [], []]
    linger.end_all(lambda: alive.pop(0), lambda _seconds: None)
    assert sent == [(7, "SIGTERM"), (8, "SIGTERM")]
    sent.clear()
    slept: list[float] = []
    linger.end_all(lambda: running(9), slept.append)
    assert sent == [(9, "SIGTERM"), (9, "SIGKILL")] and sum(slept) == linger.ENDING_SECONDS


def test_what_is_ray_s_is_not_waited_for(monkeypatch: Any) -> None:
    sent: list[tuple[int, str]] = []
    monkeypatch.setattr(os, "kill", lambda pid, sign: sent.append((pid, sign.name)))
    servers = [*running(5, name="gcs_server"), *running(6, name="ray::JobSupervi")]
    alive = [[*servers, *running(7)], [*servers, *running(7)], servers, servers]
    slept: list[float] = []
    linger.end_all(lambda: alive.pop(0), slept.append)
    assert sent[-2:] == [(5, "SIGKILL"), (6, "SIGKILL")] and len(sent) == 5 and len(slept) == 1


def test_the_dead_do_not_run(tmp_path: Path) -> None:
    """`ray start` buries its children late: a zombie is no reason to wait."""
    states = {"1": "S", "20": "Z", "30": "R", str(os.getpid()): "R", "40": "S"}
    for pid, state in states.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "stat").write_text(f"{pid} (ray::A (b) c) {state} 1 1")
    (tmp_path / "50").mkdir()  # gone meanwhile
    (tmp_path / "meminfo").touch()
    assert linger.everybody(tmp_path) == running(30, 40, name="ray::A (b) c")
    dead, alive = subprocess.Popen(["true"]), subprocess.Popen(["sleep", "60"])
    while Path(f"/proc/{dead.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    here = {process.pid for process in linger.everybody()}
    alive.kill()
    assert alive.pid in here and not {1, os.getpid(), dead.pid} & here
    assert alive.wait() and not dead.wait()
