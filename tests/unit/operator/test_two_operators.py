"""Two operators at once, as in a rolling upgrade: same end as with one, no stage tried twice, none told twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flywheel_operator.ports.errors import PortError
from flywheel_operator.ports.kinds import OWN, Object, Resource
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.queue import Key
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.subjects import subjects
from unit.operator.test_crashes import end_state
from unit.operator.world import NS, ROUND, World


class Loose:
    """One operator's connection: others act between its requests, and some of its reads are of a while ago."""

    def __init__(self, kube: FakeKube, chance: random.Random) -> None:
        self._kube, self._chance = kube, chance
        self._read: dict[Any, Any] = {}

    async def _pause(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)

    async def _maybe_old(self, key: Any, fresh: Any) -> Any:
        old = self._read.get(key, fresh)
        self._read[key] = fresh
        return old if self._chance.random() < 0.2 else fresh

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        await self._pause()
        found: Object | None = await self._maybe_old((resource, name), await self._kube.get(resource, namespace, name))
        return found

    async def list(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        await self._pause()
        key = (resource, namespace, *sorted((labels or {}).items()))
        found: list[Object] = await self._maybe_old(key, await self._kube.list(resource, namespace, labels))
        return found

    async def pages(self, resource: Resource, namespace: str | None) -> AsyncIterator[list[Object]]:
        await self._pause()
        async for page in self._kube.pages(resource, namespace):
            yield page

    def __getattr__(self, name: str) -> Any:
        async def do(*args: Any) -> Any:
            await self._pause()
            return await getattr(self._kube, name)(*args)

        return do


@pytest.mark.parametrize("seed", [0, 2, 4, 9])
async def test_two_operators_at_once_do_what_one_does(seed: int) -> None:
    calm = World()
    calm.apply(ROUND)
    await calm.run()
    world, chance = World(), random.Random(seed)
    world.apply(ROUND)
    both = []
    for _ in range(2):
        loose: Any = Loose(world.kube, chance)
        made = subjects(loose, lambda settings: world.store, world.config, lambda: world.now.timestamp())
        both.append(Reconciler(loose, made, lambda: world.now))

    async def look(reconcile: Reconciler) -> None:
        for resource in OWN:
            for obj in await world.kube.list(resource, NS):
                try:
                    await reconcile(Key(resource.kind, NS, obj["metadata"]["name"]))
                except PortError:
                    continue

    for _ in range(300):
        before = len(world.kube.log)
        await asyncio.gather(*(look(one) for one in both))
        world.act()
        world.tick()
        if world.status().get("finishedAt") and len(world.kube.log) == before:
            break
    assert end_state(world) == end_state(calm)
    assert {stage["attempt"] for stage in world.status()["stages"]} <= {0, 1}
    assert world.ran == calm.ran and world.trained == calm.trained
    told = Counter(event["message"] for event in world.of_kind("Event") if "attempt" in event["message"])
    assert set(told.values()) == {1}, told
