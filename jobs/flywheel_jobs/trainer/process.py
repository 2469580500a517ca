"""verl as a child process: its output line by line, its last lines, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flywheel_jobs.core.logging import redact

KEPT_LINES = 400
GRACE_SECONDS = 20.0


def start_verl(
    program: Sequence[str], settings: Path, environment: Mapping[str, str], on_line: Callable[[str], None]
) -> Child:
    """A program of ours that runs verl over a file of settings; it works in a folder beside that."""
    told = {**environment, "RAY_DEDUP_LOGS": "0"}  # Ray would hold back or merge lines that look alike, ours among them
    return Child([sys.executable, *program, str(settings)], told, settings.parent / "run", on_line)


class Child:
    """A command in its own process group. `on_line` is called from a reader thread with every line of its output."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], directory: Path, on_line: Callable[[str], None]
    ) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._on_line = on_line
        directory.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            list(command),
            env={**os.environ, **environment},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name="verl-output", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                self._take(redact(raw.rstrip("\n")))

    def _take(self, line: str) -> None:
        self.lines.append(line)
        print(line, file=sys.stdout, flush=True)
        try:
            self._on_line(line)
        except Exception as error:  # a bad line must not stop the pipe, or verl would block on a full one
            print(f"flywheel: line not understood: {type(error).__name__}: {error}", file=sys.stderr, flush=True)

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def moved_bytes(self) -> int:
        """Bytes that it has read and written so far; 0 where the system does not say."""
        try:
            said = Path(f"/proc/{self._process.pid}/io").read_text()
        except OSError:
            return 0
        return sum(int(line.split()[1]) for line in said.splitlines() if line.startswith(("rchar", "wchar")))

    def wait(self) -> int:
        """Waits for its end and for all of its output."""
        code = self._process.wait()
        self._reader.join(timeout=GRACE_SECONDS)
        return code

    def stop(self) -> None:
        """Ends the whole process group: politely, then after a grace time for good."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            try:
                os.killpg(self._process.pid, sign)
                self._process.wait(timeout=GRACE_SECONDS)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
