"""What the agent loops do outside verl: the task of a row, patience with outages, the record."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flywheel_jobs.core.errors import InfraError, ValidationFailure
from flywheel_jobs.trainer import rollouts, trajectory
from flywheel_jobs.trainer.nodes import Nodes


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectory, "BACKOFF_BASE", 0.0)


def test_task_of_a_row() -> None:
    assert trajectory.parse_task({"extra_info": {"task": '{"id": "t1"}'}}) == {"id": "t1"}


@pytest.mark.parametrize("info", [None, {}, {"index": 3}, {"task": "[1]"}])
def test_a_row_without_a_task_says_what_to_do(info: Any) -> None:
    with pytest.raises(ValidationFailure, match=r"extra_info\.task"):
        trajectory.parse_task({"extra_info": info})


async def test_an_outage_is_retried_then_raised() -> None:
    calls = 0

    async def work() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise InfraError("sandbox away")
        return "done"

    assert await trajectory.patiently(work) == "done"
    calls = -10
    with pytest.raises(InfraError, match="sandbox away"):
        await trajectory.patiently(work, tries=2)
    assert calls == -8


async def test_a_bug_is_not_retried() -> None:
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await trajectory.patiently(work)
    assert calls == 1


def write(root: Path, monkeypatch: pytest.MonkeyPatch, **result: Any) -> dict[str, Any]:
    monkeypatch.setenv(trajectory.ROLLOUTS_ENV, str(root))
    row = {
        "global_steps": 4,
        "uid": "u",
        "session_id": 2,
        "data_source": "arithmetic",
        "raw_prompt": [{"role": "user", "content": "1+1"}],
        "extra_info": {"index": 7, "id": "item-7"},
    }
    output = SimpleNamespace(num_turns=2, response_ids=[1, 2, 3])
    trajectory.record(row, {}, output, {"score": 1.0, "response": "2", "outage": None, "correct": True, **result})
    (record,) = rollouts.gather(Nodes(spread=False), root, 4)
    return record


def test_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = write(tmp_path, monkeypatch)
    assert (record["item"], record["step"], record["score"], record["masked"]) == ("item-7", 4, 1.0, False)
    assert record["messages"][-1] == {"role": "assistant", "content": "2"}
    assert record["lineage"]["parent_ids"] == ["item-7"]
    assert rollouts.summary([record])["success"] == 1.0


def test_a_masked_record_has_no_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = write(tmp_path, monkeypatch, score=0.0, outage="judge away")
    assert (record["score"], record["masked"], record["outage"]) == (None, True, "judge away")
    assert rollouts.summary([record]) == {"trajectories": 1, "masked": 1}


def test_validation_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(trajectory.ROLLOUTS_ENV, str(tmp_path))
    row = {"global_steps": 4, "extra_info": {"split": "validation"}}
    output = SimpleNamespace(num_turns=2, response_ids=[])
    trajectory.record(row, {}, output, {"score": 1.0, "response": "", "outage": None})
    assert rollouts.gather(Nodes(spread=False), tmp_path, 4) == []
    assert [p.name for p in tmp_path.iterdir()] == ["validation-4"]


def test_summary_by_outcome() -> None:
    rows = [
        {"score": 1.0, "details": {"outcome": "cancel"}},
        {"score": 0.0, "details": {"outcome": "cancel"}},
        {"score": 1.0, "details": {"outcome": "refund"}},
        {"score": None, "masked": True, "details": {"outcome": "refund"}},
    ]
    got = rollouts.summary(rows)
    assert got["byOutcome"] == {"cancel": {"reward": 0.5, "n": 2}, "refund": {"reward": 1.0, "n": 1}}
    assert got["reward"] == pytest.approx(2 / 3)
    assert json.dumps(got)
