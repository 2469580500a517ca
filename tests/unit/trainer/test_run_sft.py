"""verl's SFT trainer as it is started, with the real verl, up to the start of Ray; without it, skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs the ML environment")

import pyarrow as pa
import pyarrow.parquet as parquet
import ray
from verl.single_controller import ray as workers
from verl.trainer import sft_trainer_ray

from flywheel_api.rljob import WarmUpSpec
from flywheel_api.verl.warm_up import warm_up_settings
from flywheel_jobs.trainer import run_sft
from unit.trainer.verl_verdicts import DIGEST, MODEL, make_model, spec


def test_it_starts_from_a_head_without_gpus_on_a_node_of_eight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A worker's pod asks for 32 CPUs: more would never be placed, with all GPUs held."""
    make_model()
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "7"}]
    parquet.write_table(pa.Table.from_pylist([{"messages": said}] * 16), tmp_path / "w.parquet")
    made = spec({"gpus_per_node": 8, "warm_up": WarmUpSpec(data=[DIGEST])})
    told = warm_up_settings(made, str(MODEL), [str(tmp_path / "w.parquet")], str(tmp_path / "f"), {"A": "b"})
    (tmp_path / "settings.json").write_text(json.dumps(told))
    pools, counts_on = list[Any](), list[str]()

    class Trainer:
        """As verl's makes its pool, in `_build_engine`, and takes its device."""

        def __init__(self, config: Any) -> None:
            from verl.single_controller.ray import RayResourcePool

            self.device_name = config.trainer.device
            pools.append(RayResourcePool(process_on_nodes=[config.trainer.n_gpus_per_node] * config.trainer.nnodes))

        def fit(self) -> None:
            counts_on.append(self.device_name)

    monkeypatch.setattr(sft_trainer_ray, "SFTTrainer", Trainer)
    monkeypatch.setattr(ray, "init", lambda **_given: None)
    for module, name in ((workers, "RayResourcePool"), (sft_trainer_ray, "StatefulDataLoader")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back at the end
    assert run_sft.main(str(tmp_path / "settings.json")) == 0
    (pool,) = pools
    assert pool.store == [8] and pool.max_colocate_count == 1
    assert counts_on == ["cpu"], "verl puts the lengths of a batch on trainer.device, in the process of the head"
