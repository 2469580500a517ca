"""How long another process may take: by the processor time that it uses, so that a busy machine does not end it.

A limit by the clock alone refuses a healthy domain where many share a node: there a second of work takes ten. What
neither works nor answers is ended by the clock, after a much longer time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICK_S = 0.25
"""Seconds between two looks at a process that has not answered. They are counted: a domain's code knows no clock."""


@dataclass(frozen=True)
class Limit:
    """Seconds of processor time that a process may use for one answer, and seconds by the clock."""

    cpu: float
    clock: float


class Patience:
    """One answer of a process that is waited for, from now on."""

    def __init__(self, pid: int, limit: Limit) -> None:
        self.pid, self.limit = pid, limit
        self.used, self.looks = cpu_of(pid), 0

    def look(self) -> None:
        """To be called when TICK_S have passed. Raises TimeoutError, which says what was used up."""
        self.looks += 1
        if cpu_of(self.pid) - self.used > self.limit.cpu:
            raise TimeoutError(f"more than {self.limit.cpu:g} s of processor time")
        if self.looks * TICK_S > self.limit.clock:
            raise TimeoutError(f"more than {self.limit.clock:g} s")


def cpu_of(pid: int) -> float:
    """Seconds of processor time of a process; 0 where nothing says so (no Linux, or it is gone): the clock is left."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
