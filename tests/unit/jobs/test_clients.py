"""What of an endpoint's limits is a shard's: together the limit of the spec, and nothing of it lies idle."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from flywheel_api.stages import ResolvedEndpoint
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
    assert sum(rate or 0 for _, rate in parts) == pytest.approx(60)
    made[0].alone()
    assert made[0]._limits(endpoint) == (most, 60)
