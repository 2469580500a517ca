"""Live progress of a round: one updating block on a terminal, a line for each change anywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from builder.errors import ToolError
from cluster.kube import Kubectl
from demo import progress
from demo.errors import DemoError

POLL_S = 2.0
QUIET_S = 20.0  # off a terminal, a progress text is repeated no more often than this
SILENCE_S = 300.0  # how long kubectl may fail before the watch gives up; one call takes up to 120 s of it


class Screen:
    """Writes a block of lines over the last one (terminal), or only what changed (anything else)."""

    def __init__(self, out: TextIO = sys.stdout, live: bool | None = None) -> None:
        self.out = out
        self.live = out.isatty() if live is None else live
        self._drawn = 0
        self._last = ""
        self._last_at = float("-inf")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._erase()
        print(line, file=self.out, flush=True)

    def show(self, lines: list[str]) -> None:
        """The current state."""
        if self.live:
            width = shutil.get_terminal_size((100, 24)).columns - 1
            self._erase()
            self.out.write("".join(line[:width] + "\n" for line in lines))
            self._drawn = len(lines)
            self.out.flush()
            return
        text = "; ".join(" ".join(line.split()) for line in lines)
        worth = [p for p in text.split() if not p[:1].isdigit()]  # clocks and counters alone are no news
        if (
            worth != [p for p in self._last.split() if not p[:1].isdigit()]
            or time.monotonic() - self._last_at > QUIET_S
        ):
            if text != self._last:
                print(text, file=self.out, flush=True)
            self._last, self._last_at = text, time.monotonic()

    def _erase(self) -> None:
        if self._drawn:
            self.out.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0


def follow(kube: Kubectl, namespace: str, name: str, screen: Screen | None = None) -> dict[str, Any]:
    """Shows a round until it is over, and returns it. Raises DemoError if it is deleted or the cluster goes away."""
    screen = screen or Screen()
    last: dict[str, Any] = {}
    heard = time.monotonic()
    while True:
        try:
            found = kube.get("flywheelround", name, namespace)
            heard = time.monotonic()
        except ToolError as error:
            if time.monotonic() - heard > SILENCE_S:
                raise DemoError(
                    f"the cluster has not answered for {SILENCE_S:.0f} s: {error}\nThe round goes on without this "
                    "watch: `make demo` comes back to it"
                ) from error
            time.sleep(POLL_S)
            continue
        if found is None:
            raise DemoError(f"round {name} is gone: somebody deleted it. Run `make demo` to start another")
        for line in progress.changes(last, found):
            screen.say(f"  {line}")
        last = found
        if progress.verdict(found):
            screen.show([])
            return found
        screen.show(progress.block(found, datetime.now(UTC)))
        time.sleep(POLL_S)
