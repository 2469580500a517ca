"""Programs as processes of their own that are forked from one that has imported them.

The operator, or a stage, takes two seconds of CPU to import what it needs, and tenths of one for what a test has it do.
What only a command of its own shows (imports, memory) is for those tests that start one.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.process import die_with_parent

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["flywheel_jobs.stages.main", *(f"flywheel_operator.{m}" for m in ("app", "config_file", "runtime", "ports.store"))]
)


def _carry_out(module: str, arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
    """As `python -m module arguments`, with both its outputs in the log."""
    die_with_parent()
    with log.open("ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a forked process leaves without them


class Forked:
    """A running program, with what tests use of a Popen."""

    def __init__(self, module: str, *arguments: str, environ: Mapping[str, str], log: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=f"{module}-")
        self.log = log or Path(self._folder.name) / "log"
        self._process = _CONTEXT.Process(target=_carry_out, args=(module, arguments, dict(environ), self.log))
        self._process.start()
        self.kill, self.terminate = self._process.kill, self._process.terminate

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """What it ended with."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """What it has ended with, None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> str:
        """Its log, when it has ended. Raises TimeoutError."""
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutError(f"{self.log.name} still runs after {timeout} s:\n{self.log.read_text()[-3000:]}")
        text = self.log.read_text()
        self._folder.cleanup()
        return text
