"""The seam at its other end: what a training commits is fed to the operator's code that reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.stages import stored
from flywheel_api.artifacts import Manifest, Progress
from flywheel_api.results import TrainingResult
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import StageState, StageStatus
from flywheel_api.stages import TRAIN_STAGE, Stage
from flywheel_operator.model import Meta, Record, RLJobSeen, Timings
from flywheel_operator.observe.attempts import verify
from flywheel_operator.plan import results
from flywheel_operator.plan.rljob import plan_rljob
from unit.operator.world import World, story
from unit.trainer import test_driver
from unit.trainer.test_driver import CONTENT, OWNER, STEPS

NOW = datetime(2026, 11, 26, tzinfo=UTC)
META = Meta(OWNER.name, OWNER.namespace, OWNER.uid, 1)
store = test_driver.store


@pytest.fixture
def trained(store: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Manifest, Progress]:
    """What the driver leaves behind a whole run over a fake verl."""
    assert test_driver.run(store, monkeypatch, 1) == 0
    return test_driver.manifest(store), Progress.model_validate(test_driver.record(store, "progress", 1))


async def test_the_commit_of_a_training_is_verified(trained: tuple[Manifest, Progress]) -> None:
    manifest, _ = trained
    found, problem = await verify(stored(manifest), manifest.canonical(), CONTENT, TRAIN_STAGE)
    assert problem is None and found == manifest


def test_an_rljob_succeeds_with_it(trained: tuple[Manifest, Progress]) -> None:
    manifest, progress = trained
    record = Record(digest=manifest.digest, manifest=manifest, progress=progress)
    status = RLJobStatus(attempt=1, attempt_started_at="2026-11-25T00:00:00Z", content_key=CONTENT)
    spec = RLJobSpec.model_validate({"model": manifest.digest, "data": {"train": [manifest.digest]}, "reward": {}})
    seen = RLJobSeen(record=record, model_uri="s3://b/m")
    plan = plan_rljob(META, spec, status, seen, NOW, Timings())
    assert plan.status.model is not None
    assert (plan.status.model.digest, plan.status.model.step) == (manifest.digest, STEPS)
    assert (plan.status.manifest, plan.status.step) == (manifest.digest, STEPS)
    assert plan.status.reward and float(plan.status.reward) == pytest.approx(0.4)
    assert plan.status.reused_from is None, "its own commit"


def test_a_round_sums_it_up(trained: tuple[Manifest, Progress]) -> None:
    manifest, _ = trained
    assert results.counted(manifest)["counts"].in_ == "8"
    stages = {Stage.TRAIN_REASONING: StageStatus(name=Stage.TRAIN_REASONING, state=StageState.SUCCEEDED)}
    said = results.spent(stages, {Stage.TRAIN_REASONING: manifest}, timedelta(0))
    assert said.startswith(f"{STEPS} steps")


def test_the_operator_s_fake_builds_the_same(trained: tuple[Manifest, Progress]) -> None:
    fake, _ = story(TRAIN_STAGE, World(), {"owner": {"name": "job"}})
    assert isinstance(fake, TrainingResult) and type(trained[0].result) is TrainingResult
