"""Seconds of each set-up step, printed as they pass."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Steps:
    """Two ways to note a step: `step` times a block, `passed` says what is done by now (from any thread)."""

    def __init__(self, total: int = 0) -> None:
        """Start the clock; `total`: how many blocks there will be."""
        self.seconds: dict[str, float] = {}
        self._total = total
        self._start = time.monotonic()

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Times a block; the yielded function notes what was found, e.g. that it was done already."""
        notes: list[str] = []
        print(f"[{len(self.seconds) + 1}/{self._total}] {name}", flush=True)
        begun = time.monotonic()
        yield notes.append
        self.seconds[name] = round(time.monotonic() - begun, 1)
        note = f": {', '.join(notes)}" if notes else ""
        print(f"      done in {self.seconds[name]:.1f} s{note}", flush=True)

    def passed(self, name: str) -> None:
        """Note that `name` is done now, in seconds since the start."""
        self.seconds[name] = round(time.monotonic() - self._start, 2)
        print(f"{self.seconds[name]:7.1f} s  {name}", flush=True)

    def write(self, file: Path | None) -> None:
        """Write {"steps": {name: seconds}, "total_s": seconds since the start} if a file is asked for."""
        if file:
            total = round(time.monotonic() - self._start, 2)
            file.write_text(json.dumps({"steps": self.seconds, "total_s": total}, indent=1) + "\n")
