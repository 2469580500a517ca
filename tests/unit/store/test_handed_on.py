"""What a campaign has seen goes from round to round, once, and past rounds that have one track only."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.records.agentic import Fingerprint
from flywheel_api.records.reasoning import KnownProblem, Problem
from flywheel_api.results import PreparedResult, Result, RolloutsResult
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import rounds
from flywheel_jobs.harness.context import OutputFile, StageContext, store_file
from flywheel_jobs.reasoning import past
from flywheel_jobs.stages.prepare import carry
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

POOL = [Problem(id=f"p{n}", question=f"{n} + 1", answer=str(n + 1)) for n in range(3)]
KNOWN = [KnownProblem(id=POOL[0].content)]
ASKED = [Fingerprint(id="t1", near="one"), Fingerprint(id="t2", near="two")]


@pytest.fixture
def store() -> Store:
    return Store(MemoryBucket())


def put(store: Store, result: Result, files: list[OutputFile], inputs: Mapping[Any, str]) -> str:
    owner = Owner(kind="FlywheelRound", namespace="n", name="r", uid="u")
    entries = [store_file(store, file) for file in files]
    made = Manifest(owner=owner, stage="S", attempt=1, files=entries, result=result,
                    inputs={str(k): v for k, v in inputs.items()}, created_at="2026-01-01T00:00:00Z")  # fmt: skip
    return store.put_manifest(made)


def a_round(store: Store, prepared: list[OutputFile], ended: Mapping[Stage, list[OutputFile]]) -> list[str]:
    """A round's rollouts, one for each of its tracks, with what is behind them."""
    prepare = put(store, PreparedResult(suites=[]), prepared, {})
    made = {
        stage: put(store, RolloutsResult(step=0), files, {Stage.PREPARE: prepare}) for stage, files in ended.items()
    }
    data = {stage: put(store, RolloutsResult(step=n), [], made) for n, stage in enumerate(made)}
    return [put(store, RolloutsResult(step=1), [], {"train": digest}) for digest in data.values()]


def first(store: Store) -> list[str]:
    left = past.Past(pool=[*POOL, *POOL], known=KNOWN).files()  # as rounds wrote it that read both trainings' pools
    asked = OutputFile.of(rounds.SEEN, Fingerprint, ASKED)
    return a_round(store, [], {Stage.MEASURE_REASONING: left, Stage.SOLVE_AGENTIC: [asked]})


def context(store: Store, rollouts: list[str], held: bool = False, **tracks: object) -> StageContext:
    """Of a stage of a round of these tracks, on a base round that left these rollouts."""
    spec = SimpleNamespace(**{"reasoning": None, "agentic": None} | tracks)
    config = SimpleNamespace(previous_rollouts=rollouts, previous_held=held)
    return cast(StageContext, SimpleNamespace(store=store, spec=spec, config=config))


def seen_after(store: Store, rollouts: list[str]) -> tuple[list[Problem], list[KnownProblem], list[str]]:
    carried = past.carried(context(store, rollouts))
    return carried.pool, carried.known, [f.near for f in rounds.handed_on(store, rollouts)]


def carried_by(store: Store, rollouts: list[str], **tracks: object) -> list[OutputFile]:
    """What Prepare of a round of these tracks carries."""
    return carry(context(store, rollouts, **tracks))


def test_both_trainings_of_a_round_hand_the_same_on_once(store: Store) -> None:
    rollouts = first(store)
    assert len(rollouts) == 2
    assert seen_after(store, rollouts) == (POOL, KNOWN, ["one", "two"])


@pytest.mark.parametrize("between", [1, 2])
@pytest.mark.parametrize("track", ["reasoning", "agentic"])
def test_a_round_of_one_track_breaks_no_chain_of_the_other(store: Store, track: str, between: int) -> None:
    rollouts = first(store)
    own = {
        "reasoning": {Stage.MEASURE_REASONING: past.Past(pool=POOL, known=KNOWN).files()},
        "agentic": {Stage.SOLVE_AGENTIC: [OutputFile.of(rounds.SEEN, Fingerprint, ASKED)]},
    }[track]
    for _ in range(between):
        rollouts = a_round(store, carried_by(store, rollouts, **{track: object()}), own)
    assert seen_after(store, rollouts) == (POOL, KNOWN, ["one", "two"])


def test_a_round_carries_nothing_of_a_track_that_it_has(store: Store) -> None:
    assert carried_by(store, first(store), reasoning=object(), agentic=object()) == []
    assert carried_by(store, []) == []


def test_what_was_pruned_is_not_read(store: Store) -> None:
    gone = put(store, RolloutsResult(step=1), [], {"train": f"sha256:{7:064d}"})
    assert seen_after(store, [gone, *first(store)]) == (POOL, KNOWN, ["one", "two"])
    assert seen_after(store, [gone]) == ([], [], [])


def test_a_held_round_hands_on_what_it_was_handed_as_learned_and_what_it_measured_as_pool(store: Store) -> None:
    before, then = past.Past(known=KNOWN), past.Past(pool=POOL, known=[*KNOWN, KnownProblem(id=POOL[1].content)])
    prepare = put(store, PreparedResult(suites=[]), [], {})
    mine = put(store, RolloutsResult(step=0), before.files(), {Stage.PREPARE: prepare})
    measure = put(store, RolloutsResult(step=0), then.files(), {Stage.PREPARE: prepare, Stage.MINE_REASONING: mine})
    data = put(store, RolloutsResult(step=0), [], {Stage.MEASURE_REASONING: measure})
    rollouts = [put(store, RolloutsResult(step=1), [], {"train": data})]
    assert past.carried(context(store, rollouts)) == then
    assert past.carried(context(store, rollouts, held=True)) == past.Past(pool=POOL, known=KNOWN)


def test_a_held_round_without_a_track_hands_on_what_it_carried(store: Store) -> None:
    agentic = {Stage.SOLVE_AGENTIC: [OutputFile.of(rounds.SEEN, Fingerprint, ASKED)]}
    rollouts = a_round(store, carried_by(store, first(store), agentic=object()), agentic)
    assert past.carried(context(store, rollouts, held=True)) == past.Past(pool=POOL, known=KNOWN)
