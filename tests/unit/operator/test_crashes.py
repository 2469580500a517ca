"""The operator may die between any two effects, and children may vanish: same end, no two children of an attempt."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flywheel_operator.observe.pods import held
from flywheel_operator.ports.errors import Retryable
from unit.operator.test_bill import HOUR, Billed
from unit.operator.world import NS, ROUND, World

MINUTE = 60.0
SEAMS = 2  # turns: a look comes up to one after servers or a training have begun, or ended
KINDS = ["Job", "RolloutPool", "RLJob", "RayService", "RayJob", "Pod", "Service"]


class Crash(Exception):
    """The process is gone."""


async def drive(world: World, turns: list[tuple[int, World]] | None = None) -> int:
    """As World.run, with a new operator after every crash. How many crashes there were.

    `turns` takes the world as each turn found it, with the number of writes until then.
    """
    crashes = 0
    for _ in range(120):
        if turns is not None:
            turns.append((writes_of(world), world.fork()))
        before = len(world.kube.log)
        try:
            await world.look()
        except Crash:
            crashes += 1
            world.restart()
        world.act()
        world.tick()
        if world.status().get("finishedAt") and len(world.kube.log) == before:
            break
    return crashes


def writes_of(world: World) -> int:
    """Writes so far, events not counted."""
    return sum(kind != "Event" for _, kind, _ in world.kube.log)


def end_state(world: World) -> Any:
    """What must be the same however often the operator died."""
    status = world.status()
    stages = [(s["name"], s["state"]) for s in status["stages"]]
    return status["verdict"], stages, status.get("score"), sorted(k for k, _, _ in world.kube.objects if k != "Event")


def children_of(world: World) -> Counter[tuple[str, str]]:
    return Counter((kind, name) for verb, kind, name in world.kube.log if verb == "create" and kind != "Event")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_the_same_end_after_a_crash_around_every_write(after: bool) -> None:
    """Each run branches off one that nothing disturbs, at the turn in which it crashes."""
    calm = World()
    calm.apply(ROUND)
    turns = list[tuple[int, World]]()
    await drive(calm, turns)
    expected, writes = end_state(calm), 0
    for (done, start), (until, _) in pairwise([*turns, (writes_of(calm), calm)]):
        for number in range(1, until - done + 1):
            world = start.fork()
            crash_at(world, {number}, after)
            assert await drive(world) == 1
            assert end_state(world) == expected, f"write {done + number}"
            writes += 1
    assert writes > 60


def crash_at(world: World, numbers: set[int], after: bool) -> None:
    """Die at those writes (events not counted)."""
    count = 0

    def hook(verb: str, kind: str) -> None:
        nonlocal count
        if kind == "Event":
            return
        count += 1
        if count in numbers:
            raise Crash

    if after:
        world.kube.after_write = hook
    else:
        world.kube.before_write = hook


Deletions = list[tuple[int, str, int]]
Children = Counter[tuple[str, str]]
WALKS = given(
    crashes=st.sets(st.integers(1, 120), max_size=12),
    after=st.booleans(),
    outages=st.sets(st.integers(0, 60), max_size=10),
    deletions=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(KINDS), st.integers(0, 30)), max_size=6),
)


async def walk(world: World, crashes: set[int], after: bool, outages: set[int], deletions: Deletions) -> Children:
    """A round while the operator dies, the store is away and children vanish. What went before a look saw it."""
    crash_at(world, crashes, after)
    lived: dict[str, int] = {}
    made, unseen = set[tuple[str, str]](), Children()
    for turn in range(500):
        world.store.broken = turn in outages
        for when, kind, which in deletions:
            there = world.of_kind(kind)
            if when == turn and there:
                name = there[which % len(there)]["metadata"]["name"]
                unseen[kind, name] += (kind, name) in made
                world.kube.remove(kind, NS, name)
        before = len(world.kube.log)
        try:
            await world.look()
        except Crash:
            world.restart()
        made = {(kind, name) for verb, kind, name in world.kube.log[before:] if verb == "create"}
        check(world, lived)
        if not world.store.broken:
            world.act()
        world.tick()
        if world.status().get("finishedAt") and len(world.kube.log) == before:
            break
    return unseen


def ended_well(world: World, crashes: set[int], unseen: Children) -> None:
    """Promoted with the model that was evaluated, what was committed paid once, and no child twice."""
    status = world.status()
    assert status["verdict"] == "Promoted", status.get("progress")
    assert {s["state"] for s in status["stages"] if s["name"] not in ("ImportModel", "Export")} == {"Succeeded"}
    evaluated = next(s["manifest"] for s in status["stages"] if s["name"] == "EvaluateCandidate")
    assert status["model"]["digest"] == world.read(evaluated).result.model == world.promotions()[0].model_digest
    assert status["usage"]["tokens"] == [{"role": "Teacher", "tokens": "1350"}], "what was committed is paid once"
    for child, times in children_of(world).items():  # again after a crash, or where it went before any look saw it
        assert times <= 1 + len(crashes) + unseen[child], child
    attempts = sum(s["attempt"] for s in status["stages"] if s["name"] != "Preflight")
    assert len([name for kind, name in children_of(world) if kind in ("Job", "RolloutPool", "RLJob")]) <= attempts


@pytest.mark.timeout(900)
@settings(max_examples=25, deadline=None)
@example(crashes=set(), after=False, outages=set(), deletions=[(20, "RolloutPool", 0)])
@example(crashes={1, 36, 69, 103, 39, 12, 78, 47, 19, 52, 29, 30}, after=False,
         outages={0, 33, 36, 46, 16, 49, 51, 19, 57, 25}, deletions=[(37, "RolloutPool", 0)])  # fmt: skip
@example(crashes=set(), after=True, outages={57, 14}, deletions=[(0, "Job", 0), (20, "RolloutPool", 0)])
@WALKS
async def test_random_walks_end_well(crashes: set[int], after: bool, outages: set[int], deletions: Deletions) -> None:
    """Anything of any kind may be deleted in any state: the same model, the same bill, no child twice."""
    world = World()
    world.apply(ROUND)
    ended_well(world, crashes, await walk(world, crashes, after, outages, deletions))


class Working(Billed):
    """A billed world whose turns are minutes, and whose models are asked and trained for many of them."""

    def __init__(self) -> None:
        super().__init__()
        self.turn, self.most = 0, 0

    def act(self) -> None:
        self.turn += 1
        self.holding = set() if self.turn % 12 == 0 else {"Train", "EvaluateBase", "EvaluateCandidate"}
        super().act()

    def tick(self, seconds: float = MINUTE) -> None:
        self.most = max(self.most, held(self.of_kind("Pod"), "nvidia.com/gpu"))
        super().tick(seconds)


@pytest.mark.timeout(900)
@settings(max_examples=12, deadline=None)
@example(crashes=set(), after=False, outages=set(), deletions=[(23, "RLJob", 0), (35, "RayJob", 0)])
@example(crashes=set(range(20, 32)), after=True, outages=set(range(20, 28)), deletions=[(24, "RLJob", 0)])
@WALKS
async def test_random_walks_on_gpus_are_billed_for_what_pods_held(
    crashes: set[int], after: bool, outages: set[int], deletions: Deletions
) -> None:
    """The bill at the end is what an accountant of its own has seen, but for a turn of what no look has seen."""
    world = Working()
    ended_well(world, crashes, await walk(world, crashes, after, outages, deletions))
    late = SEAMS + len(crashes) + len(outages) + len(deletions)
    assert world.hours == pytest.approx(world.truth / HOUR, abs=late * world.most * MINUTE / HOUR), "lost, or twice"


def check(world: World, lived: dict[str, int]) -> None:
    """Invariants at every moment."""
    status = world.status()
    live = [j for j in world.of_kind("Job") if not (j.get("status") or {}).get("conditions")]
    stages = Counter(j["metadata"]["labels"]["flywheel.dev/stage"] for j in live)
    assert all(n == 1 for n in stages.values()), f"two live Jobs of one stage: {stages}"
    for obj in world.kube.objects.values():
        if obj["kind"] in ("Job", "RolloutPool", "RLJob", "RayJob", "RayService"):
            assert obj["metadata"]["ownerReferences"][0]["controller"]
    for stage in status.get("stages", []):
        assert stage.get("attempt", 0) >= lived.get(stage["name"], 0), "attempts never go back"
        lived[stage["name"]] = stage.get("attempt", 0)
        committed = stage["state"] == "Succeeded" and stage["name"] not in ("Preflight", "ServeBase", "ServeCandidate")
        assert not committed or stage.get("manifest"), f"{stage['name']} succeeded without a manifest"


async def test_a_lost_reply_of_a_create_makes_no_second_child() -> None:
    world = World()
    world.apply(ROUND)
    lost: set[str] = set()

    def lose(verb: str, kind: str) -> None:
        if verb == "create" and kind not in lost and kind != "Event":
            lost.add(kind)
            raise Retryable("the answer was lost")

    world.kube.after_write = lose
    await drive(world)
    assert lost >= {"Job", "RolloutPool", "RLJob", "RayJob", "RayService"}
    assert world.status()["verdict"] == "Promoted"


@pytest.mark.timeout(300)
@settings(max_examples=15, deadline=None)
@given(bad=st.sets(st.integers(1, 200), max_size=60), after=st.booleans())
async def test_an_api_server_that_fails_now_and_then_only_costs_time(bad: set[int], after: bool) -> None:
    world = World()
    world.apply(ROUND)
    count = 0

    def flaky(verb: str, kind: str) -> None:
        nonlocal count
        count += 1
        if count in bad:
            raise Retryable("503")

    if after:
        world.kube.after_write = flaky
    else:
        world.kube.before_write = flaky
    lived: dict[str, int] = {}
    for _ in range(250):
        before = len(world.kube.log)
        await world.look()
        check(world, lived)
        world.act()
        world.tick()
        if world.status().get("finishedAt") and len(world.kube.log) == before:
            break
    assert world.status()["verdict"] == "Promoted"
    assert {s["attempt"] for s in world.status()["stages"] if s["state"] != "Skipped"} == {1}, (
        "trouble of the API server is no attempt's failure"
    )
