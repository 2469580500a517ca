"""The pictures of docs/architecture.md are what the code says, and an event really goes the way that one shows."""

from __future__ import annotations

import asyncio
import sys
from types import FrameType
from typing import Any

import pytest

from flywheel_operator.feed import Feed
from flywheel_operator.ports.cache import CachedKube, ReadCache
from flywheel_operator.queue import Key, WorkQueue
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.subjects import subjects
from maps import FOLDER, pictures, walks
from unit.operator.world import NS, ROUND, START, World

PICTURES = pictures()


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text() == PICTURES[name], "it is old: run `make generate`"


@pytest.mark.parametrize("stop", [*walks.EVENT, *walks.RECORD], ids=lambda stop: stop.where)
def test_every_stop_has_words(stop: walks.Stop) -> None:
    assert len(walks.words(stop.where)) > 10


def test_a_stop_that_is_gone_is_found() -> None:
    with pytest.raises(LookupError, match="is gone"):
        walks.words("flywheel_operator.queue:WorkQueue.forget")
    with pytest.raises(LookupError, match="no module of ours"):
        walks.words("flywheel_operator.controllers.gone:decide")


async def test_an_event_goes_the_way_of_the_picture() -> None:
    world = World()
    world.apply(ROUND)
    await world.run(until="Prepare")
    kube = CachedKube(world.kube, ReadCache())
    made = subjects(kube, lambda settings: world.store, world.config, lambda: (world.now - START).total_seconds())
    reconcile = Reconciler(kube, made, lambda: world.now)
    ways = []
    for _ in range(10):  # until a look sees that Prepare is done and starts what follows
        world.act()
        world.tick()
        for pool in world.of_kind("RolloutPool"):
            await world.reconcile(Key("RolloutPool", NS, pool["metadata"]["name"]))
        await Feed(kube, WorkQueue(reconcile), [NS]).resync()
        ways.append(iter(await calls_of_one_look(kube, reconcile, world.of_kind("Job")[0])))
    assert any(all(stop.where in way for stop in walks.EVENT) for way in ways)


async def calls_of_one_look(kube: CachedKube, reconcile: Reconciler, job: dict[str, Any]) -> list[str]:
    """Functions of the operator, in the order of their calls, from an event about a child to the end of the look."""
    called: list[str] = []
    looked = asyncio.Event()

    async def look(key: Key) -> None:
        await reconcile(key)
        looked.set()

    def follow(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and "/flywheel_operator/" in frame.f_code.co_filename:
            module = frame.f_code.co_filename.partition("/operator/")[2].removesuffix(".py").replace("/", ".")
            called.append(f"{module}:{frame.f_code.co_qualname}")

    queue = WorkQueue(look)
    sys.setprofile(follow)
    try:
        await Feed(kube, queue, [NS]).see("MODIFIED", job)
        work = asyncio.create_task(queue.run(1))
        async with asyncio.timeout(10):
            await looked.wait()
        work.cancel()
    finally:
        sys.setprofile(None)
    return called
