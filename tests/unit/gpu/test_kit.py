"""The GPU kit stays current with the flavour: its settings and rows come from the product, without a GPU."""

from __future__ import annotations

import argparse
import json
import signal
from pathlib import Path

import pytest

from flywheel_api.overrides import check_overrides
from flywheel_api.stages import MODEL_DIR_ENV, TRAIN_CONFIG_ENV
from flywheel_api.verl.rules import refusals
from flywheel_api.verl.settings import PLUGINS_ENV, settings
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import driver, publish, warm_up
from flywheel_jobs.trainer.workspace import WORK_DIR_ENV, Workspace
from gpu import attempt, check, training
from gpu.attempt import NAMESPACE
from gpu.notes import Notes
from gpu.table import table
from gpu.training import BESIDE, KINDS, specification
from unit.trainer.driver_run import FAKE

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_is_the_flavours(kind: str, tmp_path: Path) -> None:
    spec = specification(kind, BESIDE, {})
    assert check_overrides(spec.overrides) == [] and refusals(spec) == []
    told = settings(spec, Workspace(root=tmp_path, model=tmp_path).paths([], []), kind, NAMESPACE)
    assert told["trainer.device"] == "cuda" and told["actor_rollout_ref.model.use_remove_padding"] is True
    assert told["actor_rollout_ref.rollout.gpu_memory_utilization"] == 0.2


@pytest.mark.parametrize(
    ("kind", "programs"), [("agentic", "verl-settings "), ("warm_up", "sft-settings verl-settings ")]
)
def test_an_attempt_and_what_is_told_of_it(
    kind: str, programs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer.json").write_text("of the base")
    (base / "done").touch()
    for module in (attempt, training):
        monkeypatch.setattr(module, "FW", tmp_path)
    monkeypatch.setattr(attempt, "MODEL", base)
    monkeypatch.setattr(attempt, "wait_for_model", lambda: None)
    monkeypatch.setattr(attempt, "compared", lambda start, end: [start.name, end.name])
    for module, name in ((driver, "TRAINER"), (warm_up, "TRAINER"), (publish, "MERGER")):
        monkeypatch.setattr(module, name, FAKE)
        monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(Store, "from_env", Store.from_env)  # put back at the end
    for name in (TRAIN_CONFIG_ENV, WORK_DIR_ENV, MODEL_DIR_ENV, PLUGINS_ENV, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("FAKE_VERL_PROMPTS", "128")
    monkeypatch.setenv("FAKE_VERL_LOG", str(tmp_path / "started"))
    before = signal.getsignal(signal.SIGTERM)
    notes = Notes(tmp_path / "notes.json")
    attempt.train(kind, notes, argparse.Namespace(override=["trainer.balance_batch=false"], beside=True, no_ipc=False))
    signal.signal(signal.SIGTERM, before)
    found = json.loads((tmp_path / "notes.json").read_text())
    assert found["exit_code"] == 0 and "failure" not in found
    assert (tmp_path / "started").read_text() == programs
    told = json.loads((tmp_path / "run" / kind / f"{kind}-a1" / "verl-settings.json").read_text())
    assert told["trainer.balance_batch"] is False and told["reward.num_workers"] == 1
    assert told["ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES"].startswith("gpu.head,gpu.apart,")
    assert [step["step"] for step in found["steps"]] == [1, 2] and found["steps"][0]["reward"] == 0.1
    assert found["in_the_store"] == {"checkpoints": 1, "steps": 2, "tensorboard": 1, "log pieces": 1}
    assert found["progress"][-1][1] == "committed step 2 of 2"
    assert found["reloaded_published"] == ["warm" if kind == "warm_up" else "base", "published"]
    lines = table({kind: {"state": "exit 0", "took": 1, **found}}).splitlines()
    assert any("committed step 2 of 2" in line for line in lines) and any("reward 0.1" in line for line in lines)


def test_parts_joined_by_a_plus_run_at_the_same_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each ends by itself, with what it said; one that is not started is told."""
    monkeypatch.setattr(check, "LIMITS", {"none": (60, 1), "neither": (60, 1), "long": (60, 50)})
    monkeypatch.setattr(check, "FW", tmp_path)
    monkeypatch.setattr(check, "APART", 0)
    given = argparse.Namespace(
        out=tmp_path / "out", parts="none+neither,long", seconds=40, project=ROOT, override=[], no_ipc=False
    )
    assert check.conduct(given) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["none"]["state"] == found["neither"]["state"] == "exit 1"
    assert found["neither"]["error"] == "KeyError: 'neither'"
    assert found["long"]["state"].startswith("not started")
    assert "not started" in (tmp_path / "out" / "table.txt").read_text()


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
        "grpo": {"state": "exit 0", "took": 2, "steps": [{"step": 1, "reward": 0.5, "card_gb": 3}]},
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
