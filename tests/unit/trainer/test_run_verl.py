"""verl's main over a file of settings, with the real verl and its real data set, up to the start of Ray.

Skipped without the ML environment.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs the ML environment")

import pyarrow as pa
import pyarrow.parquet as parquet

from flywheel_api.stages import SIGNALS_ENV
from flywheel_api.verl.settings import RunPaths, settings
from flywheel_jobs.trainer import run_verl, signals
from unit.trainer.verl_verdicts import MODEL, make_model, spec

ODD = "C:\\dir\\ \\d+\\.\\d+ \"two\nlines\" 'q' a=b,c \u2028 ${"
KEYS = {"1": 2, "true": "x", "a:b": None, "": [], "key/with@[0]": {"b c": 1}}


def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, lengths: list[int], model: Path = MODEL, **case: Any
) -> tuple[int, list[signals.Signal], Any]:
    """The exit code, what was told, and the configuration that Ray would have got."""
    if model is MODEL:
        make_model()
    rows = [
        {"data_source": "d", "prompt": [{"role": "user", "content": "x " * n}], "reward_model": {"ground_truth": "1"},
         "extra_info": {"index": 0}}
        for n in lengths
    ]  # fmt: skip
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    data = (str(tmp_path / "t.parquet"),)
    paths = RunPaths(str(model), data, (), str(tmp_path / "c"), str(tmp_path / "r"), "/l.yaml")
    algorithm = {"max_prompt_tokens": 64, "prompts_per_step": 2, "mini_batch_prompts": 2, "group_size": 2, "epochs": 2}
    made = spec({"gpus_per_node": 0, **case, "algorithm": algorithm | case.get("algorithm", {})})
    (tmp_path / "settings.json").write_text(json.dumps(settings(made, paths, "job", "team", mark="m")))
    started: list[Any] = []
    monkeypatch.setattr(run_verl, "run_ppo", lambda config, _runner: started.append(config))
    monkeypatch.setenv(SIGNALS_ENV, "m")
    monkeypatch.setenv("VERL_FILE_LOGGER_ROOT", str(tmp_path))
    code = run_verl.main(str(tmp_path / "settings.json"))
    told = [said for line in capsys.readouterr().out.splitlines() for said in signals.parse(line, "m")]
    return code, told, started[0] if started else None


def test_steps_are_those_of_the_prompts_that_verl_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    code, told, config = run(tmp_path, monkeypatch, capsys, [3, 3, 500, 3, 3, 500, 3])
    assert (code, told) == (0, [signals.Planned(prompts=7, kept=5, steps=4)])
    assert config.trainer.total_training_steps == 4


def test_fewer_steps_may_be_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    _, told, config = run(tmp_path, monkeypatch, capsys, [3] * 8, algorithm={"max_steps": 3})
    assert told == [signals.Planned(prompts=8, kept=8, steps=3)] and config.trainer.total_training_steps == 3


def test_prompts_that_are_all_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    code, told, config = run(tmp_path, monkeypatch, capsys, [500, 500, 3])
    assert (code, config) == (64, None)
    (refused,) = told
    assert isinstance(refused, signals.Refused) and refused.reason == "TooLittleData"
    assert refused.message.startswith("2 of 3 prompts are longer than algorithm.maxPromptTokens (64) or do")
    assert "the 1 left are fewer than algorithm.promptsPerStep 2" in refused.message


def test_a_model_without_a_chat_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """verl would drop every prompt as if it were too long."""
    monkeypatch.setattr(run_verl, "create_rl_dataset", lambda *_a, **_k: pytest.fail("data was read"))
    bare = tmp_path / "bare"
    make_model(bare, template=None)
    code, told, _ = run(tmp_path, monkeypatch, capsys, [3] * 8, model=bare)
    assert code == 64 and isinstance(told[0], signals.Refused) and told[0].reason == "NoChatTemplate"


def test_nothing_is_left_to_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "c" / "global_step_4").mkdir(parents=True)
    (tmp_path / "c" / "latest_checkpointed_iteration.txt").write_text("4")
    code, told, config = run(tmp_path, monkeypatch, capsys, [3] * 5)
    assert (code, told, config) == (0, [signals.Planned(prompts=5, kept=5, steps=4)], None), "Ray is not asked"


def test_what_verl_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    case = {"nodes": 3, "algorithm": {"micro_batch_size": 2}}
    code, told, _ = run(tmp_path, monkeypatch, capsys, [3] * 8, **case)
    assert code == 64 and isinstance(told[0], signals.Refused)
    assert (told[0].reason, "real_train_batch_size (4) must be divisible" in told[0].message) == ("SizesDoNotFit", True)


def test_a_reference_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """What Preflight refuses already."""
    said = {"trainer.project_name": "${not_there}"}
    code, told, _ = run(tmp_path, monkeypatch, capsys, [3] * 8, overrides=said)
    assert code == 64 and isinstance(told[0], signals.Refused) and told[0].reason == "InvalidOverride"


def test_values_arrive_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    said = {
        "trainer.project_name": ODD.replace("${", ""),
        "+data.apply_chat_template_kwargs": KEYS,
        "trainer.logger": ["tensorboard"],
        "ray_kwargs.ray_init.runtime_env": {"env_vars": {"NCCL_DEBUG": "INFO"}},
        "actor_rollout_ref.rollout.engine_kwargs.vllm.served-model-name": "a/b@c [x]",
        "actor_rollout_ref.rollout.enable_sleep_mode": False,
        "actor_rollout_ref.model.override_config": {"attn_implementation": "eager"},
    }
    _, _, config = run(tmp_path, monkeypatch, capsys, [3] * 8, overrides=said)
    assert config.trainer.project_name == ODD.replace("${", "")
    assert config.data.apply_chat_template_kwargs == KEYS
    assert config.trainer.logger == ["console", "tensorboard"]
    ray = config.ray_kwargs.ray_init
    variables = ray.runtime_env.env_vars
    assert (variables.NCCL_DEBUG, variables[SIGNALS_ENV], ray.log_to_driver) == ("INFO", "m", True)
    vllm = config.actor_rollout_ref.rollout.engine_kwargs.vllm
    assert vllm["served-model-name"] == "a/b@c [x]" and "kv_cache_memory_bytes" in vllm
    assert config.actor_rollout_ref.model.override_config == {"attn_implementation": "eager"}


def test_verls_steps_are_reported(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import torch
    from verl.utils.tracking import Tracking

    from flywheel_jobs.trainer import verl_hooks  # noqa: F401 - its import has steps reported

    monkeypatch.setenv(SIGNALS_ENV, "m")
    numbers = {"actor/grad_norm": np.float32("inf"), "actor/pg_loss": torch.tensor(0.5), "n": 3, "words": "x"}
    Tracking("p", "e", ["console"]).log(numbers, 7)
    said = [s for line in capsys.readouterr().out.splitlines() for s in signals.parse(line, "m")]
    assert said == [signals.Stepped(step=7, numbers={"actor/grad_norm": float("inf"), "actor/pg_loss": 0.5, "n": 3.0})]
