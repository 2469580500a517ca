"""What a look costs: no look for our own words, none too late where a stage has ended, nothing made twice."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
import yaml

from flywheel_operator.feed import Feed
from flywheel_operator.plan import draft
from flywheel_operator.plan.attempt import pause
from flywheel_operator.ports.cache import CachedKube, ReadCache
from flywheel_operator.ports.kinds import RLJOBS
from flywheel_operator.ports.kube_fake import FakeKube
from flywheel_operator.queue import Key, WorkQueue
from perf.shapes import OURS
from unit.operator.cases import edited, say, stage, status_writes, turns
from unit.operator.test_cache import a_round, child
from unit.operator.wired import WiredWorld
from unit.operator.world import NS, ROUND, START, World

KEY = Key("FlywheelRound", NS, "demo-r1")


async def test_what_a_look_wrote_wakes_the_owner_only() -> None:
    woken: list[str] = []

    class Queue(WorkQueue):
        def add(self, key: Key, delay: float = 0.0, changed: bool = False) -> None:
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
    woken.clear()
    made = await kube.create(child(a_round("r"), "k") | {"apiVersion": RLJOBS.api_version, "kind": RLJOBS.kind})
    await feed.see("ADDED", made)
    assert woken == ["k"], "its owner has made it"
    woken.clear()
    await feed.see("DELETED", made)
    assert woken == ["r"], "somebody else took it away"


async def test_a_look_follows_at_once_where_a_stage_ended_and_not_where_words_changed() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Prepare")
    assert await world.reconcile(KEY) == world.config.timing.poll, "Prepare was begun: its Job tells when it goes on"
    assert status_writes(world) == 1, "that preflight has passed has no effect: it is written with what follows"
    world.act()
    assert await world.reconcile(KEY) == world.config.timing.poll
    assert status_writes(world) == 2, "the words have changed"
    world.holding.clear()
    world.act()
    assert await world.reconcile(KEY) == 0.05, "Prepare has ended"


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


async def test_a_round_starts_with_few_writes_even_where_each_event_has_a_look_of_its_own() -> None:
    world = WiredWorld()
    served = [{"role": role, "url": "http://models:1/v1", "model": "m"} for role in ("Teacher", "Policy")]
    world.apply(edited(spec__endpoints=served, spec__agentic=None))
    world.holding |= {"EvaluateBase", "MineReasoning"}
    await world.play()
    assert {stage(world, name)["progress"] for name in world.holding} == {f"{name} starting" for name in world.holding}
    # status: what starts first, that it runs, what it came to and what starts then, that each of those runs
    wanted = {("status", "FlywheelRound"): 5, ("create", "Event"): 2, ("create", "Job"): 3}
    assert Counter((verb, kind) for verb, kind, _ in world.kube.log) == wanted
    assert [event["message"].partition(", ")[2] for event in world.of_kind("Event")] == [
        "the round starts; Prepare attempt 1 starts",
        "8 out, 2 dropped; EvaluateBase attempt 1 starts; MineReasoning attempt 1 starts",
    ]


@pytest.mark.parametrize(("plural", "kind", "writes"), [("rolloutpools", "RolloutPool", 7), ("rljobs", "RLJob", 4)])
async def test_so_does_what_stands_for_one_ray_cluster(plural: str, kind: str, writes: int) -> None:
    world = WiredWorld()
    world.kube.seed(OURS[plural][0](1, NS))
    world.holding.add("Train")
    await world.play()
    for _ in range(2):
        world.act()
        await world.settle()
    assert [OURS[plural][1](obj) for obj in world.of_kind(kind)] == [True]
    assert world.kube.writes == writes, world.kube.log


async def test_what_a_start_says_is_written_once_it_has_lasted() -> None:
    world = World()
    world.apply(ROUND)
    for _ in range(2):
        await world.look()
    assert status_writes(world) == 1 and stage(world, "Prepare")["progress"] == "Prepare starting"
    world.tick(world.config.timing.poll)
    await world.look()
    assert stage(world, "Prepare")["progress"] == "Prepare: waiting for the Job controller to make the pods"


@pytest.mark.parametrize(("still", "seconds"), [(0, 2.5), (4, 2.5), (20, 10), (59, 29.5), (60, 30), (9000, 30)])
def test_progress_that_stands_still_is_looked_at_less_often(still: float, seconds: float) -> None:
    assert pause(START, START + timedelta(seconds=still), 2.5) == seconds


async def test_a_round_at_rest_asks_for_fewer_and_fewer_looks_until_something_moves() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("Prepare")
    await turns(world, 2)
    say(world, "Prepare", done=1, total=9)
    pauses = []
    for _ in range(6):
        pauses.append(await world.reconcile(KEY))
        world.tick(pauses[-1] or 0)
    assert pauses == [2.5, 2.5, 2.5, 2.5, 3.75, 5.625]
    say(world, "Prepare", done=2, total=9)
    assert await world.reconcile(KEY) == 2.5
