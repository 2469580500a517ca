"""What a store says while a training goes on, and after its end: what is waited for, and how long."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from flywheel_api.conditions import Reason
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import sync
from flywheel_store.errors import Refusal, StoreProblem, StoreUnavailable, problem_of
from flywheel_store.memory import MemoryBucket
from unit.trainer.checkpoint_run import Run


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Store(MemoryBucket())
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls, _environ=None: made))
    return made


class Trouble:
    """A store in which a call fails a number of times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Any, name: str, error: Exception, times: int) -> None:
        self.left, real = times, getattr(store.bucket, name)

        def work(*args: Any, **kwargs: Any) -> Any:
            if self.left > 0:
                self.left -= 1
                raise error
            return real(*args, **kwargs)

        monkeypatch.setattr(store.bucket, name, work)


AWAY = StoreUnavailable("no answer")
FULL = StoreUnavailable("full", Reason.STORE_FULL)
DENIED = StoreUnavailable("denied", Reason.STORE_DENIED)
OF_MAINTENANCE = {
    "a page of maintenance": Refusal("PUT", 302, "Redirect", location="https://sorry"),
    "a redirect for a while": Refusal("PUT", 307, "TemporaryRedirect"),
    "no such bucket": Refusal("PUT", 404, "NoSuchBucket"),
    "invalid request": Refusal("PUT", 400, "InvalidRequest"),
    "TLS behind the proxy": Refusal("PUT", 525, "HTTP 525"),
}
"""What gateways and servers say while somebody works on them; the same words of a fresh store are a wrong setting."""
OTHERS = {name: problem_of(answer, "https://s3", "flywheel") for name, answer in OF_MAINTENANCE.items()}


@pytest.mark.parametrize(
    "error", [AWAY, FULL, DENIED, *OTHERS.values()], ids=["away", "full", "denied for a while", *OTHERS]
)
@pytest.mark.parametrize("call", ["put_file", "put_new", "keys", "size", "put"])
def test_training_outlives_a_store_in_trouble(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, call: str
) -> None:
    monkeypatch.setattr(sync, "RETRY_SECONDS", 0.001)
    run = Run(store, tmp_path, keep_last=1, keep_best=0)
    run.step(1, 0.5)
    run.step(2, 0.5)
    trouble = Trouble(monkeypatch, store, call, error, 5)
    run.end()
    assert trouble.left < 5 and list(run.checkpoints.committed) == [2]


NO_BUCKET = OTHERS["no such bucket"]


@pytest.mark.parametrize(
    ("error", "during"), [(AWAY, False), (DENIED, True), (DENIED, False), (NO_BUCKET, True), (NO_BUCKET, False)]
)
def test_trouble_that_stays_ends_it_after_training_or_for_a_new_pod(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StoreProblem, during: bool
) -> None:
    monkeypatch.setattr(sync, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(sync, "PATIENCE", 0.05)
    run = Run(store, tmp_path)
    Trouble(monkeypatch, store, "put_file", error, 10**9)
    run.save(1)
    run.sync.start()
    if during:
        run.sync._thread.join(10)
        assert not run.sync._thread.is_alive()
    assert run.sync.finish(10) and run.sync.error is error


@pytest.mark.parametrize(("error", "taken"), [(AWAY, False), (AWAY, True), (NO_BUCKET, True)])
def test_a_store_that_is_away_while_training_goes_on_ends_nothing(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StoreProblem, taken: bool
) -> None:
    monkeypatch.setattr(sync, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(sync, "PATIENCE", 0.1)
    run = Run(store, tmp_path)
    run.sync.start()
    if taken:
        run.save(1)
        while not run.sync._taken:
            time.sleep(0.01)
    trouble = Trouble(monkeypatch, store, "put_file", error, 300)
    run.save(2)
    while trouble.left and run.sync.error is None:
        time.sleep(0.01)
    assert run.sync.error is None and run.sync.finish(10) and 2 in run.checkpoints.committed


def test_what_retention_may_not_delete_costs_space_and_nothing_else(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(store, tmp_path, keep_last=1, keep_best=0)
    run.step(1, 0.0)
    run.step(2, 0.0)
    Trouble(monkeypatch, store, "remove", DENIED, 10**9)
    run.end()
    assert 2 in run.checkpoints.committed
