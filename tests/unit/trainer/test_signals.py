"""Lines and marker files between verl's processes and the driver."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from flywheel_api.stages import SIGNALS_ENV
from flywheel_jobs.trainer import signals

MARK = "c0ffee"


SAID = (
    signals.Planned(prompts=9, kept=8, steps=4),
    signals.Refused(reason="SizesDoNotFit", message='30 by 16 {"a"}'),
    signals.Stepped(step=7, numbers={"actor/grad_norm": 0.5, "actor/entropy": float("inf")}),
    signals.Saved(step=4),
    signals.Groups(groups=3, zero_variance=1, masked=0),
    signals.Stalled(step=4, seconds=1.5),
)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What verl's processes print for SAID."""
    monkeypatch.setenv(SIGNALS_ENV, MARK)
    for said in SAID:
        signals.emit(said)
    return capsys.readouterr().out.splitlines()


def test_round_trip(lines: list[str]) -> None:
    assert [signals.parse(f"\x1b[36m(TaskRunnerV1 pid=7)\x1b[0m {line}", MARK) for line in lines] == [[s] for s in SAID]


@pytest.mark.parametrize("beside", ["Training Progress: 10%|#   | 1", " [repeated 2x across cluster]", "}", "\r", "{"])
def test_what_stands_beside_a_signal_does_no_harm(lines: list[str], beside: str) -> None:
    for line, said in zip(lines, SAID, strict=True):
        assert signals.parse(beside + line + beside, MARK) == [said]
    assert signals.parse("".join(lines), MARK) == list(SAID), "two processes may write into one line"


def test_only_lines_with_the_mark_of_the_attempt_count(lines: list[str]) -> None:
    """A custom reward that prints the answer lets the policy write whole lines."""
    for line in lines:
        assert signals.parse("Solution string: " + line.replace(MARK, "guess"), MARK) == []
        assert signals.parse("Solution string: " + line.replace(MARK, ""), MARK) == []
        assert signals.parse(line, "other") == []


def test_nan_survives(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SIGNALS_ENV, MARK)
    signals.emit(signals.Stepped(step=1, numbers={"actor/pg_loss": float("nan")}))
    (said,) = signals.parse(capsys.readouterr().out, MARK)
    assert isinstance(said, signals.Stepped) and math.isnan(said.numbers["actor/pg_loss"])


@pytest.mark.parametrize(
    "line",
    [
        f"flywheel:{MARK}:checkpoint {{broken",
        f'flywheel:{MARK}:checkpoint {{"step": "x"}}',
        f'flywheel:{MARK}:checkpoint {{"step": ' + "[" * 5000,
        f"flywheel:{MARK}:other {{}}",
        "step:1 - a:2",
    ],
)
def test_other_lines(line: str) -> None:
    assert signals.parse(line, MARK) == []


def test_uncommitted_checkpoints_hold_training_only_where_an_uploader_works(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        (tmp_path / f"global_step_{step}").mkdir()
    signals.mark_committed(tmp_path / "global_step_1")
    assert signals.uncommitted(tmp_path, before=3) == [2]
    assert signals.stall_limit(tmp_path) == 0.0
    signals.announce_uploader(tmp_path, 600.0)
    assert signals.stall_limit(tmp_path) == 600.0
    assert list(signals.local_steps(tmp_path)) == [1, 2, 3]
