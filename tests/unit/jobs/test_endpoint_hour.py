"""An hour of weather, and shards: what is finished in the end is what a calm run finishes, and limits hold over all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from contract import stages
from flywheel_api.base import StatusModel
from flywheel_api.round import Role
from flywheel_api.stages import ResolvedEndpoint, Stage
from flywheel_jobs.core.errors import BudgetExceeded, EndpointUnavailable
from flywheel_jobs.endpoints import llm
from flywheel_jobs.endpoints.transport import NoReply
from flywheel_jobs.endpoints.wire import Reply
from flywheel_jobs.harness.context import ShardDone, StageContext
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket
from unit.jobs.virtual import Body, Wire, err, is_probe, now, ok, run


class Text(StatusModel):
    text: str


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work of threads is done in the loop: virtual time must not run away from it."""

    async def call(work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    monkeypatch.setattr(asyncio, "to_thread", call)


def context(
    store: Store, wire: Wire, shard: int = 0, shards: int = 1, attempt: int = 1, **endpoint: Any
) -> StageContext:
    fields = {"role": "Teacher", "url": "http://models.test/v1", "model": "m", **endpoint}
    config = stages.config(Stage.SYNTHESIZE_REASONING, stages.round_spec(), "http://unused", {})
    own = {"endpoints": [ResolvedEndpoint.model_validate(fields)], "endpoint_patience_seconds": 120.0}
    config = config.model_copy(update={**own, "shards": shards, "attempt": attempt})
    return StageContext(config, store, shard)


async def attempt(ctx: StageContext, items: int) -> dict[str, Text]:
    """One process of the stage, from the journal on."""
    await ctx.open()

    async def work(item: int) -> Text:
        text = (await ctx.llm(Role.TEACHER).chat([{"role": "user", "content": f"item {item}"}])).text
        return Text(text=text)

    try:
        return await ctx.map_items(range(items), str, work, Text)
    finally:
        await ctx.close()


class Weather:
    """What a server does in the course of an hour, by the minute."""

    def __init__(self) -> None:
        self.rng = random.Random(7)
        self.seen: Counter[str] = Counter()
        self.window, self.count = -1, 0

    async def __call__(self, body: Body, number: int) -> Reply:
        text = str(body["messages"][0]["content"])
        fault, reply = self.fault()
        self.seen[fault] += 1
        await asyncio.sleep(self.rng.uniform(0.5, 4.0))
        if isinstance(reply, Exception):
            raise reply
        if fault == "calm" and text == "item 13":
            return err(400, "this item cannot be done")
        return reply or ok(f"answer to {text}", id=str(number))

    def fault(self) -> tuple[str, Reply | Exception | None]:
        minute, luck = int(now() // 60), self.rng.random()
        if 5 <= minute < 8:
            return "restart", NoReply("connection refused", sent=False)
        if 12 <= minute < 14:
            return "loading", err(503, "Loading model")
        if 20 <= minute < 24:
            return "purse", err(402, "no balance left")
        if 30 <= minute < 33:
            return "hang", NoReply("no answer", timed_out=True)
        if luck < 0.06:
            return "abort", ok("", finish="abort")
        if luck < 0.10:
            return "error in a 200", Reply(200, b'{"error": {"message": "upstream", "code": 502}}')
        if luck < 0.14:
            return "reset", NoReply("reset by peer")
        if luck < 0.18:
            return "500", err(500)
        if luck < 0.20:
            return "503", err(503, "", **{"retry-after": "3"})
        if int(now()) != self.window:
            self.window, self.count = int(now()), 0
        self.count += 1
        return ("limit", err(429, "", **{"retry-after": "1"})) if self.count > 1 else ("calm", None)


@pytest.mark.usefixtures("at_once")
def test_an_hour_of_weather_ends_like_a_calm_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits, aborts, 503s, resets, restarts, hangs, a purse that empties and is filled; the operator tries again."""
    weather = Weather()
    wire = Wire(weather)
    monkeypatch.setattr(llm, "Http", lambda endpoint: wire)
    store, items, ends = Store(MemoryBucket()), 1500, Counter[str]()

    async def hour() -> tuple[dict[str, Text], dict[str, int], float]:
        for number in range(1, 60):
            ctx = context(store, wire, attempt=number)
            try:
                return await attempt(ctx, items), dict(ctx.dropped), now()
            except EndpointUnavailable as error:
                ends[error.reason] += 1
                await asyncio.sleep(60)
        raise AssertionError(ends)

    found, dropped, seconds = run(hour())
    assert found == {str(n): Text(text=f"answer to item {n}") for n in range(items) if n != 13}
    assert dropped == {"request-refused": 1}  # as in the calm run: what the item is at fault for
    assert seconds > 3600 and set(weather.seen) >= {
        "restart", "loading", "purse", "hang", "abort", "error in a 200", "reset", "500", "503", "limit", "calm"
    }  # fmt: skip
    assert ends["EndpointRefused"] >= 2 and sum(ends.values()) <= 12, ends


class Served(Wire):
    """A fast server that remembers how much was asked at once and in each minute."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.flying = self.most = 0
        self.minutes: Counter[int] = Counter()

    async def answer(self, body: Body, number: int) -> Reply:
        self.flying += 1
        self.most = max(self.most, self.flying)
        self.minutes[int(now() // 60)] += 1
        await asyncio.sleep(2)
        self.flying -= 1
        return ok("x", usage=(6, 50))


async def all_shards(store: Store, wire: Wire, shards: int, items: int, **endpoint: Any) -> list[Any]:
    work = [attempt(context(store, wire, n, shards, **endpoint), items) for n in range(shards)]
    return await asyncio.gather(*work, return_exceptions=True)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("shards", [1, 3, 4])
@pytest.mark.parametrize("limits", [{"concurrency": 6}, {"requestsPerMinute": 60}])
def test_limits_hold_over_all_shards(monkeypatch: pytest.MonkeyPatch, shards: int, limits: dict[str, int]) -> None:
    served = Served()
    monkeypatch.setattr(llm, "Http", lambda endpoint: served)
    store = Store(MemoryBucket())
    ends = run(all_shards(store, served, shards, 200, **limits))
    assert sum(isinstance(e, dict) and len(e) == 200 for e in ends) == 1
    assert sum(isinstance(e, ShardDone) for e in ends) == shards - 1
    if "concurrency" in limits:
        assert served.most == 6
    else:
        assert 60 <= max(served.minutes.values()) <= 60 + shards


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("shards", [1, 4])
def test_a_token_budget_holds_over_all_shards_and_attempts(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    served = Served()
    monkeypatch.setattr(llm, "Http", lambda endpoint: served)
    store = Store(MemoryBucket())
    limits = {"tokenLimit": 4000, "maxTokens": 50}
    for _ in range(3):
        ends = run(all_shards(store, served, shards, 400, **limits))
        assert {type(e) for e in ends} == {BudgetExceeded}
    answered = sum(not is_probe(b) for b in served.bodies)
    assert 4000 <= 56 * answered < 4000 + shards * 56
