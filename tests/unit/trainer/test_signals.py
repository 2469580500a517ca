"""Lines and marker files between verl's processes and the driver."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_jobs.trainer import signals


def test_round_trip(capsys: pytest.CaptureFixture[str]) -> None:
    for said in (
        signals.Saved(step=4, directory="/w/global_step_4"),
        signals.Groups(groups=3, zero_variance=1, masked=0),
        signals.Stalled(step=4, seconds=1.5),
    ):
        signals.emit(said)
        line = capsys.readouterr().out
        assert signals.parse(f"\x1b[36m(TaskRunnerV1 pid=7)\x1b[0m {line}") == said


@pytest.mark.parametrize(
    "line",
    ["flywheel-checkpoint {broken", 'flywheel-checkpoint {"step": "x"}', "flywheel-other {}", "step:1 - a:2"],
)
def test_other_lines(line: str) -> None:
    assert signals.parse(line) is None


def test_uncommitted_checkpoints_hold_training_only_where_an_uploader_works(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        (tmp_path / f"global_step_{step}").mkdir()
    signals.mark_committed(tmp_path / "global_step_1")
    assert signals.uncommitted(tmp_path, before=3) == [2]
    assert signals.stall_limit(tmp_path) == 0.0
    signals.announce_uploader(tmp_path, 600.0)
    assert signals.stall_limit(tmp_path) == 600.0
    assert list(signals.local_steps(tmp_path)) == [1, 2, 3]
