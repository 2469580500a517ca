"""TensorBoard's files as TensorBoard's own reader reads them: every step, one line through all attempts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flywheel_api import artifacts
from flywheel_api.artifacts import Owner
from flywheel_api.results import CurvePoint
from flywheel_jobs.core.errors import StoreUnavailable
from flywheel_jobs.harness.attempt import Attempt
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import trail
from flywheel_jobs.trainer.trail import Trail
from flywheel_store.memory import MemoryBucket

pytest.importorskip("tensorboard")  # the trainers' images have it by verl
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

KEY = "sha256:" + "1" * 64
REWARD = "critic/score/mean"


def attempt(store: Store, number: int) -> Attempt:
    return Attempt(store, Owner(kind="RLJob", namespace="n", name="job", uid="u"), "Train", number, KEY)


def train(store: Store, folder: Path, number: int, steps: range) -> None:
    made = Trail(attempt(store, number), folder / f"a{number}")
    for step in steps:
        made.numbers(step, {REWARD: step / 10, "actor/grad_norm": float("nan"), f"attempt/{number}": 1.0})
        made.step(CurvePoint(step=step), None)


def read(store: Store, folder: Path) -> EventAccumulator:
    """The log directory as it is in the store."""
    prefix = artifacts.board_prefix("n", KEY)
    folder.mkdir()
    for key in store.list_keys(prefix):
        (folder / key.removeprefix(prefix)).write_bytes(store.get_bytes(key) or b"")
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return found


def test_every_step_is_drawn(tmp_path: Path) -> None:
    store = Store(MemoryBucket())
    train(store, tmp_path, 1, range(1, 6))
    board = read(store, tmp_path / "read")
    points = [(p.step, round(p.value, 3)) for p in board.Scalars(REWARD)]
    assert points == [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4), (5, 0.5)]
    assert "actor/grad_norm" not in board.Tags()["scalars"], "what is no number is not drawn"


def test_an_attempt_that_resumes_draws_on_and_takes_back_what_was_lost(tmp_path: Path) -> None:
    """Steps 3 to 5 of the first attempt were lost with it: its last checkpoint was step 2."""
    store = Store(MemoryBucket())
    train(store, tmp_path, 1, range(1, 6))
    train(store, tmp_path, 2, range(3, 5))
    board = read(store, tmp_path / "read")
    assert [p.step for p in board.Scalars(REWARD)] == [1, 2, 3, 4]
    assert [p.step for p in board.Scalars("attempt/2")] == [3, 4]
    assert len(store.list_keys(artifacts.board_prefix("n", KEY))) == 2


def test_a_long_training_is_many_small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "FILE_BYTES", 200)
    store = Store(MemoryBucket())
    train(store, tmp_path, 1, range(1, 31))
    keys = store.list_keys(artifacts.board_prefix("n", KEY))
    assert len(keys) > 5 and all(len(store.get_bytes(k) or b"") < 1000 for k in keys)
    assert [p.step for p in read(store, tmp_path / "read").Scalars(REWARD)] == list(range(1, 31))


def test_without_tensorboard_it_is_said_once_and_steps_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    store = Store(MemoryBucket())
    train(store, tmp_path, 1, range(1, 5))
    assert "".join(capsys.readouterr()).count("no TensorBoard files are written") == 1
    steps = [key for key in store.list_keys(artifacts.result_prefix("n", KEY)) if "/steps/" in key]
    assert len(steps) == 4 and not store.list_keys(artifacts.board_prefix("n", KEY))


def test_what_could_not_be_written_is_written_with_the_next_step(tmp_path: Path) -> None:
    bucket = MemoryBucket()
    store = Store(bucket)
    made = Trail(attempt(store, 1), tmp_path / "a1")
    for step in (1, 2, 3):
        bucket.broken = step == 2
        made.numbers(step, {REWARD: step / 10})
        made.step(CurvePoint(step=step), None)
    assert [p.step for p in read(store, tmp_path / "read").Scalars(REWARD)] == [1, 2, 3]
    bucket.broken = True
    with pytest.raises(StoreUnavailable):
        store.get_bytes("x")
