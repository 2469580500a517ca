"""Seconds per step, printed as they pass and optionally written as JSON."""

from __future__ import annotations

import json
import time
from pathlib import Path


class StepClock:
    """Measures from its creation; safe to call from several threads."""

    def __init__(self) -> None:
        """Start the clock."""
        self._start = time.monotonic()
        self.seconds: dict[str, float] = {}

    def step(self, name: str) -> None:
        """Note that `name` is done now."""
        self.seconds[name] = round(time.monotonic() - self._start, 2)
        print(f"{self.seconds[name]:7.1f} s  {name}", flush=True)

    def finish(self, file: Path | None) -> None:
        """Write {"steps": {name: seconds since the start}, "total_s": seconds} if a file is asked for."""
        if file:
            total = round(time.monotonic() - self._start, 2)
            file.write_text(json.dumps({"steps": self.seconds, "total_s": total}, indent=1) + "\n")
