"""The band is filled: bounded waves, no family above a third, no problem twice, the same again on another run."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel_api.records.base import Lineage, PassRate
from flywheel_api.records.reasoning import Band, Problem, Sample
from flywheel_api.results import MeasuredResult
from flywheel_api.round import FlywheelRoundSpec
from flywheel_jobs.endpoints.llm import ChatResult
from flywheel_jobs.reasoning import bands, filling, replay, roles
from flywheel_jobs.reasoning.bands import Limits, limits_of
from flywheel_jobs.reasoning.filling import Aim, Filled, family_of, fill
from flywheel_jobs.reasoning.past import Past
from flywheel_jobs.reasoning.variants import Order
from flywheel_jobs.stages.measure_reasoning import note
from unit.operator.world import ROUND

LIMITS = Limits(0.2, 0.8)
FAMILIES = ("add", "sub", "mul", "next", "")


def problem(n: int | str, family: str, rate: float, level: int | None = None, root: str | None = None) -> Problem:
    passed = PassRate(n=8, k=round(8 * rate))
    return Problem(
        id=f"p{n}", question=f"{n}?", answer="1", family=family, level=level, policy_pass=passed,
        band=LIMITS.band(passed.rate), lineage=Lineage(root_id=root),
    )  # fmt: skip


class World:
    """A Teacher and a policy: a variant lies one level below or above its parent, or in the next family."""

    def __init__(self, skill: float, lost: float, seed: int) -> None:
        self.skill, self.lost, self.seed = skill, lost, seed
        self.orders: list[Order] = []
        self.sizes: list[int] = []

    async def make(self, wave: int, orders: list[Order]) -> list[Problem]:
        self.orders += orders
        self.sizes.append(len(orders))
        return [p for p in map(self.variant, orders) if p is not None]

    def variant(self, order: Order) -> Problem | None:
        rng = random.Random(f"{self.seed}{order.key}")
        if rng.random() < self.lost:
            return None
        level = (order.parent.level or 1) + {"lower-difficulty": -1, "raise-difficulty": 1}.get(order.operator, 0)
        family = rng.choice(FAMILIES) if order.operator == "swap-family" else order.parent.family
        rate = min(1.0, max(0.0, self.skill + 0.35 * (2 - level) + rng.uniform(-0.3, 0.3)))
        root = order.parent.lineage.root_id or order.parent.id
        return problem(order.key if rng.random() < 0.9 else "twin", family, rate, max(1, level), root)


def filled(first: list[Problem], aim: Aim, world: World) -> Filled:
    return asyncio.run(fill(first, aim, random.Random(5), world.make))


PROBLEMS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(FAMILIES), st.floats(0, 1), st.integers(1, 3)))
AIMS = st.builds(Aim, st.none() | st.integers(1, 30), st.integers(1, 8), st.integers(0, 5))


@settings(max_examples=80, deadline=None)
@given(PROBLEMS, AIMS, st.floats(-0.2, 1.2), st.sampled_from((0.0, 0.4, 1.0)), st.integers(0, 5))
def test_a_filled_band(rows: list[tuple[int, str, float, int]], aim: Aim, skill: float, lost: float, seed: int) -> None:
    first, world = [problem(*row) for row in rows], World(skill, lost, seed)
    found = filled(first, aim, world)

    assert found.waves == len(world.sizes) <= aim.waves
    assert all(0 < size <= filling.PER_MISSING * aim.enough for size in world.sizes)
    assert len({o.key for o in world.orders}) == len(world.orders), "an order is given once"
    contents = [p.content for p in found.measured]
    assert len(set(contents)) == len(contents) and {p.content for p in first} <= set(contents)
    assert {p.content for p in found.chosen} <= set(contents) and len({p.id for p in found.chosen}) == len(found.chosen)
    assert all(p.band is Band.FRONTIER for p in found.chosen)
    assert aim.prompts is None or len(found.chosen) <= aim.prompts
    inside = sum(p.band is Band.FRONTIER for p in found.measured)
    most = max(1, (aim.prompts or max(inside, aim.least)) // 3)
    assert max(Counter(map(family_of, found.chosen)).values(), default=0) <= most
    if len(found.chosen) < aim.enough:
        assert found.waves == aim.waves or not first, "the search ends early only when it is done"
    assert filled(first, aim, World(skill, lost, seed)) == found, "the same again"


def test_what_is_never_solved_gets_easier_and_what_always_is_gets_harder() -> None:
    first = [problem("h", "add", 0.0, 2), problem("s", "mul", 1.0, 2), problem("f", "sub", 0.5, 2)]
    world = World(0.5, 0.0, 0)
    filled(first, Aim(30, 4, 1), world)
    by_parent = {o.parent.id: o.operator for o in reversed(world.orders)}
    assert by_parent == {"ph": "lower-difficulty", "ps": "raise-difficulty", "pf": "change-values"}
    assert {op for moves in filling.MOVES.values() for op in moves} | set(filling.ACROSS) <= set(roles.INSTRUCTIONS)


def test_a_family_that_has_its_share_is_left_and_the_easiest_gets_no_easier() -> None:
    first = [problem(n, "add", 0.5, 1) for n in range(6)] + [problem("h", "mul", 0.0, 1)]
    world = World(0.5, 0.0, 0)
    filled(first, Aim(12, 4, 1), world)
    assert {o.operator for o in world.orders} == {"swap-family"}


def test_what_is_replayed_counts_for_its_family() -> None:
    old = tuple(problem(f"o{n}", "add", 0.5) for n in range(3))
    found = filled([problem(n, "add", 0.5) for n in range(9)], Aim(9, 4, 0, old), World(0, 0, 0))
    assert len(found.chosen) == 1, "a third of 9 and 3 is 4"


@pytest.mark.parametrize(("rate", "band"), [(0, "hard"), (0.125, "hard"), (0.25, "frontier"), (0.75, "frontier"),
                                            (0.875, "solved"), (1, "solved")])  # fmt: skip
def test_bands(rate: float, band: str) -> None:
    assert LIMITS.band(rate) == band


def test_never_and_always_are_outside_whatever_the_limits() -> None:
    assert [Limits(0, 1).band(r) for r in (0, 0.01, 0.99, 1)] == ["hard", "frontier", "frontier", "solved"]


def test_the_band_is_wider_in_a_round_on_a_model() -> None:
    spec = yaml.safe_load(ROUND)["spec"]

    def of(number: int, **change: object) -> Limits:
        return limits_of(FlywheelRoundSpec.model_validate(spec | change), number)

    assert of(1) == Limits(0.05, 0.95)
    assert of(2, base={"round": "r1"}) == Limits(0.2, 0.8)
    stated = spec["reasoning"] | {"difficulty": {"low": "0.3"}}
    assert of(2, base={"round": "r1"}, reasoning=stated) == Limits(0.3, 0.8)


def test_replay_takes_what_is_being_lost_first_and_nothing_that_is_gone() -> None:
    measured = [
        problem("gone", "add", 0.0),
        problem("kept", "add", 1.0),
        problem("lost", "add", 0.5),
        problem("m", "mul", 1.0),
    ]
    assert [p.id for p in replay.replayed(measured, 3, 9)] == ["plost", "pkept", "pm"]
    assert [p.id for p in replay.replayed(measured, 3, 3)] == ["plost", "pm"], "no family above a third here either"
    assert [p.id for p in replay.replayed(measured, 1, 9)] == ["plost"]


def test_what_is_drawn_for_replay_is_measured_once() -> None:
    pool = [problem(n, "add", 0.5) for n in range(9)]
    drawn = replay.drawn(pool, pool[:2], 3, random.Random(1))
    assert drawn == pool[2:6], "twice as many as are wanted, those that mining has tried among them"


def test_what_a_round_hands_on() -> None:
    hard, solved, spare, taught = (
        problem("h", "", 0.0),
        problem("s", "", 1.0),
        problem("f", "", 0.5),
        problem("t", "", 0.5),
    )
    after = Past().then([hard, solved, spare, taught], [taught], 10)
    assert after.trained == {taught.content} and {p.id for p in after.pool} == {"ph", "ps", "pf", "pt"}
    assert [p.id for p in after.proposed()] == ["ph", "pf"] and all(p.band is None for p in after.proposed())
    assert [p.id for p in after.replayable()] == ["pt", "ps"]
    later = after.then([hard.model_copy(update={"band": Band.FRONTIER})], [hard], 10)
    assert later.trained == {taught.content, hard.content} and "ph" not in {p.id for p in later.proposed()}
    assert [p.id for p in later.pool if p.content in later.trained] == ["ph", "pt"], "the newest first"
    bounded = Past().then([problem(n, "", 0.0) for n in range(20)], [], 5)
    assert len(bounded.pool) == 5


def test_each_problem_is_sampled_with_a_seed_of_its_own() -> None:
    seeds: list[int] = []

    class Policy:
        async def chat(self, _messages: object, n: int, seed: int, **_more: object) -> ChatResult:
            seeds.append(seed)
            return ChatResult(["1"] * n, ["stop"] * n, [""] * n)

    class Context:
        reasoning = FlywheelRoundSpec.model_validate(yaml.safe_load(ROUND)["spec"]).reasoning

        def llm(self, _role: object) -> Policy:
            return Policy()

        def seed(self, *parts: object) -> int:
            return int.from_bytes(repr(parts).encode()[-3:], "big")

        async def map_items(self, items: Sequence[Problem], key: Any, work: Any, *_more: object) -> dict[str, Sample]:
            return {key(item): await work(item) for item in items}

    asked: Any = Context()
    found, samples = asyncio.run(bands.measured(asked, [problem(n, "", 0) for n in range(5)], 4, LIMITS, "measure"))
    assert len(set(seeds)) == 5 and [len(s.correct) for s in samples] == [4] * 5
    assert all(p.band is Band.SOLVED and p.policy_pass == PassRate(n=4, k=4) for p in found)


def test_a_family_that_is_most_of_what_was_found_is_named() -> None:
    """A third of what is wanted is most of what there is, where little is found: one family alone is still trained."""

    def said(**families: int) -> str:
        aim = Aim(24, 4, 3)
        rows = [problem(f"{family}{n}", family, 0.5) for family, most in families.items() for n in range(most)]
        chosen = filling.choose(rows, aim)
        counted = dict(Counter(map(family_of, chosen)))
        return note(MeasuredResult(wanted=24, found=len(chosen), families=counted), aim)

    assert "8 of the 9 are add, as other families are missing" in said(add=12, mul=1)
    assert "8 of the 8 are add" in said(add=12)
    for even in (said(add=12, mul=12, sub=12), said(add=2, mul=2, sub=2), said(add=1, mul=1), said()):
        assert "as other families" not in even
