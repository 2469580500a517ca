"""What a look costs: no look for our own words, none too late where a stage has ended, nothing made twice."""

from __future__ import annotations

import pytest
import yaml

from flywheel_operator.feed import Feed
from flywheel_operator.plan import draft
from flywheel_operator.ports.cache import CachedKube, ReadCache
from flywheel_operator.ports.kinds import RLJOBS
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.queue import Key, WorkQueue
from unit.operator.cases import stage, status_writes, turns
from unit.operator.test_cache import a_round, child
from unit.operator.world import NS, ROUND, World


async def test_what_a_look_wrote_wakes_the_owner_only() -> None:
    woken: list[str] = []

    class Queue(WorkQueue):
        def add(self, key: Key, delay: float = 0.0) -> None:
            woken.append(key.name)

    async def nothing(key: Key) -> None: ...

    api = FakeKube()
    kube = CachedKube(api, ReadCache())
    feed = Feed(kube, Queue(nothing), [])
    job = api.seed(child(a_round("r"), "j") | {"apiVersion": RLJOBS.api_version, "kind": RLJOBS.kind})
    written = await kube.patch_status(job, {"phase": "Running"})
    await feed.see("MODIFIED", written)
    assert woken == ["r"], "the look that wrote it has said when it wants the next one"
    woken.clear()
    api.update(RLJOBS.kind, NS, "j", status={"phase": "Failed"})
    await feed.see("MODIFIED", await api.get(RLJOBS, NS, "j") or {})
    assert woken == ["j", "r"], "somebody else wrote"


async def test_a_look_follows_at_once_where_a_stage_ended_and_not_where_words_changed() -> None:
    world = World()
    world.apply(ROUND)
    key = Key("FlywheelRound", NS, "demo-r1")
    world.holding.add("Prepare")
    assert await world.reconcile(key) == 0.05, "preflight has passed"
    assert await world.reconcile(key) == world.config.timing.poll, "Prepare was begun: its Job tells when it goes on"
    world.act()
    before = status_writes(world)
    assert await world.reconcile(key) == world.config.timing.poll
    assert status_writes(world) == before + 1, "the words have changed"
    world.holding.clear()
    world.act()
    assert await world.reconcile(key) == 0.05, "Prepare has ended"


async def test_a_hash_is_made_anew_for_another_spec_only(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Prepare")
    await turns(world, 3)
    known = world.status()["specHash"]
    monkeypatch.setattr(draft, "hash_of", lambda facts: "h2-another")
    await turns(world, 2)
    assert world.status()["specHash"] == known
    spec = yaml.safe_load(ROUND)["spec"] | {"suspend": True}
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec)
    await turns(world, 1)
    assert world.status()["specHash"] == "h2-another"
    world.kube.update("FlywheelRound", NS, "demo-r1", status=world.status() | {"specHash": "h0-older"})
    await turns(world, 1)
    assert world.status()["specHash"] == "h2-another", "another release has made it"


async def test_a_spec_that_cannot_be_read_keeps_no_hash_of_one_that_could() -> None:
    world = World()
    world.apply(ROUND)
    await turns(world, 1)
    spec = yaml.safe_load(ROUND)["spec"] | {"unknown": 1}
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec)
    await turns(world, 1)
    assert world.status()["observedGeneration"] == 2 and "specHash" not in world.status()


async def test_what_a_stage_has_none_of_is_not_in_its_status() -> None:
    world = World()
    world.apply(ROUND)
    await turns(world, 1)
    assert stage(world, "Package") == {"name": "Package", "state": "Pending", "attempt": 0}
