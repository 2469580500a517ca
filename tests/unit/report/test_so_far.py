"""The page of a round that goes on: there from the first stage on, and never dearer than the stage that draws it."""

from __future__ import annotations

import asyncio

import pytest

from contract import stages
from flywheel_api.artifacts import report_key
from flywheel_api.results import PreparedResult
from flywheel_api.round_status import StageState, StageStatus
from flywheel_api.stages import Stage
from flywheel_jobs.harness.context import StageContext, StageResult
from flywheel_jobs.report.load import load
from flywheel_jobs.stages.main import with_page
from flywheel_jobs.stages.report import so_far
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket
from unit.report import synthetic

PREPARED = StageStatus(name="Prepare", state=StageState.SUCCEEDED, attempt=1)


async def done(ctx: StageContext) -> StageResult:
    return StageResult(PreparedResult(suites=[]))


def run(store: Store, shard: int = 0) -> str | None:
    """Where a stage says that it has drawn the page."""
    config = stages.config(Stage.MINE_REASONING, stages.round_spec(), "http://unused", {}, timeline=[PREPARED])

    async def begin() -> str | None:
        ctx = StageContext(config, store, shard)
        await with_page(done)(ctx)
        return ctx.attempt.pulse.progress.report

    return asyncio.run(begin())


def page(store: Store) -> bytes | None:
    config = stages.config(Stage.REPORT, stages.round_spec(), "http://unused", {})
    return store.get_bytes(report_key(config.owner))


def test_a_stage_that_starts_draws_what_the_round_has_come_to() -> None:
    store = Store(MemoryBucket())
    uri = run(store)
    drawn = page(store)
    assert uri is not None and uri.endswith("/report.html")
    assert drawn is not None and b"Prepare" in drawn and b"The round has not been decided." in drawn


def test_only_the_first_of_a_stages_pods_draws() -> None:
    store = Store(MemoryBucket())
    assert run(store, shard=1) is None and page(store) is None


def test_a_page_that_cannot_be_drawn_costs_the_stage_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a curve without an axis")

    monkeypatch.setattr("flywheel_jobs.report.page.load", broken)
    assert run(Store(MemoryBucket())) is None


def test_what_may_be_large_is_left_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    config, store = synthetic.make_round()
    assert load(config, store).items
    monkeypatch.setattr("flywheel_jobs.report.load.read_records", None)
    ctx = StageContext(config, store)  # type: ignore[arg-type]  # all that is asked of it is a BlobStore
    asyncio.run(so_far(ctx))
    drawn = store.get_bytes(report_key(config.owner))
    assert drawn is not None and b"numeracy-heldout" in drawn and ctx.attempt.pulse.progress.report
