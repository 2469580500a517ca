"""One subject under the load of N objects: ramp, rest, live, burst, restart. Every part has an end, done or not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from perf.flips import Flips, Owners
from perf.meter import WRITES, Meter, Stretch, cpu_seconds, servers
from perf.player import Player, RoundPlayer
from perf.rest import CUSTOM, Object, Rest
from perf.subjects import Subject, restart

FLIPS_PER_OBJECT_AND_S = 0.02  # each owner's child changes every 50 s
CALM_S = 0.2  # seconds of work in two of the clock
QUIET_S, SETTLE_S = 4.0, 40.0  # at rest: no owner changed for so long; and how long that may take


@dataclass(frozen=True)
class Limits:
    """Seconds per part."""

    ramp: float
    rest: float
    live: float
    burst: float
    restart: float


@dataclass
class Load:
    """What is applied and how it is played."""

    rest: Rest
    player: Player
    owners: Owners
    meter: Meter
    plural: str
    bodies: list[Object]
    found: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Owners that are live and have a child that may be flipped."""
        return sorted(name for name in self.owners.live if name in self.player.pods)


@contextlib.asynccontextmanager
async def playing(load: Load) -> AsyncIterator[Load]:
    """Player and watcher run in the background."""
    tasks = [asyncio.create_task(load.player.play()), asyncio.create_task(load.owners.follow())]
    try:
        yield load
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(ended, asyncio.CancelledError):
                raise RuntimeError("the load did not hold") from ended


async def begin(load: Load, limits: Limits, running: Callable[[], int]) -> dict[str, Any]:
    """Ramp and rest; `running` counts running stages once the ramp is over."""
    await _calm()
    load.found["ramp"] = await _ramp(load, limits.ramp)
    await _settled(load)
    load.found["running_stages"] = running()
    load.found["objects"] = sum([await load.rest.count(plural) for plural in (*CUSTOM, "jobs", "pods", "services")])
    load.found["rest"] = (await _quiet(load, limits.rest)).result(running())
    return load.found


async def measure(load: Load, subject: Subject, limits: Limits, running: Callable[[], int]) -> dict[str, Any]:
    """All parts in order."""
    await begin(load, limits, running)
    load.found["live"] = await _live(load, limits.live, running())
    load.found["burst"] = await Flips(load.owners, load.player, 1_000_000).burst(load.names, limits.burst)
    owners = len(load.bodies) + load.found.get("more_owners", 0)
    load.found["restart"] = await asyncio.to_thread(restart, subject, owners, limits.restart)
    load.meter.pid = subject.pid
    load.found["restart"]["rss_mb"] = round((await load.meter.since(await load.meter.reading())).rss, 1)
    return load.found


async def _calm() -> None:
    """The API server has made what it makes of new resource types: seconds of work that are nobody's load."""
    end, pid = time.monotonic() + SETTLE_S, servers()["kube-apiserver"]
    spent = cpu_seconds(pid)
    while time.monotonic() < end:
        await asyncio.sleep(2.0)
        before, spent = spent, cpu_seconds(pid)
        if spent - before < CALM_S:
            return


async def _ramp(load: Load, seconds: float) -> dict[str, Any]:
    """Applies everything at once; times until the last one had its first status, and was live."""
    before, began, count = await load.meter.reading(), time.monotonic(), len(load.bodies)
    await _create(load.rest, load.plural, load.bodies)
    applied = time.monotonic() - began
    await load.owners.until(lambda: len(load.owners.live) == count, began + seconds - time.monotonic())
    stretch = await load.meter.since(before)
    first = max(load.owners.first.values(), default=began) - began
    live = max(load.owners.live.values(), default=began) - began
    return {
        "applied_in_s": round(applied, 1),
        "with_status": len(load.owners.first),
        "first_status_s": round(first, 1),
        "first_status_per_s": round(len(load.owners.first) / first, 1) if first else 0.0,
        "live": len(load.owners.live),
        "all_live_s": round(live, 1) if len(load.owners.live) == count else None,
        "live_per_s": round(len(load.owners.live) / (live or seconds), 1),
        "writes_per_object": round(sum(stretch.api[v] for v in WRITES) / count, 1),
        "writes_per_s": round(stretch.rate(*WRITES), 1),
        "cpu_ms_per_object": round(1000 * stretch.cpu["operator"] / count, 1),
        "cpu_s_of": {name: round(seconds, 1) for name, seconds in stretch.cpu.items()},
    }


async def _settled(load: Load) -> None:
    """The last events of the ramp have been worked off."""
    end, before = time.monotonic() + SETTLE_S, -1
    while load.owners.changes != before and time.monotonic() < end:
        before = load.owners.changes
        await asyncio.sleep(QUIET_S)


async def _create(rest: Rest, plural: str, bodies: Iterable[Object]) -> None:
    hands = asyncio.Semaphore(16)

    async def one(body: Object) -> None:
        async with hands:
            await rest.create(plural, body)

    await asyncio.gather(*(one(body) for body in bodies))


async def _quiet(load: Load, seconds: float) -> Stretch:
    before = await load.meter.reading()
    await asyncio.sleep(seconds)
    return await load.meter.since(before)


async def _live(load: Load, seconds: float, running: int) -> dict[str, Any]:
    """Children change and programs write their progress, both at the same rate."""
    rate = max(1.0, FLIPS_PER_OBJECT_AND_S * len(load.bodies))
    before = await load.meter.reading()
    programs = asyncio.create_task(_programs(load.player, rate)) if isinstance(load.player, RoundPlayer) else None
    flips: dict[str, Any] = {}
    if load.names:
        flips = await Flips(load.owners, load.player, 0).paced(load.names, rate, seconds)
    else:  # nothing became live: what is it doing instead?
        await asyncio.sleep(seconds)
    if programs is not None:
        programs.cancel()
    return {"event_to_write": flips, **(await load.meter.since(before)).result(running)}


async def _programs(player: RoundPlayer, per_second: float) -> None:
    number = 0
    while player.running:
        number += 1
        owner, stage, attempt = player.running[number % len(player.running)]
        await player.progress(owner, stage, attempt, 1 + number // len(player.running))
        await asyncio.sleep(1 / per_second)
