"""The work queue: one run per key at a time, nothing asked for is lost, back-off, and an age that liveness watches."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from flywheel_operator.ports.errors import Retryable
from flywheel_operator.queue import MAX_ASKED, Handler, Key, NotBefore, WorkQueue

A, B = Key("RLJob", "ns", "a"), Key("RLJob", "ns", "b")


async def serve(queue: WorkQueue, seconds: float, workers: int = 4) -> None:
    task = asyncio.create_task(queue.run(workers))
    await asyncio.sleep(seconds)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Timed:
    """A queue over a clock that only moves when told, served by real workers."""

    def __init__(self, handler: Handler, chance: float = 0.0) -> None:
        self.now = 0.0
        self.queue = WorkQueue(handler, clock=lambda: self.now, chance=lambda: chance)

    async def at(self, now: float) -> None:
        """Whatever is due at that time has run when this returns."""
        self.now = now
        await serve(self.queue, 0.01)


async def test_many_adds_are_one_run_and_keys_run_side_by_side() -> None:
    runs: list[Key] = []
    together, most = 0, 0

    async def handle(key: Key) -> float | None:
        nonlocal together, most
        together += 1
        most = max(together, most)
        await asyncio.sleep(0.05)
        together -= 1
        runs.append(key)
        return None

    queue = WorkQueue(handle)
    for _ in range(100):
        queue.add(A)
        queue.add(B)
    await serve(queue, 0.3)
    assert sorted(runs, key=str) == [A, B]
    assert most == 2


@pytest.mark.parametrize("delay", [0.0, 0.001])
async def test_a_key_that_runs_is_not_started_again_until_it_ends(delay: float) -> None:
    live, most, runs = 0, 0, 0

    async def handle(key: Key) -> float | None:
        nonlocal live, most, runs
        runs += 1
        live += 1
        most = max(most, live)
        if runs == 1:
            queue.add(A, delay)
            queue.add(A, delay)
        await asyncio.sleep(0.03)
        live -= 1
        return None

    queue = WorkQueue(handle)
    queue.add(A)
    await serve(queue, 0.2)
    assert most == 1, "single flight"
    assert runs == 2, "what was asked for during a run is not lost, and is one run"


async def test_a_key_that_runs_long_and_is_due_again_holds_nobody_up() -> None:
    done: list[Key] = []

    async def handle(key: Key) -> float | None:
        if key == A:
            queue.add(A, 0.001)
            await asyncio.sleep(0.01)
            queue.add(B, 0.001)
            await asyncio.sleep(3600)
        done.append(key)
        return None

    queue = WorkQueue(handle)
    queue.add(A)
    await serve(queue, 0.1)
    assert done == [B]


async def test_an_earlier_due_time_stands() -> None:
    runs: list[float] = []

    async def handle(key: Key) -> float | None:
        runs.append(timed.now)
        return 3600.0

    timed = Timed(handle)
    timed.queue.add(A, 3600)
    timed.queue.add(A, 5)
    timed.queue.add(A, 100)
    for now in (4, 5, 6, 3604):
        await timed.at(now)
    assert runs == [5]
    await timed.at(3605)
    assert runs == [5, 3605]


@pytest.mark.parametrize("delay", [0.0, 0.001])
async def test_events_never_overtake_a_back_off(delay: float) -> None:
    failures = 0
    fine = 0

    async def handle(key: Key) -> float | None:
        nonlocal failures, fine
        if key == A:
            failures += 1
            queue.add(A, delay)  # an event that comes while it fails
            raise Retryable("away", after=10)
        fine += 1
        return None

    queue = WorkQueue(handle)
    queue.add(A)
    task = asyncio.create_task(queue.run(2))
    for _ in range(20):
        queue.add(A, delay)
        queue.add(B)
        await asyncio.sleep(0.01)
    task.cancel()
    assert failures == 1
    assert fine > 3, "one bad object never blocks others"


async def test_no_event_overtakes_a_pause_that_a_look_asks_for() -> None:
    runs: list[float] = []

    async def handle(key: Key) -> float | NotBefore | None:
        runs.append(timed.now)
        timed.queue.add(A)  # comes while it runs
        return NotBefore(15)

    timed = Timed(handle)
    timed.queue.add(A)
    for now in (0, 5, 14.9, 15, 29.9, 30):
        timed.queue.add(A)
        await timed.at(now)
    assert runs == [0, 15, 30]


async def test_back_off_grows_up_to_a_minute_and_a_success_clears_it() -> None:
    broken, runs = True, 0

    async def handle(key: Key) -> float | None:
        nonlocal runs
        runs += 1
        if broken:
            raise RuntimeError("still broken")
        return None

    timed = Timed(handle)
    now = 0.0
    timed.queue.add(A)
    await timed.at(now)
    for count, delay in enumerate([0.5, 1, 2, 4, 8, 16, 32, 60, 60], start=1):
        timed.queue.add(A)
        await timed.at(now + delay * 0.99)
        assert runs == count, f"not before {delay} s"
        broken = count < 9
        now += delay
        await timed.at(now)
        assert runs == count + 1, f"by itself after {delay} s"
    broken = True
    timed.queue.add(A)
    await timed.at(now)
    assert runs == 11, "at once after a success"
    await timed.at(now + 0.5)
    assert runs == 12, "and from the first back-off on"


@pytest.mark.parametrize(("after", "chance", "due"), [(30, 0, 30), (30, 1, 36), (1e9, 0, MAX_ASKED), (0, 0, 0.5)])
async def test_what_the_other_side_asks_for_is_the_least(after: float, chance: float, due: float) -> None:
    runs = 0

    async def handle(key: Key) -> float | None:
        nonlocal runs
        runs += 1
        raise Retryable("too many requests", after=after)

    timed = Timed(handle, chance)
    timed.queue.add(A)
    await timed.at(0)
    await timed.at(due * 0.999)
    assert runs == 1
    await timed.at(due)
    assert runs == 2


async def test_an_exception_does_not_end_a_worker() -> None:
    runs: list[Key] = []

    async def handle(key: Key) -> float | None:
        runs.append(key)
        if key == A:
            raise KeyError("a bug of ours")
        return None

    queue = WorkQueue(handle)
    task = asyncio.create_task(queue.run(1))
    queue.add(A)
    await asyncio.sleep(0.02)
    queue.add(B)
    await asyncio.sleep(0.02)
    assert not task.done()
    task.cancel()
    assert runs == [A, B]


async def test_the_age_of_the_oldest_key_shows_a_stuck_operator() -> None:
    async def handle(key: Key) -> float | None:
        if key == B:
            raise Retryable("away", after=300)
        await asyncio.sleep(3600)
        return None

    timed = Timed(handle)
    queue = timed.queue
    assert queue.oldest_age() == 0
    queue.add(A, 30)
    assert queue.depth() == 0, "not due"
    timed.now = 130.0
    assert (queue.oldest_age(), queue.depth()) == (100, 1), "due, and no worker takes it"
    task = asyncio.create_task(queue.run(2))
    await asyncio.sleep(0.01)
    timed.now = 150.0
    assert (queue.oldest_age(), queue.depth()) == (20, 1), "in work"
    queue.add(B)
    await asyncio.sleep(0.01)
    queue.add(B)
    timed.now = 160.0
    assert (queue.oldest_age(), queue.depth()) == (30, 1), "a key that backs off waits for nobody"
    task.cancel()


async def test_it_ends_when_it_is_cancelled_together_with_an_add() -> None:
    async def handle(_: Key) -> float | None:
        return None

    queue = WorkQueue(handle)
    task = asyncio.create_task(queue.run(4))
    await asyncio.sleep(0.01)
    queue.add(A)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    assert done
