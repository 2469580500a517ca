"""Of several reasons that one end has, the one that a person or the next attempt can act on is told."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.causes import Cause
from flywheel_jobs.trainer import driver, sync
from flywheel_store.errors import StoreUnavailable
from unit.trainer import test_driver as driven

store = driven.store


@pytest.mark.parametrize(
    ("fake", "cause", "reason"),
    [
        ("", Cause.INFRA, "StoreUnreachable"),
        ("crash:3", Cause.APP, "OutOfMemory"),
        ("nan:3-4 crash:4", Cause.APP, "Diverged"),
    ],
)
def test_a_store_that_is_away_at_the_end_hides_no_cause(
    store: Any, monkeypatch: pytest.MonkeyPatch, fake: str, cause: Cause, reason: str
) -> None:
    monkeypatch.setattr(sync, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(sync, "PATIENCE", 0.05)

    def away(key: str, path: object) -> None:
        raise StoreUnavailable("no answer")

    if "nan" not in fake:
        monkeypatch.setattr(store.bucket, "put_file", away)
    assert driven.run(store, monkeypatch, 1, fake) != 0
    failure = driven.record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (cause, reason)


def test_a_verl_that_ends_well_and_has_trained_nothing_is_no_success(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "TRAINER", ("-c", "print('Training Progress: 100%')"))
    assert driven.run(store, monkeypatch, 1) != 0
    failure = driven.record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.APP, "TrainingFailed")
    assert "wrote no checkpoint" in failure["message"]
