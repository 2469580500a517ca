"""An hour of weather, and shards: what is finished in the end is what a calm run finishes, and limits hold over all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from contract import stages
from flywheel_api.artifacts import ledger_prefix
from flywheel_api.base import StatusModel
from flywheel_api.round import Role
from flywheel_api.stages import ResolvedEndpoint, Stage
from flywheel_jobs.core.errors import BudgetExceeded, EndpointUnavailable
from flywheel_jobs.endpoints import llm
from flywheel_jobs.endpoints.wire import Reply
from flywheel_jobs.harness.context import ShardDone, StageContext
from flywheel_jobs.harness.ledger import Entry
from flywheel_jobs.storage.datasets import read_model
from flywheel_jobs.storage.store import Store
from flywheel_standin import faults
from flywheel_standin.faults import Faults
from flywheel_store.memory import MemoryBucket
from unit.jobs.virtual import Body, Wire, err, is_probe, most_in_a_minute, now, ok, run, spoiled


class Text(StatusModel):
    text: str


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work of threads is done in the loop: virtual time must not run away from it."""

    async def call(work: Callable[..., Any], *args: Any) -> Any:
        return work(*args)

    monkeypatch.setattr(asyncio, "to_thread", call)


def context(
    store: Store,
    wire: Wire,
    shard: int = 0,
    shards: int = 1,
    attempt: int = 1,
    stage: Stage = Stage.SYNTHESIZE_REASONING,
    **endpoint: Any,
) -> StageContext:
    fields = {"role": "Teacher", "url": "http://models.test/v1", "model": "m", **endpoint}
    config = stages.config(stage, stages.round_spec(), "http://unused", {})
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


@pytest.mark.usefixtures("at_once")
def test_a_process_that_ends_gives_back_what_it_was_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget lends more than a request needs: what a process keeps when it ends would be nobody's."""
    wire = Wire(lambda body, number: ok(f"answer {number}"))
    monkeypatch.setattr(llm, "Http", lambda endpoint: wire)
    store = Store(MemoryBucket())
    run(attempt(context(store, wire, tokenLimit=1_000_000), 3))
    keys = store.list_keys(ledger_prefix("u1", Role.TEACHER))
    entries = [read_model(store, key, Entry) for key in keys]
    assert entries[0] is not None and sum(entries[0].leases.values()) > 1000
    assert entries[-1] is not None and entries[-1].leases == {} and 0 < entries[-1].spent < 1000


class Weather:
    """A server in the stand-in's weather; in virtual time, so that an hour of it takes seconds."""

    def __init__(self, table: str) -> None:
        self.rng = random.Random(7)
        self.faults = Faults(faults.table(table))
        self.seen: Counter[str] = Counter()

    async def __call__(self, body: Body, number: int) -> Reply:
        text = str(body["messages"][0]["content"])
        fault = self.faults.next(now())
        self.seen[fault.name if fault else "calm"] += 1
        await asyncio.sleep(self.rng.uniform(0.5, 4.0))
        if fault is not None:
            return spoiled(fault)
        return err(400, "this item cannot be done") if text == "item 13" else ok(f"answer to {text}", id=str(number))


@pytest.mark.usefixtures("at_once")
def test_an_hour_of_weather_ends_like_a_calm_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits, aborts, 503s, resets, restarts, hangs, a purse that empties and is filled; the operator tries again."""
    weather = Weather("hour")
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
    assert seconds > 3600 and set(weather.seen) == {str(row["name"]) for row in faults.table("hour")} | {"calm"}
    assert ends["EndpointRefused"] >= 2 and sum(ends.values()) <= 14, ends


class Served(Wire):
    """A fast server that remembers how much was asked at once, and when."""

    def __init__(self) -> None:
        super().__init__(self.answer)
        self.flying = self.most = 0
        self.asked_at: list[float] = []

    async def answer(self, body: Body, number: int) -> Reply:
        self.flying += 1
        self.most = max(self.most, self.flying)
        self.asked_at.append(now())
        await asyncio.sleep(2)
        self.flying -= 1
        return ok("x", usage=(6, 50))


async def all_shards(store: Store, wire: Wire, shards: int, items: int, **endpoint: Any) -> list[Any]:
    work = [attempt(context(store, wire, n, shards, **endpoint), items) for n in range(shards)]
    return await asyncio.gather(*work, return_exceptions=True)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("shards", [1, 3, 4, 8])
@pytest.mark.parametrize("limits", [{"concurrency": 6}, {"concurrency": 1}, {"requestsPerMinute": 60}])
def test_limits_hold_over_all_shards(monkeypatch: pytest.MonkeyPatch, shards: int, limits: dict[str, int]) -> None:
    served = Served()
    monkeypatch.setattr(llm, "Http", lambda endpoint: served)
    store = Store(MemoryBucket())
    ends = run(all_shards(store, served, shards, 200, **limits))
    assert sum(isinstance(e, dict) and len(e) == 200 for e in ends) == 1
    assert sum(isinstance(e, ShardDone) for e in ends) == shards - 1
    if "concurrency" in limits:
        assert served.most == limits["concurrency"]
    else:
        assert 59 <= most_in_a_minute(served.asked_at) <= 60


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("shards", [1, 4])
def test_a_token_budget_holds_over_all_stages_shards_and_attempts(monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    """Within one request, though two stages run side by side, three times over."""
    served = Served()
    monkeypatch.setattr(llm, "Http", lambda endpoint: served)
    store = Store(MemoryBucket())
    limits = {"tokenLimit": 4000, "maxTokens": 50}

    async def both() -> list[Any]:
        stages = (Stage.SYNTHESIZE_REASONING, Stage.EXPAND_AGENTIC)
        ends = await asyncio.gather(*(all_shards(store, served, shards, 400, stage=s, **limits) for s in stages))
        return [end for of_stage in ends for end in of_stage]

    for _ in range(3):
        assert {type(e) for e in run(both())} == {BudgetExceeded}
    answered = sum(not is_probe(b) for b in served.bodies)
    assert 4000 <= 56 * answered < 4000 + 56


@pytest.mark.usefixtures("at_once")
def test_a_stage_waits_for_what_another_may_give_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """One has a lease of nearly all, for requests that turn out to be small."""
    served = Served()
    monkeypatch.setattr(llm, "Http", lambda endpoint: served)
    store = Store(MemoryBucket())
    limits = {"tokenLimit": 4000, "maxTokens": 3000}

    async def both() -> list[Any]:
        stages = (Stage.SYNTHESIZE_REASONING, Stage.EXPAND_AGENTIC)
        work = (attempt(context(store, served, stage=stage, **limits), 8) for stage in stages)
        return await asyncio.gather(*work, return_exceptions=True)

    ends = run(both())
    assert [len(end) if isinstance(end, dict) else end for end in ends] == [8, 8]
