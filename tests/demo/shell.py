"""Running other programs: their output goes to the screen, indented, and whole into a log file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.errors import DemoError
from demo.settings import ROOT

TAIL = 25  # lines of a failed program that are shown


def python_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for our own Python programs: the checkout's packages on the path."""
    path = os.pathsep.join(str(ROOT / part) for part in ("operator", "jobs", "tests", "images"))
    return dict(os.environ, PYTHONPATH=path, PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1") | dict(extra or {})


def stream(command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None, advice: str = "") -> None:
    """Runs a program that may take minutes, showing its lines as they come. Raises DemoError with its last lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=TAIL)
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=ROOT,
            env=dict(env) if env is not None else python_env(),
        )
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            file.flush()
            tail.append(line.rstrip())
            print(f"      {line.rstrip()}", flush=True)
        code = process.wait()
    if code:
        raise DemoError(f"`{' '.join(map(str, command))}` ended with status {code}.\n{advice}\nIts output is in {log}.")


def module(name: str, *arguments: str) -> list[str]:
    """Command line of a Python module of ours, with this interpreter."""
    return [sys.executable, "-m", name, *arguments]
