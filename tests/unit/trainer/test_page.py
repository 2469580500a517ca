"""The round's page while a training runs: it grows with the curve, and nothing about it can hurt the training."""

from __future__ import annotations

from typing import Any

import pytest

from contract import stages
from flywheel_api.artifacts import Owner, report_key
from flywheel_api.causes import ExitCode
from flywheel_api.results import CurvePoint
from flywheel_api.round_status import StageState, StageStatus
from flywheel_api.stages import STAGE_CONFIG_ENV, Stage, StageConfig
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import page
from flywheel_jobs.trainer.page import PAUSE, RoundPage
from flywheel_store.memory import MemoryBucket
from unit.trainer.driver_run import run
from unit.trainer.driver_run import store as store  # a fixture

JOB = Owner(kind="RLJob", namespace="n", name="job", uid="uid-1")
CURVE = [CurvePoint(step=n, reward=n / 10) for n in range(1, 5)]


def of_round() -> StageConfig:
    """What the operator tells a training of its round."""
    running = StageStatus(name="TrainReasoning", state=StageState.RUNNING, attempt=1)
    return stages.config(Stage.TRAIN_REASONING, stages.round_spec(), "http://unused", {}, timeline=[running])


class Drawn:
    """A training's page, on a clock that a test moves."""

    def __init__(self, told: str | None = of_round().model_dump_json(by_alias=True), job: Owner = JOB) -> None:
        self.now, self.store = 0.0, Store(MemoryBucket())
        environ = {} if told is None else {STAGE_CONFIG_ENV: told}
        self.page = RoundPage(self.store, job, environ, clock=lambda: self.now)

    def after(self, points: int) -> str:
        """The page in the store once the training has told of so many points."""
        self.page.refresh(CURVE[:points])
        if self.page.drawing is not None:
            self.page.drawing.join()
        return (self.store.get_bytes(report_key(of_round().owner)) or b"").decode()


def test_the_page_grows_with_the_curve_once_a_minute() -> None:
    drawn = Drawn()
    assert "train reasoning" in drawn.after(0).lower()
    drawn.now = PAUSE - 1
    assert "2 steps" not in drawn.after(2)
    drawn.now = PAUSE
    assert "2 steps" in drawn.after(2)
    drawn.now = 3 * PAUSE
    assert "4 steps" in drawn.after(4)


@pytest.mark.parametrize("told", [None, "{}", "no JSON"])
def test_a_job_without_a_round_draws_nothing(told: str | None) -> None:
    assert Drawn(told).after(4) == ""


def test_no_job_draws_a_page_of_another_namespace() -> None:
    assert Drawn(job=JOB.model_copy(update={"namespace": "elsewhere"})).after(4) == ""


def test_a_page_that_cannot_be_drawn_costs_the_training_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("a curve without an axis")

    drawn = Drawn()
    with monkeypatch.context() as patch:
        patch.setattr("flywheel_jobs.trainer.page.draw", broken)
        assert drawn.after(1) == ""
    drawn.now = PAUSE
    assert "2 steps" in drawn.after(2), "the next look is a new one"


def test_one_drawing_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away holds one back for longer than a minute."""
    drawn, seen = Drawn(), []

    def slow(*_: object, **__: object) -> None:
        seen.append(drawn.page.drawing)
        drawn.now += 2 * PAUSE
        drawn.page.refresh(CURVE)  # as the next step would, meanwhile

    monkeypatch.setattr("flywheel_jobs.trainer.page.draw", slow)
    drawn.after(1)
    assert len(seen) == 1


def test_a_training_draws_while_it_runs(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is lost in its third step: nothing but its driver can have drawn what came before."""
    monkeypatch.setattr(page, "PAUSE", 0.0)
    monkeypatch.setenv(STAGE_CONFIG_ENV, of_round().model_dump_json(by_alias=True))
    assert run(store, monkeypatch, 1, "crash:3") == ExitCode.APP
    assert b" steps</span>" in store.get_bytes(report_key(of_round().owner))
