"""Watches owners: when each had its first status, when it was live, and when it repeated what was flipped."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from perf.player import Player
from perf.rest import Object, Rest

_TOKEN = re.compile(r"flip-(\d+)-")


class Owners:
    """Follows one resource. Times are of this machine's monotonic clock."""

    def __init__(self, rest: Rest, plural: str, is_live: Callable[[Object], bool]) -> None:
        self._rest, self._plural, self._is_live = rest, plural, is_live
        self.first: dict[str, float] = {}
        self.live: dict[str, float] = {}
        self.running: dict[str, int] = {}
        self.answered: dict[int, float] = {}
        self.changes = 0
        self._news = asyncio.Event()

    async def follow(self) -> None:
        """Until cancelled."""
        async for change, obj in self._rest.watch(self._plural):
            now, name, status = time.monotonic(), obj["metadata"].get("name", ""), obj.get("status")
            if change not in ("ADDED", "MODIFIED") or not status:
                continue
            self.changes += 1
            self.first.setdefault(name, now)
            if name not in self.live and self._is_live(obj):
                self.live[name] = now
            self.running[name] = sum(s["state"] == "Running" for s in status.get("stages") or [])
            for number in _TOKEN.findall(str(status.get("stages") or status.get("conditions"))):
                self.answered.setdefault(int(number), now)
            self._news.set()

    async def until(self, done: Callable[[], bool], seconds: float) -> None:
        """Returns when `done` says so after some change, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not done():
                    self._news.clear()
                    await self._news.wait()


class Flips:
    """Flips one child of each of some owners and waits for the owners' status."""

    def __init__(self, owners: Owners, player: Player, first: int) -> None:
        self._owners, self._player, self._next = owners, player, first
        self._sent: dict[int, float] = {}

    async def paced(self, names: Sequence[str], per_second: float, seconds: float) -> dict[str, Any]:
        """Flips at a steady rate; latencies from the child's write to the owner's, as watches show it."""
        began = time.monotonic()
        numbers: list[int] = []
        tasks: list[asyncio.Task[None]] = []
        while (now := time.monotonic()) < began + seconds:
            due = int((now - began) * per_second) + 1 - len(numbers)
            for _ in range(due):
                numbers.append(self._number())
                tasks.append(asyncio.create_task(self._one(names[numbers[-1] % len(names)], numbers[-1])))
            await asyncio.sleep(0.5 / per_second)
        await asyncio.gather(*tasks)
        await self._answers(numbers, 15)
        return self._result(numbers) | {"per_second": per_second}

    async def burst(self, names: Sequence[str], seconds: float) -> dict[str, Any]:
        """One flip of every owner as fast as the API server takes them; waits at most `seconds` for all answers."""
        numbers = [self._number() for _ in names]
        hands = asyncio.Semaphore(32)

        async def one(name: str, number: int) -> None:
            async with hands:
                await self._one(name, number)

        began = time.monotonic()
        await asyncio.gather(*(one(name, number) for name, number in zip(names, numbers, strict=True)))
        sent = time.monotonic() - began
        await self._answers(numbers, seconds)
        found = self._result(numbers)
        last = max((self._owners.answered[n] for n in numbers if n in self._owners.answered), default=began)
        rate = found["answered"] / (last - began) if last > began else 0.0
        return found | {"sent_in_s": round(sent, 2), "all_in_s": round(last - began, 2), "per_second": round(rate, 1)}

    def _number(self) -> int:
        self._next += 1
        return self._next

    async def _one(self, name: str, number: int) -> None:
        await self._player.flip(name, f"flip-{number}-")
        self._sent[number] = time.monotonic()

    async def _answers(self, numbers: Sequence[int], seconds: float) -> None:
        await self._owners.until(lambda: all(n in self._owners.answered for n in numbers), seconds)

    def _result(self, numbers: Sequence[int]) -> dict[str, Any]:
        # the watch may be ahead of the answer to the patch: no flip takes less than nothing
        waits = sorted(
            max(0.0, self._owners.answered[n] - self._sent[n]) for n in numbers if n in self._owners.answered
        )
        parts = statistics.quantiles(waits, n=100, method="inclusive") if len(waits) > 1 else [0.0] * 99
        return {
            "flips": len(numbers),
            "answered": len(waits),
            "p50_s": round(parts[49], 3),
            "p99_s": round(parts[98], 3),
            "max_s": round(waits[-1], 3) if waits else None,
        }
