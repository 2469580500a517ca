"""The GPU kit stays current with the flavour: its settings and rows come from the product, without a GPU."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flywheel_api.overrides import check_overrides
from flywheel_api.stages import MODEL_DIR_ENV, TRAIN_CONFIG_ENV
from flywheel_api.verl.rules import refusals
from flywheel_api.verl.settings import PLUGINS_ENV, settings
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import driver, publish, warm_up
from flywheel_jobs.trainer.workspace import WORK_DIR_ENV, Workspace
from gpu import attempt, check, scored, training
from gpu.attempt import NAMESPACE
from gpu.notes import PART, Notes
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


Kit = Callable[..., dict[str, Any]]


@pytest.fixture
def conducted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kit]:
    """A part that trains, over a fake verl: what it found. `environment` is for the fake."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "tokenizer.json").write_text("of the base")
    (base / "done").touch()
    for module in (attempt, training):
        monkeypatch.setattr(module, "FW", tmp_path)
    monkeypatch.setattr(attempt, "MODEL", base)
    monkeypatch.setattr(attempt, "wait_for_model", lambda: None)
    monkeypatch.setattr(attempt, "compared", lambda start, end: [start.name, end.name])
    monkeypatch.setattr(attempt.scored, "apart", lambda _out, *folders: [folder.name for folder in folders])
    monkeypatch.setattr(attempt, "on_the_card", lambda: set(attempt.own_processes()))
    for module, name in ((driver, "TRAINER"), (warm_up, "TRAINER"), (publish, "MERGER")):
        monkeypatch.setattr(module, name, FAKE)
        monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(Store, "from_env", Store.from_env)  # put back at the end
    for name in (TRAIN_CONFIG_ENV, WORK_DIR_ENV, MODEL_DIR_ENV, PLUGINS_ENV, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv(PART, f"unit test of {tmp_path}")
    monkeypatch.setenv("FAKE_VERL_LOG", str(tmp_path / "started"))
    before = signal.getsignal(signal.SIGTERM)
    given = argparse.Namespace(override=["trainer.balance_batch=false"], beside=True, no_ipc=False)

    def run(kind: str, prompts: int = 128, **environment: str) -> dict[str, Any]:
        for name, value in {"FAKE_VERL_PROMPTS": str(prompts), **environment}.items():
            monkeypatch.setenv(name, value)
        attempt.train(kind, Notes(tmp_path / "notes.json"), given)
        found: dict[str, Any] = json.loads((tmp_path / "notes.json").read_text())
        return found

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("kind", "programs"),
    [
        ("agentic", "verl-settings "),
        ("brakes", "verl-settings "),
        ("warm_up", "sft-settings verl-settings "),
    ],
)
def test_an_attempt_and_what_is_told_of_it(kind: str, programs: str, conducted: Kit, tmp_path: Path) -> None:
    found = conducted(kind)
    assert found["exit_codes"] == [0] and "failures" not in found
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


def test_a_card_that_is_lost_and_an_attempt_that_goes_on(conducted: Kit, tmp_path: Path) -> None:
    found = conducted("resumed", FAKE_VERL="hang:2")
    assert found["exit_codes"][0] != 0 and found["exit_codes"][1:] == [0] and found["killed"]
    assert found["failures"][0] is not None and found["failures"][1] is None
    assert found["committed"]["resumed from"] == 2 and found["committed"]["step"] == 4
    assert [step["step"] for step in found["steps"]] == [1, 2, 3, 4]
    assert (tmp_path / "started").read_text() == "verl-settings verl-settings "


def test_a_climb_is_scored_beside_its_base(conducted: Kit) -> None:
    validated = ",".join(["0.1"] * 20 + ["0.3"] + ["0.2"] * 7)
    found = conducted("climb", prompts=320, FAKE_VERL=f"held:{validated}")
    assert found["committed"]["trained"] == 28 and found["committed"]["step"] == 21  # the best by validation
    assert found["held_out"] == ["base", "published"]


def test_answers_are_scored_by_the_rewards_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A base that is right at every second item, a candidate that is right at all."""
    truths = [p.answer or "" for p in training.suite()]

    def sampled(folder: Path, asked: list[Any]) -> list[tuple[str, bool]]:
        items = [n // scored.REPEATS for n in range(len(asked))]
        return [(truths[i] if folder.name == "published" or i % 2 else "no idea", False) for i in items]

    monkeypatch.setattr(scored, "sampled", sampled)
    out = tmp_path / "scored.json"
    monkeypatch.setattr("sys.argv", ["scored", str(out), "base", "published"])
    assert scored.main() == 0
    found = json.loads(out.read_text())
    assert found["base"]["score"] == 0.5 and found["published"]["score"] == 1.0 and found["items"] == 120
    assert found["gain"][0] == 0.5 and 0.35 < found["gain"][1] < 0.5 < found["gain"][2] < 0.65


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
