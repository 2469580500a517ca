"""The GPU kit stays current with the flavour: its settings and rows come from the product, without a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel_api.verl.rules import refusals
from flywheel_jobs.trainer.workspace import Workspace
from gpu import training
from gpu.table import table


@pytest.mark.parametrize(("kind", "rows"), [("grpo", 128), ("agentic", 64)])
def test_settings_are_those_of_the_flavour(kind: str, rows: int, tmp_path: Path) -> None:
    data = tmp_path / "train.parquet"
    write = training.reasoning_rows if kind == "grpo" else training.booking_rows
    assert write(data) == rows
    spec = training.specification(kind)
    assert refusals(spec) == []
    told = training.settings_of(kind, Workspace(root=tmp_path, model=tmp_path), data, ["trainer.save_freq=3"], "mark")
    assert told["trainer.device"] == "cuda"
    assert told["actor_rollout_ref.model.use_remove_padding"] is True
    assert told["data.train_files"] == [str(data)]
    assert told["trainer.save_freq"] == 3


def test_a_table_to_read() -> None:
    expected = {"tokens": 8, "states": 1, "checkpoints": 2, "logits": 3, "sum1": 9}
    found = {
        "memory": {
            "state": "exit 0",
            "took": 1,
            "rows": [
                {"shape": "s", "way": "padded", "seconds": 1, "peak": 9, "differs": 0, "expected": expected},
                {"shape": "s", "way": "fused", "error": "no"},
            ],
        },
        "grpo": {"state": "exit 0", "took": 2, "steps": [{"step": 1, "reward": 0.5, "card_gb": 3}], "settings": {}},
    }
    lines = table(found).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["memory", "state"],
        ["memory", "s"],
        ["memory", "s"],
        ["grpo", "state"],
        ["grpo", "step"],
    ]
    assert "peak 9 GB (states 1 + checkpoints 2 + 2 x logits 3 = 9), differs 0" in lines[1]
    assert "no" in lines[2] and "reward 0.5" in lines[4]
