"""The fine-tuning before RL: whole attempts over a fake verl, and the settings of the real one."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from flywheel_api import artifacts
from flywheel_api.causes import Cause, ExitCode
from flywheel_api.content import content_key, training_content, warm_up_content
from flywheel_api.results import DatasetResult, Split, Track, WarmUpResult
from flywheel_api.rljob import AlgorithmSpec, DataSpec, RewardSpec, RLJobSpec, WarmUpSpec
from flywheel_api.verl.warm_up import warm_up_settings
from flywheel_jobs.trainer import warm_up
from unit.trainer.driver_run import FAKE, LATER, OWNER, commit, manifest, record, run, training
from unit.trainer.driver_run import store as store

MADE_OF = {"stage": "Train", "model": "m", "spec.seed": "s", "spec.warmUp": "w", "spec.algorithm": "a"}
CONTENT = content_key(MADE_OF)
BASE = b"fine-tuned from the base's tokenizer"


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_up, "TRAINER", FAKE)
    monkeypatch.setattr(warm_up, "POLL_SECONDS", 0.02)


def train(
    store: Any, monkeypatch: pytest.MonkeyPatch, attempt: int, fake: str = "", sft: str = "", **fields: Any
) -> int:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([{"messages": [{"role": "assistant", "content": "7"}]}]), buffer)
    data = commit(store, DatasetResult(track=Track.REASONING, split=Split.WARM_UP), "w.parquet", buffer.getvalue())
    monkeypatch.setenv("FAKE_SFT", sft)
    given: dict[str, Any] = {"made_of": MADE_OF, "warm_up": WarmUpSpec(data=[data])}
    return run(store, monkeypatch, attempt, fake, **given | fields)


def began(tmp_path: Path) -> str:
    """The programs that were started since the last call."""
    log = tmp_path / "verl-started"
    said = log.read_text() if log.exists() else ""
    log.unlink(missing_ok=True)
    return said.strip()


def warmed(store: Any) -> Any:
    """The commit of the fine-tuned model, found as an attempt finds it."""
    digest = manifest(store, CONTENT).inputs["warmModel"]
    return store.get_manifest(digest)


def test_rl_starts_from_the_fine_tuned_model(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert train(store, monkeypatch, 1) == 0
    assert began(tmp_path) == "sft-settings verl-settings"
    work = tmp_path / "work" / f"{OWNER.uid}-a1"
    told = json.loads((work / "verl-settings.json").read_text())
    start = Path(told["actor_rollout_ref.model.path"])
    assert (start / "model.safetensors").read_bytes() == BASE
    assert (start / "tokenizer.json").read_text() == "the base's tokenizer", "not as the trainer saves it"
    made = warmed(store)
    assert (made.stage, made.content_key) == ("WarmUp", content_key(warm_up_content(spec_of(told), MADE_OF)))
    assert (made.counts.in_, made.counts.out, made.standin) == (10, 8, True)
    assert [(d.reason, d.count) for d in made.counts.dropped] == [("too-long", 2)]
    whole = WarmUpResult(conversations=8, too_long=2, losses=[2.0, 1.0])
    assert made.result == whole and training(manifest(store, CONTENT)).warm_up == whole
    assert manifest(store, CONTENT).inputs["warmUp"] == made.inputs["warmUp"], "its conversations, in the lineage"
    assert not (work / "warming").exists()


def spec_of(told: dict[str, Any]) -> RLJobSpec:
    lengths = {n: told[f"data.{v}"] for n, v in (("max_prompt_tokens", "max_prompt_length"),
                                                 ("max_response_tokens", "max_response_length"))}  # fmt: skip
    return spec(algorithm=AlgorithmSpec(**lengths))


def test_what_is_lost_in_rl_is_not_fine_tuned_again(
    store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert train(store, monkeypatch, 1, "crash:1") == ExitCode.APP
    assert began(tmp_path) == "sft-settings verl-settings"
    assert train(store, monkeypatch, 2, sft="crash") == 0
    assert began(tmp_path) == "verl-settings"
    told = json.loads((tmp_path / "work" / f"{OWNER.uid}-a2" / "verl-settings.json").read_text())
    assert (Path(told["actor_rollout_ref.model.path"]) / "model.safetensors").read_bytes() == BASE
    assert training(manifest(store, CONTENT)).warm_up is not None


def test_another_training_with_the_same_warm_up_takes_it_over(
    store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert train(store, monkeypatch, 1) == 0 and began(tmp_path)
    other = MADE_OF | {"spec.algorithm": "another"}
    assert train(store, monkeypatch, 1, owner=LATER, made_of=other, sft="crash") == 0
    assert began(tmp_path) == "verl-settings"
    assert train(store, monkeypatch, 2, owner=LATER, made_of=other | {"spec.warmUp": "x"}) == 0
    assert began(tmp_path) == "sft-settings verl-settings"


def test_what_is_lost_in_the_warm_up_begins_it_again(
    store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert train(store, monkeypatch, 1, sft="crash") == ExitCode.APP
    assert record(store, "failure", 1)["reason"] == "OutOfMemory"
    assert record(store, "progress", 1)["text"] == "warm-up: step 1 of 2, loss 2.000"
    assert began(tmp_path) == "sft-settings"
    assert train(store, monkeypatch, 2) == 0 and began(tmp_path) == "sft-settings verl-settings"


@pytest.mark.parametrize(
    ("does", "cause", "reason"), [("refuse", "Validation", "TooLittleData"), ("nan", "App", "Diverged")]
)
def test_a_warm_up_that_cannot_be(
    store: Any, monkeypatch: pytest.MonkeyPatch, does: str, cause: str, reason: str
) -> None:
    assert train(store, monkeypatch, 1, sft=does) != 0
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (cause, reason)


def test_sigterm_in_the_warm_up(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate() -> None:
        for _ in range(500):
            if "warm-up: step 1" in (record(store, "progress", 1) or {}).get("text", ""):
                break
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=terminate)
    killer.start()
    assert train(store, monkeypatch, 1, sft="hang") == ExitCode.APP
    killer.join()
    assert record(store, "failure", 1)["cause"] == Cause.PREEMPTED
    assert store.get_bytes(artifacts.manifest_key("n", CONTENT)) is None


DIGEST = "sha256:" + "a" * 64


def spec(**fields: Any) -> RLJobSpec:
    given = {"model": DIGEST, "data": DataSpec(train=[DIGEST]), "reward": RewardSpec(type="Math"), "gpus_per_node": 0,
             "warm_up": WarmUpSpec(data=[DIGEST], epochs=2, learning_rate="3e-5")}  # fmt: skip
    return RLJobSpec(**given | fields)


def told(job: RLJobSpec) -> dict[str, Any]:
    return warm_up_settings(job, "/m", ["/d/w.parquet"], "/out", {"A": "b"})


def test_settings_of_both_flavours() -> None:
    cpu, gpu = told(spec()), told(spec(gpus_per_node=8, nodes=2))
    assert (cpu["optim.lr"], cpu["trainer.total_epochs"], cpu["data.train_batch_size"]) == (3e-5, 2, 64)
    assert (cpu["trainer.device"], cpu["engine.dtype"], cpu["data.use_dynamic_bsz"]) == ("cpu", "float32", False)
    assert (gpu["trainer.device"], gpu["trainer.nnodes"], gpu["trainer.n_gpus_per_node"]) == ("cuda", 2, 8)
    assert gpu["data.use_dynamic_bsz"] and "engine.dtype" not in gpu
    assert cpu["data.num_workers"] == gpu["data.num_workers"] == 0, "conversations are in memory"
    assert cpu["ray_kwargs.ray_init.runtime_env.env_vars.A"] == "b"


def test_overrides_that_say_how_the_model_is_loaded_count_here_too() -> None:
    overrides = {"+actor_rollout_ref.model.trust_remote_code": True, "trainer.logger": ["wandb"],
                 "actor_rollout_ref.actor.fsdp_config.param_offload": True, "actor_rollout_ref.actor.optim.lr": 1.0,
                 "data.apply_chat_template_kwargs": {"enable_thinking": False}}  # fmt: skip
    found = told(spec(overrides=overrides))
    assert found["model.trust_remote_code"] is True and found["engine.param_offload"] is True
    assert found["data.apply_chat_template_kwargs"] == {"enable_thinking": False}
    assert found["optim.lr"] == 3e-5 and found["trainer.logger"] == ["console"]


def test_what_the_warm_up_is_made_of() -> None:
    """Another learning rate of RL takes it over; another base, other data and other lengths do not."""

    def key(model: str = "m", **fields: Any) -> str:
        job = spec(**fields)
        return content_key(warm_up_content(job, training_content(job, model)))

    same = key()
    assert key(algorithm=AlgorithmSpec(learning_rate="1e-4")) == same
    others = [key(model="n"), key(seed=2), key(algorithm=AlgorithmSpec(max_response_tokens=99)),
              key(warm_up=WarmUpSpec(data=[DIGEST], epochs=3)), content_key(training_content(spec(), "m"))]  # fmt: skip
    assert same not in others
