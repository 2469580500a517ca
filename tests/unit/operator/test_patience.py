"""What the API server does not take is not asked for again before its time, however many events come meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
import yaml

from flywheel_api.conditions import Reason
from flywheel_operator.feed import Feed
from flywheel_operator.plan.conditions import REFUSED_AGAIN
from flywheel_operator.ports.cache import CachedKube, ReadCache
from flywheel_operator.ports.errors import Forbidden, PortError, Retryable
from flywheel_operator.ports.kinds import BY_KIND
from flywheel_operator.queue import Key, WorkQueue
from unit.operator.world import NS, ROUND, START, World

KEY = Key("FlywheelRound", NS, "demo-r1")
OTHER = Key("FlywheelRound", NS, "gone")  # its events wake the workers, which then read the clock
QUOTA = '403 jobs.batch "x" is forbidden: exceeded quota: team, requested: count/jobs.batch=1, used: 4, limited: 4'
RIGHTS = '403 jobs.batch is forbidden: User "flywheel" cannot create resource "jobs" in API group "batch"'
JITTER = 1.2  # how much longer a pause may be
EVENT = 0.02  # seconds between events


class Served:
    """A world whose operator works through its queue, over a clock that only moves when told."""

    def __init__(self, error: Callable[[], PortError]) -> None:
        self.world, self.error = World(), error
        self.asked: list[datetime] = []
        self.refusing = True
        self.world.apply(ROUND)
        self.world.kube.before_write = self._refuse
        self.queue = WorkQueue(self.world.reconcile, clock=lambda: (self.world.now - START).total_seconds())
        self.feed = Feed(CachedKube(self.world.kube, ReadCache()), self.queue, [])

    def _refuse(self, verb: str, kind: str) -> None:
        if (verb, kind) == ("create", "Job"):
            self.asked.append(self.world.now)
            if self.refusing:
                raise self.error()

    async def go(self, seconds: float, every: float = EVENT) -> None:
        """Time goes by, with an event about the round again and again."""
        task = asyncio.create_task(self.queue.run(2))
        end = self.world.now + timedelta(seconds=seconds)
        while self.world.now < end:
            self.queue.add(KEY)
            self.queue.add(OTHER)
            await asyncio.sleep(0.001)
            self.world.tick(every)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def tell(self) -> None:
        """The watch tells of the round as it is now."""
        obj = await self.world.kube.get(BY_KIND[KEY.kind], NS, KEY.name)
        assert obj is not None
        await self.feed.see("MODIFIED", obj)

    def pauses(self) -> list[float]:
        """Seconds between two times that the refused Job was asked for."""
        return [(b - a).total_seconds() for a, b in zip(self.asked, self.asked[1:], strict=False)]


def kept(world: World) -> dict[str, int]:
    """How much the reconciler remembers, whatever of."""
    return {name: len(held) for name, held in vars(world.reconcile).items() if isinstance(held, dict | set | list)}


ROWS: dict[str, tuple[Callable[[], PortError], float]] = {
    "asks for 10 s": (lambda: Retryable("429 slow down", 10), 10),
    "asks for 60 s": (lambda: Retryable("429 slow down", 60), 60),
    "no rights": (lambda: Forbidden(RIGHTS), REFUSED_AGAIN),
    "quota": (lambda: Forbidden(QUOTA), REFUSED_AGAIN),
}


@pytest.mark.parametrize(("error", "asked"), ROWS.values(), ids=ROWS)
async def test_events_overtake_no_pause_from_the_first_refusal_on(error: Callable[[], PortError], asked: float) -> None:
    served = Served(error)
    await served.go(2)
    assert len(served.asked) == 1
    await served.go(150, every=0.5)
    assert all(asked <= pause <= max(asked, REFUSED_AGAIN) * JITTER + 1 for pause in served.pauses()), served.pauses()
    assert len(served.asked) > 2, "it is asked for again by itself"
    before = len(served.asked)
    await served.go(3)
    assert len(served.asked) <= before + 1
    ready = served.world.condition("Ready")
    assert ready["reason"] in (Reason.API_REFUSES, Reason.FORBIDDEN, Reason.QUEUED), "it is said meanwhile"


@pytest.mark.parametrize("error", [lambda: Forbidden(RIGHTS), lambda: Forbidden(QUOTA)], ids=["rights", "quota"])
async def test_what_a_person_grants_is_taken_up_in_reasonable_time(error: Callable[[], PortError]) -> None:
    """Nothing tells of a quota that was raised."""
    served = Served(error)
    await served.go(2)
    served.refusing = False
    await served.go(REFUSED_AGAIN * JITTER, every=0.5)
    assert len(served.asked) > 1 and served.world.of_kind("Job")


@pytest.mark.parametrize(("error", "overtakes"), [(lambda: Forbidden(QUOTA), True), (lambda: Retryable("", 60), False)])
async def test_a_changed_spec_ends_our_own_caution_and_not_what_was_asked_for(
    error: Callable[[], PortError], overtakes: bool
) -> None:
    served = Served(error)
    await served.go(2)
    spec = yaml.safe_load(ROUND)["spec"]
    spec["budget"]["wallClock"] = "3h"
    served.world.kube.update(KEY.kind, KEY.namespace, KEY.name, spec=spec)
    await served.tell()
    await served.go(1)
    assert len(served.asked) == (2 if overtakes else 1)
    await served.tell()
    await served.go(1)
    assert len(served.asked) == (2 if overtakes else 1), "its generation has been looked at"


async def test_a_refusal_is_told_by_a_look_of_its_own() -> None:
    served = Served(lambda: Forbidden(RIGHTS))
    await served.go(1)
    assert len(served.asked) == 1 and served.world.condition("Ready")["reason"] == Reason.FORBIDDEN


@pytest.mark.parametrize("error", [lambda: Forbidden(RIGHTS), lambda: Retryable("", 60)], ids=["refused", "trouble"])
async def test_nothing_is_kept_of_objects_that_are_gone(error: Callable[[], PortError]) -> None:
    served = Served(error)
    before = kept(served.world)
    await served.go(1)
    assert kept(served.world) != before
    served.world.kube.remove(KEY.kind, NS, KEY.name)
    await served.go(100, every=1)
    assert kept(served.world) == before


async def test_nothing_is_kept_of_objects_that_nothing_is_refused() -> None:
    served = Served(lambda: Forbidden(RIGHTS))
    before = kept(served.world)
    served.refusing = False
    await served.go(1)
    assert served.asked and kept(served.world) == before


async def test_another_object_of_the_same_name_begins_anew() -> None:
    served = Served(lambda: Retryable("503 away"))
    await served.go(20, every=0.5)
    served.world.kube.remove(KEY.kind, NS, KEY.name)
    served.world.apply(ROUND)
    await served.go(25, every=0.5)  # the name's back-off ends first
    assert served.world.condition("Ready")["reason"] != Reason.API_REFUSES, "its trouble has not lasted"
