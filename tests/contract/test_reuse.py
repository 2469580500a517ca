"""A result lies where its content says: whoever makes the same finds it, finished items included, and pays for none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from contract import stages
from contract.models import Endpoint, serving
from contract.rounds import Round
from flywheel_api import artifacts
from flywheel_api.artifacts import Manifest, Progress
from flywheel_api.round import Role
from flywheel_api.stages import Stage, StageConfig
from flywheel_jobs.core.errors import BudgetExceeded, EndpointUnavailable
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.harness.journal import Journal
from flywheel_jobs.harness.runner import run_stage
from flywheel_jobs.stages import prepare
from flywheel_jobs.stages.main import STAGES
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket

SECOND = {"uid": "u2", "name": "r2"}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as running:
        yield running


@pytest.fixture
def round_(endpoint: Endpoint) -> Round:
    made = Round(Store(MemoryBucket()), endpoint, stages.round_spec())
    made.run(Stage.PREPARE)
    return made


def limited(config: StageConfig, tokens: int) -> StageConfig:
    return config.model_copy(
        update={"endpoints": [e.model_copy(update={"token_limit": tokens}) for e in config.endpoints]}
    )


def tokens(manifest: Manifest) -> tuple[int, int]:
    """Of the policy: what the owner spent, and what was taken over."""
    own, other = (
        sum(u.prompt_tokens + u.completion_tokens for u in used if u.role == Role.POLICY)
        for used in (manifest.usage.roles, manifest.usage.taken_over)
    )
    return own, other


def test_another_round_takes_the_commit_and_asks_nobody(round_: Round, endpoint: Endpoint) -> None:
    first = round_.run(Stage.MINE_REASONING)
    before = endpoint.standin.served
    config = round_.config(Stage.MINE_REASONING, **SECOND)
    context = StageContext(config, round_.store)
    context.attempt.pulse.start()
    assert asyncio.run(run_stage(context, STAGES[config.stage])) == first.digest
    context.attempt.pulse.stop()
    assert endpoint.standin.served == before
    key = artifacts.progress_key("u2", Stage.MINE_REASONING, 1)
    assert Progress.model_validate(round_.store.get_json(key)).manifest == first.digest
    other = round_.config(Stage.MINE_REASONING, **SECOND, base_model="sha256:" + "2" * 64)
    assert other.content_key != config.content_key, "other weights make another result"


def test_a_prepare_that_stands_is_taken_and_its_endpoints_are_asked_anew(round_: Round, endpoint: Endpoint) -> None:
    first, before = round_.done[Stage.PREPARE], endpoint.standin.served
    teacher = round_.config(Stage.SYNTHESIZE_REASONING).endpoints
    config = round_.config(Stage.PREPARE, **SECOND).model_copy(update={"endpoints": teacher})
    for shard in (1, 0):  # another shard leaves it to the first one, and says nothing
        context = StageContext(config, round_.store, shard)
        assert asyncio.run(run_stage(context, STAGES[config.stage], prepare.again)) == first.digest
        told = context.attempt.pulse.progress
        asked = (endpoint.standin.served > before, bool(told.endpoints), told.manifest == first.digest)
        assert asked == (not shard,) * 3
    assert {e.role for e in told.endpoints} == {e.role for e in teacher}
    gone = [e.model_copy(update={"model": "gone"}) for e in teacher]
    context = StageContext(config.model_copy(update={"endpoints": gone, "attempt": 2}), round_.store)
    with pytest.raises(EndpointUnavailable) as refused:
        asyncio.run(run_stage(context, STAGES[config.stage], prepare.again))
    assert refused.value.reason == "EndpointRefused" and context.attempt.pulse.progress.manifest is None


def test_another_round_takes_finished_items_over_and_pays_only_for_the_rest(round_: Round) -> None:
    config = round_.config(Stage.MINE_REASONING)
    whole, none = tokens(round_.run(Stage.MINE_REASONING, only_for="measure"))
    assert none == 0
    with pytest.raises(BudgetExceeded):
        stages.run_here(limited(config, whole // 3), round_.store)
    journal = Journal(round_.store, config.owner, config.content_key, 2)
    journal.load()
    spent = journal.tokens[Role.POLICY]
    assert 0 < spent < whole and journal.items
    again = round_.config(Stage.MINE_REASONING, **SECOND)
    digest = stages.run_here(limited(again, whole - spent + 1), round_.store)  # enough for the rest alone
    manifest = round_.store.get_manifest(digest)
    assert manifest.owner.uid == "u2" and manifest.counts.in_ == 24
    assert tokens(manifest) == (whole - spent, spent)


def test_who_commits_second_returns_what_stands(round_: Round) -> None:
    async def both() -> list[str]:
        contexts = [StageContext(round_.config(Stage.MINE_REASONING, **more), round_.store) for more in ({}, SECOND)]
        for context in contexts:
            await context.open()
        results = [await STAGES[Stage.MINE_REASONING](context) for context in contexts]
        digests = [await c.commit(r) for c, r in zip(contexts, results, strict=True)]
        for context in contexts:
            await context.close()
        return [*digests, *(str(c.attempt.pulse.progress.manifest) for c in contexts)]

    digests = asyncio.run(both())
    assert len(set(digests)) == 1
    assert round_.store.get_manifest(digests[0]).owner.uid == "u1"
