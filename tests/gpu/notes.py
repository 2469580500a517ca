"""What a part of the check finds, on disk after every line; and what the parts share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

FW = Path(os.environ.get("FW", "/tmp/fw"))
MODEL = FW / "model"
GB = 1e9
PART = "FW_PART"  # the mark of a part, in the environment of all that it starts
Result = dict[str, Any]


class Notes:
    """What a part found so far, on disk after every line: a kill loses nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: Result = {}
        self._lock = threading.Lock()  # an attempt's steps and its progress come from threads of their own

    def put(self, **values: Any) -> None:
        with self._lock:
            self.found.update(values)
            scratch = self.path.with_suffix(".tmp")
            scratch.write_text(json.dumps(self.found, default=str))
            scratch.replace(self.path)
        print("found:", json.dumps(values, default=str)[:2000], flush=True)

    def attempt(self, name: str, work: Callable[[], Any]) -> Any:
        started = time.monotonic()
        try:
            value = work()
            self.put(**{name: value})
            return value
        except BaseException as error:
            self.put(
                **{
                    name: {
                        "error": f"{type(error).__name__}: {error}"[:1500],
                        "after": round(time.monotonic() - started, 1),
                    }
                }
            )
            traceback.print_exc()
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            return None


def marked(mark: str) -> list[int]:
    """The processes that carry a part's mark in their environment: what it started, and what left its group."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


def kill(pids: Iterable[int]) -> None:
    """At once; one that has ended is none."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def shell(command: str) -> str:
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
    return done.stdout.strip()[-3000:]


def wait_for_model() -> None:
    """The import of the model runs beside the first parts."""
    for _ in range(180):
        if (MODEL / "done").exists():
            return
        if (FW / "model.failed").exists():
            raise RuntimeError((FW / "model.log").read_text()[-1500:])
        time.sleep(1)
    raise RuntimeError("the model folder did not appear; see model.log")
