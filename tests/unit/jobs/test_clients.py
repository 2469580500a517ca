"""What of an endpoint's limits is a shard's: together the limit of the spec, and nothing of it lies idle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.endpoints.pace import Slots
from flywheel_jobs.harness.clients import Clients

NO_JOURNAL = cast(Any, None)


@pytest.mark.parametrize(("shards", "most"), [(8, 3), (3, 8), (4, 4), (1, 5)])
def test_limits_hold_over_the_shards_that_have_items(shards: int, most: int) -> None:
    """Of eight shards beside a limit of three, five would have items and a share of nothing."""
    told = {"role": "Teacher", "url": "http://x/v1", "model": "m", "concurrency": most, "requestsPerMinute": 60}
    endpoint = ResolvedEndpoint.model_validate(told)
    config = cast(Any, SimpleNamespace(shards=shards, endpoints=[endpoint]))
    made = [Clients(config, NO_JOURNAL, shard, lambda text: None) for shard in range(shards)]
    parts = [one._limits(endpoint) for one in made[: made[0].workers]]
    assert sum(slots for slots, _ in parts) == most and min(slots for slots, _ in parts) >= 1
    assert [slots for _, slots in parts] == [Slots(60, part, len(parts)) for part in range(len(parts))]
    made[0].alone()
    assert made[0]._limits(endpoint) == (most, Slots(60))


@pytest.mark.parametrize("per_minute", [7, 60, 1234])
@pytest.mark.parametrize("parts", [1, 3, 8])
def test_each_slot_of_the_clock_is_one_shard_s(per_minute: int, parts: int) -> None:
    """However late a shard comes, its slots are its own, and their own starts lie in them."""
    taken: list[int] = []
    for part in range(parts):
        slots, at = Slots(per_minute, part, parts), 1.8e9 + 3.3 * part
        for _ in range(50):
            at = slots.after(at)
            woken = at - 3e-7  # what a clock that counts from its own start makes of it
            assert slots.begin(at) == at and slots.begin(woken) == woken and slots.after(woken) > at
            taken.append(round(at * per_minute / 60))
    assert len(set(taken)) == len(taken) == 50 * parts
