"""Bytes of files that this process has moved to the store, from it or through a digest: what keeps it alive (law 8).

Files only (uploads, downloads that are read in pieces, and what is hashed), not the small objects that a heartbeat
writes; a byte that travels again after trouble does not count. Whoever writes progress compares `MOVED.total` with what
it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

Moved = Callable[[int], None]
"""Is told how many more bytes have moved; called from any thread, must not block."""


class Meter:
    """A sum over all threads."""

    def __init__(self) -> None:
        self._total, self._lock = 0, threading.Lock()

    @property
    def total(self) -> int:
        """Bytes so far."""
        return self._total

    def add(self, more: int) -> None:
        """More bytes have moved."""
        with self._lock:
            self._total += more


MOVED = Meter()
"""All of this process."""


class Others:
    """Bytes that another process moves for this one, by how many there are of them in all; they may seem to shrink."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._told = meter, 0

    def moved(self, total: int) -> None:
        """So many by now: what is more than was told counts."""
        self._meter.add(max(0, total - self._told))
        self._told = max(self._told, total)
