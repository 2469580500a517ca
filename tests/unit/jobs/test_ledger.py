"""One budget of several stages: what is spent never exceeds it by more than a request, whoever dies when."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel_api import artifacts
from flywheel_jobs.harness.ledger import LEASE_SECONDS, QUIET_SECONDS, Entry, Ledger
from flywheel_jobs.storage.datasets import read_model
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

LARGEST = 60  # tokens of a request, at most


class Racing(MemoryBucket):
    """Somebody else writes before a write."""

    before: Callable[[], None] | None = None

    def put_new(self, key: str, data: bytes) -> bool:
        first, self.before = self.before, None
        if first is not None:
            first()
        return super().put_new(key, data)


def entries(store: Store) -> list[Entry]:
    keys = store.list_keys(artifacts.ledger_prefix("u1", "Teacher"))
    return [entry for key in keys if (entry := read_model(store, key, Entry)) is not None]


@dataclass
class Process:
    """A process as its purse sees it: one thread of requests, several in flight."""

    ledger: Ledger
    used: int = 0
    flying: list[int] = field(default_factory=list)
    lent: int = 0
    refused: bool = False

    def ask(self, tokens: int) -> None:
        """A request, if it is lent what it needs."""
        committed = self.used + sum(self.flying)
        if committed + tokens > self.lent:
            said = self.ledger._lend(committed, tokens, not self.flying)
            self.lent = said.tokens
            self.refused = committed + tokens > self.lent and not self.flying
        if committed + tokens <= self.lent:
            self.flying.append(tokens)

    def answer(self, share: float) -> None:
        """An answer to the oldest request, which cost this share of what was set aside."""
        if self.flying:
            self.used += round(share * self.flying.pop(0))


@given(st.integers(0, 2**32), st.integers(1, 4000), st.integers(1, 6))
def test_what_is_spent_stays_within_one_request_of_the_budget(seed: int, limit: int, width: int) -> None:
    """Processes ask, are answered, die, end and are started again in any order, and write in between each other."""
    rng, bucket = random.Random(seed), Racing()
    store, spent = Store(bucket), 0

    def fresh() -> Process:
        return Process(Ledger(store, "u1", "Teacher", limit, "Stage/1/0"))

    live = [fresh() for _ in range(width)]
    for _ in range(60):
        at = rng.randrange(width)
        if rng.random() < 0.3 and width > 1:
            bucket.before = partial(live[(at + 1) % width].ask, rng.randint(1, LARGEST))
        roll = rng.random()
        if roll < 0.5:
            live[at].ask(rng.randint(1, LARGEST))
        elif roll < 0.9:
            live[at].answer(rng.random())
        else:  # it dies, with all that it has in flight being paid for; or ends in order
            if roll < 0.95:
                live[at].used += sum(live[at].flying)
            else:
                live[at].ledger._give_back(live[at].used)
            spent += live[at].used
            live[at] = fresh()
        bucket.before = None
        assert spent + sum(p.used + sum(p.flying) for p in live) < limit + LARGEST
        assert entries(store)[-1].taken < limit + LARGEST if entries(store) else True


@given(st.integers(0, 2**32), st.integers(1, 4000))
def test_nobody_is_refused_while_something_is_left(seed: int, limit: int) -> None:
    """All that a budget has can be spent by several, where nobody dies."""
    rng, store = random.Random(seed), Store(MemoryBucket())
    live = [Process(Ledger(store, "u1", "Teacher", limit, f"Stage/1/{n}")) for n in range(3)]
    while not all(p.refused for p in live):
        one = rng.choice(live)
        one.ask(rng.randint(1, LARGEST)) if rng.random() < 0.6 else one.answer(rng.random())
    assert limit <= sum(p.used for p in live) < limit + LARGEST
    assert entries(store)[-1] == Entry(spent=sum(p.used for p in live))


async def test_what_a_process_did_not_use_is_the_others_once_it_ends() -> None:
    store = Store(MemoryBucket())
    one, other = (Ledger(store, "u1", "Teacher", 100, f"Stage/1/{n}") for n in range(2))
    assert (await one.lend(0, 90, True)).tokens >= 90
    await one.close(30)
    assert entries(store)[-1] == Entry(spent=30)
    assert (await other.lend(0, 70, True)).tokens >= 70


def test_a_lease_whose_process_died_is_counted_and_not_waited_for_for_ever() -> None:
    store, now = Store(MemoryBucket()), [0.0]
    dead = Ledger(store, "u1", "Teacher", 100, "Stage/1/0", lambda: now[0])
    assert dead._lend(0, 90, True).tokens >= 90
    alive = Ledger(store, "u1", "Teacher", 100, "Stage/2/0", lambda: now[0])
    assert alive._lend(0, 20, True).tokens >= 20
    said = alive._lend(20, 20, True)
    assert said.tokens == 20 and said.waits and "of the round's 100 tokens" in said.said
    now[0] += QUIET_SECONDS
    said = alive._lend(20, 20, True)
    assert said.tokens == 20 and not said.waits


@pytest.mark.parametrize("limit", [2_000_000, 4_000_000_000])
def test_a_fast_stage_writes_seldom(limit: int) -> None:
    """Ten minutes at 256 requests of 300 tokens a second, each with 4,000 set aside, 512 in flight."""
    now = [0.0]
    store = Store(MemoryBucket())
    one = Process(Ledger(store, "u1", "Teacher", limit, "Stage/1/0", lambda: now[0]))
    while now[0] < 600 and not one.refused:
        now[0] += 1 / 256
        one.ask(4000)
        if len(one.flying) >= 512 or one.lent < one.used + sum(one.flying) + 4000:
            one.answer(300 / 4000)
    assert len(entries(store)) < 60 + now[0] / LEASE_SECONDS
