"""The machine's memory while the demo runs."""

from __future__ import annotations

import threading
from pathlib import Path


def memory_kib(name: str = "MemTotal", text: str | None = None) -> int:
    """A line of /proc/meminfo in KiB; 0 if it is not there."""
    content = Path("/proc/meminfo").read_text() if text is None else text
    for line in content.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    return 0


class MemoryWatch:
    """Peak of the memory in use on the machine, read every second: MemTotal - MemAvailable in GB."""

    def __init__(self) -> None:
        self.before = self._used()
        self.peak = self.before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @staticmethod
    def _used() -> float:
        return (memory_kib("MemTotal") - memory_kib("MemAvailable")) * 1024 / 1e9

    def _watch(self) -> None:
        while not self._stop.wait(1):
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
