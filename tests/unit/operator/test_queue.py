"""The work queue: one run per key at a time, no wish lost, back-off, and an age that tells a stuck operator."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from flywheel_operator.ports.errors import Retryable
from flywheel_operator.queue import Key, WorkQueue

A, B = Key("RLJob", "ns", "a"), Key("RLJob", "ns", "b")


async def serve(queue: WorkQueue, seconds: float, workers: int = 4) -> None:
    task = asyncio.create_task(queue.run(workers))
    await asyncio.sleep(seconds)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_many_wishes_are_one_run_and_keys_run_side_by_side() -> None:
    runs: list[Key] = []
    live: set[Key] = set()
    together = 0

    async def handle(key: Key) -> float | None:
        nonlocal together
        assert key not in live, "single flight"
        live.add(key)
        together = max(together, len(live))
        await asyncio.sleep(0.05)
        live.discard(key)
        runs.append(key)
        return None

    queue = WorkQueue(handle)
    for _ in range(100):
        queue.add(A)
        queue.add(B)
    await serve(queue, 0.3)
    assert sorted(runs, key=str) == [A, B]
    assert together == 2


async def test_a_wish_during_a_run_is_not_lost() -> None:
    runs = 0

    async def handle(key: Key) -> float | None:
        nonlocal runs
        runs += 1
        if runs == 1:
            queue.add(A)
            queue.add(A)
        await asyncio.sleep(0.02)
        return None

    queue = WorkQueue(handle)
    queue.add(A)
    await serve(queue, 0.3)
    assert runs == 2


async def test_an_earlier_wish_overtakes_a_later_one() -> None:
    runs = 0

    async def handle(key: Key) -> float | None:
        nonlocal runs
        runs += 1
        return 3600.0

    queue = WorkQueue(handle)
    queue.add(A, 3600)
    queue.add(A, 0.05)
    queue.add(A, 100)
    await serve(queue, 0.3)
    assert runs == 1


async def test_a_failing_key_backs_off_even_when_events_wake_it() -> None:
    failures = 0
    fine = 0

    async def handle(key: Key) -> float | None:
        nonlocal failures, fine
        if key == A:
            failures += 1
            raise Retryable("away", after=10)
        fine += 1
        return None

    queue = WorkQueue(handle)
    queue.add(A)
    task = asyncio.create_task(queue.run(2))
    for _ in range(20):
        queue.add(B)
        await asyncio.sleep(0.01)
    task.cancel()
    assert failures == 1
    assert fine > 3, "one bad object never blocks others"


async def test_the_age_of_the_oldest_key_tells_a_stuck_operator() -> None:
    now = 0.0

    async def handle(key: Key) -> float | None:
        return None

    queue = WorkQueue(handle, clock=lambda: now)
    assert queue.oldest_age() == 0
    queue.add(A)
    queue.add(B, 500)
    now = 130.0
    assert queue.oldest_age() == 130
    assert queue.depth() == 1


async def test_it_ends_when_it_is_cancelled_together_with_a_wish() -> None:
    async def handle(_: Key) -> float | None:
        return None

    queue = WorkQueue(handle)
    task = asyncio.create_task(queue.run(4))
    await asyncio.sleep(0.01)
    queue.add(A)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    assert done
