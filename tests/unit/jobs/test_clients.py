"""What of an endpoint's limits is a shard's: together the limit of the spec, and nothing of it lies idle."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flywheel_api.results import EndpointFinding
from flywheel_api.round import Role
from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.endpoints.pace import MINUTE, Pace
from flywheel_jobs.harness.clients import Clients
from unit.jobs.virtual import most_in_a_minute, now, run

NO_JOURNAL = cast(Any, None)


@pytest.mark.parametrize(("shards", "most", "rate"), [(8, 3, 60), (3, 8, 61), (4, 4, 3), (1, 5, 1), (7, 9, None)])
def test_limits_hold_over_the_shards_that_have_items(shards: int, most: int, rate: int | None) -> None:
    """Of eight shards beside a limit of three, five would have items and a share of nothing."""
    told = {"role": "Teacher", "url": "http://x/v1", "model": "m", "concurrency": most, "requestsPerMinute": rate}
    endpoint = ResolvedEndpoint.model_validate(told)
    config = cast(Any, SimpleNamespace(shards=shards, endpoints=[endpoint]))
    made = [Clients(config, NO_JOURNAL, shard, lambda text: None) for shard in range(shards)]
    parts = [one._limits(endpoint) for one in made[: made[0].workers]]
    for limit, shares in zip((most, rate), zip(*parts, strict=True), strict=True):
        assert limit is None or (sum(shares) == limit and max(shares) - 1 <= min(shares) >= 1)
    made[0].alone()
    assert made[0]._limits(endpoint) == (most, rate)


# when work comes, in seconds: all at once; after a pause; one by one and then all; in ten heaps
COMES = {
    "at once": lambda rng: [0.0] * 300,
    "after a pause": lambda rng: [0.0, 100.5, *[100.6] * 300],
    "in a trickle": lambda rng: sorted(rng.uniform(0, 200) for _ in range(60)) + [200.0] * 300,
    "in heaps": lambda rng: sorted(40.0 * rng.randrange(10) for _ in range(300)),
}


@pytest.mark.parametrize("comes", COMES)
@pytest.mark.parametrize(("rate", "shards"), [(60, 1), (60, 4), (61, 8), (7, 7), (300, 3)])
def test_no_minute_sees_more_than_the_limit(rate: int, shards: int, comes: str) -> None:
    """Of all shards together, whatever each of them did before."""
    asked: list[float] = []

    async def one(pace: Pace, at: float) -> None:
        await asyncio.sleep(at)
        async with pace.turn():
            asked.append(now())

    async def all_of_them() -> None:
        paces = [Pace(1000, rate // shards + (n < rate % shards)) for n in range(shards)]
        await asyncio.gather(*(one(p, at) for n, p in enumerate(paces) for at in COMES[comes](random.Random(n))))

    run(all_of_them())
    most = most_in_a_minute(asked)
    assert most == rate or (most < rate and comes == "in heaps")


@pytest.mark.parametrize("after", [40, 60.2, 61, 75.3])
@pytest.mark.parametrize("idle", [0, 1])
def test_the_last_shard_takes_the_others_parts_within_the_limit(after: float, idle: int) -> None:
    """What the others asked last lies in its first minute, though it let its own last turns go by."""
    asked: list[float] = []
    interval = MINUTE / 15

    async def ask(pace: Pace, until: float) -> None:
        while now() < until - interval:  # who begins to wait then asks by then
            async with pace.turn():
                asked.append(now())

    async def last(pace: Pace) -> None:
        await ask(pace, after - idle * interval)
        await asyncio.sleep(after - now())
        pace.widen(1, 60)
        await ask(pace, after + 90)

    async def all_of_them() -> None:
        await asyncio.gather(last(Pace(1, 15)), *(ask(Pace(1, 15), after) for _ in range(3)))

    run(all_of_them())
    assert 59 <= most_in_a_minute(asked) <= 60


def test_roles_that_are_asked_in_other_words_shake_hands_on_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one role is told besides, a server may refuse: that is not found out by asking another role's way."""
    asked: list[Any] = []

    async def shake(client: Any, with_tools: bool) -> EndpointFinding:
        asked.append(client.endpoint.written)
        return EndpointFinding(role=client.role, model="m")

    monkeypatch.setattr("flywheel_jobs.harness.clients.shake", shake)
    written: list[dict[str, Any]] = [{}, {"top_k": 9}, {}]
    endpoints = [
        ResolvedEndpoint(role=role, url="http://x/v1", model="m", written=said)
        for role, said in zip((Role.TEACHER, Role.SOLVER, Role.USER_SIMULATOR), written, strict=True)
    ]
    config = SimpleNamespace(
        shards=1, endpoints=endpoints, spec=SimpleNamespace(agentic=None), endpoint_patience_seconds=1, stage="Prepare"
    )

    async def work() -> list[EndpointFinding]:
        clients = Clients(cast(Any, config), NO_JOURNAL, 0, lambda text: None)
        found = await clients.shake_hands()
        await clients.aclose()
        return found

    found = run(work())
    assert asked == [{}, {"top_k": 9}] and [f.role for f in found] == [e.role for e in endpoints]
