"""Set-up steps with their seconds, and the machine's memory while they and the round run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from demo.needs import memory_kib


@dataclass
class Steps:
    """Prints each step as it starts and ends; `seconds` goes into result.json."""

    total: int
    seconds: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """Times a step; the yielded function notes what was found, e.g. that it was done already."""
        notes: list[str] = []
        print(f"[{len(self.seconds) + 1}/{self.total}] {name}", flush=True)
        begun = time.monotonic()
        yield notes.append
        self.seconds[name] = round(time.monotonic() - begun, 1)
        note = f": {', '.join(notes)}" if notes else ""
        print(f"      done in {self.seconds[name]:.1f} s{note}", flush=True)


class MemoryWatch:
    """Peak of the memory in use on the machine, read every second: MemTotal - MemAvailable in GB."""

    def __init__(self, every_s: float = 1.0) -> None:
        self.before = self._used()
        self.peak = self.before
        self._every = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @staticmethod
    def _used() -> float:
        return (memory_kib("MemTotal") - memory_kib("MemAvailable")) * 1024 / 1e9

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self.peak = max(self.peak, self._used())

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def facts(self) -> dict[str, float]:
        """GB in use at the start and at most."""
        return {"before_gb": round(self.before, 2), "peak_gb": round(self.peak, 2)}
