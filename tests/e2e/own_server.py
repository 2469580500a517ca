"""A real server of another project, run by a Python of its own while tests ask it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.process import die_with_parent, wait_for


def python_of(variable: str) -> str:
    """The Python that `make e2e` made for such a server; without it the test is skipped."""
    found = os.environ.get(variable)
    if not found:
        pytest.skip(f"{variable} names no environment: `make e2e` makes one")
    return found


@contextmanager
def running(
    what: str,
    command: Sequence[str],
    folder: Path,
    answers: Callable[[], object],
    environment: Mapping[str, str] | None = None,
    patience_s: float = 300,
) -> Iterator[None]:
    """The server, from when it `answers` (truly, and without an OSError); it ends with the block.

    It sees our environment without PYTHONPATH, so that it imports its own packages alone. `folder` is where it works.
    """
    log = folder / "server.log"
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with log.open("wb") as out:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=inherited | dict(environment or {}),
            stdout=out,
            stderr=out,
            preexec_fn=die_with_parent,
        )

    def ready() -> bool:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            return bool(answers())
        except OSError:
            return False

    try:
        wait_for(what, ready, patience_s)
        yield
    finally:
        server.terminate()
        server.wait()
