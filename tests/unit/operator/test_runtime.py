"""The process: work begins when everything was listed, lists come again and again, and liveness is about keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from flywheel_operator import runtime
from flywheel_operator.feed import Feed
from flywheel_operator.ports.cache import CachedKube, ReadCache
from flywheel_operator.ports.errors import Retryable
from flywheel_operator.ports.kinds import OWN, RAY_API, RAYCLUSTERS, RAYJOBS, RAYSERVICES, ROUNDS
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.queue import Key, WorkQueue
from flywheel_operator.settings import OperatorConfig, Timing

KEY = Key("FlywheelRound", "ns", "r")


@asynccontextmanager
async def running(*coroutines: Coroutine[None, None, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(c) for c in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(what: Callable[[], object]) -> None:
    for _ in range(1000):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def test_work_waits_for_the_first_list(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Key] = []

    async def handle(key: Key) -> None:
        done.append(key)

    queue, listed = WorkQueue(handle), asyncio.Event()
    queue.add(KEY)
    async with running(runtime.serve(queue, listed, 2)):
        await asyncio.sleep(0.05)
        assert done == []
        listed.set()
        await until(lambda: done)
    monkeypatch.setattr(runtime, "_LISTED_WITHIN", 0.01)
    queue.add(KEY)
    async with running(runtime.serve(queue, asyncio.Event(), 2)):
        await until(lambda: len(done) == 2)


async def test_lists_come_again_and_find_what_the_watch_missed() -> None:
    woken: list[str] = []

    async def handle(key: Key) -> None:
        woken.append(key.name)

    api = FakeKube()
    queue, listed = WorkQueue(handle), asyncio.Event()
    kube = CachedKube(api, ReadCache())
    async with running(runtime.resync(Feed(kube, queue, []), listed, 0.02), queue.run(1)):
        await until(listed.is_set)
        assert all(kube.cache.covers(resource, None) for resource in OWN)
        meta = {"name": "missed", "namespace": "ns"}
        api.seed({"apiVersion": ROUNDS.api_version, "kind": ROUNDS.kind, "metadata": meta})
        await until(lambda: woken.count("missed") > 2)


def test_alive_means_that_keys_are_worked_on() -> None:
    now = 0.0

    async def handle(key: Key) -> None: ...

    queue = WorkQueue(handle, clock=lambda: now)
    config = OperatorConfig(timing=Timing(stuck_after=100))
    queue.add(KEY)
    now = 99.0
    assert runtime.probe(queue, config)[0] == 200
    now = 101.0
    assert runtime.probe(queue, config)[0] == 503


async def test_kinds_that_come_are_a_new_start_once_they_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_KINDS_PAUSE", 0.02)
    api = FakeKube()
    api.api_versions.discard(RAY_API)
    missing = await runtime.unserved(api)
    assert missing == {RAYJOBS, RAYSERVICES, RAYCLUSTERS}
    waiting = asyncio.create_task(runtime.until_kinds_come(api, missing, 60))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    api.api_versions.add(RAY_API)
    await until(waiting.done)


async def test_kinds_that_went_are_waited_for_and_an_outage_is_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_KINDS_PAUSE", 0.02)
    api = FakeKube()
    waiting = asyncio.create_task(runtime.until_kinds_come(api, frozenset(), 0.02))
    ask, away = api.served, True

    async def served(api_version: str) -> frozenset[str]:
        if away:
            raise Retryable("away")
        return await ask(api_version)

    monkeypatch.setattr(api, "served", served)
    await asyncio.sleep(0.1)
    away = False
    await asyncio.sleep(0.1)
    assert not waiting.done()
    api.api_versions.discard(RAY_API)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    api.api_versions.add(RAY_API)
    await until(waiting.done)
