"""Whole attempts over a fake verl: commits, crashes, resumption, second incarnations, termination."""

from __future__ import annotations

import io
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
from flywheel_api.artifacts import FileEntry, Manifest, Owner
from flywheel_api.causes import Cause, ExitCode
from flywheel_api.rljob import AlgorithmSpec, CheckpointSpec, DataSpec, RewardSpec, RLJobSpec
from flywheel_api.stages import TRAIN_CONFIG_ENV, TrainConfig
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import driver, main, publish
from flywheel_store.memory import MemoryBucket

FAKE = (str(Path(__file__).with_name("fake_verl.py")),)
OWNER = Owner(kind="RLJob", namespace="n", name="job", uid="uid-1")
STEPS = 4


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    made = Store(MemoryBucket())
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls, _environ=None: made))
    monkeypatch.setattr(driver, "TRAINER", FAKE)
    monkeypatch.setattr(driver, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(publish, "MERGER", FAKE)
    monkeypatch.setenv("FLYWHEEL_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("FLYWHEEL_MODEL_DIR", str(tmp_path / "model"))
    monkeypatch.delenv("FAKE_VERL", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def commit(store: Any, kind: str, path: str, data: bytes, **fields: Any) -> str:
    sha, size = store.put_blob(data)
    entry = FileEntry(path=path, sha256=sha, size=size)
    common = {
        "owner": OWNER,
        "stage": "s",
        "attempt": 1,
        "config_digest": "sha256:" + "0" * 64,
        "created_at": "2026-01-01T00:00:00Z",
    }
    return str(store.put_manifest(Manifest(kind=kind, files=[entry], **common, **fields)))


def run(store: Any, monkeypatch: pytest.MonkeyPatch, attempt: int, fake: str = "", rows: int = 8) -> int:
    row = {
        "data_source": "d",
        "prompt": [{"role": "user", "content": "x"}],
        "reward_model": {"ground_truth": "1"},
        "extra_info": {"index": 0},
    }
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([row] * rows), buffer)
    data = commit(store, "Dataset", "train.parquet", buffer.getvalue(), standin=True)
    model = commit(store, "Checkpoint", "model/tokenizer.json", b"the base's tokenizer")
    spec = RLJobSpec(
        model=model,
        data=DataSpec(train=[data]),
        reward=RewardSpec(type="Math"),
        gpus_per_node=0,
        algorithm=AlgorithmSpec(prompts_per_step=2, epochs=10, max_steps=STEPS),
        checkpoint=CheckpointSpec(every_steps=2, keep_last=1, keep_best=0),
    )
    config = TrainConfig(owner=OWNER, attempt=attempt, spec=spec, model=model)
    monkeypatch.setenv(TRAIN_CONFIG_ENV, config.model_dump_json(by_alias=True))
    monkeypatch.setenv("FAKE_VERL", fake)
    return main.main()


def record(store: Any, name: str, attempt: int) -> Any:
    return store.get_json(f"{artifacts.attempt_prefix('uid-1', 'Train', attempt)}/{name}.json")


def manifest(store: Any, attempt: int) -> Manifest:
    return Manifest.model_validate(record(store, "manifest", attempt))


def content(store: Any, m: Manifest, path: str) -> bytes:
    return bytes(store.get_blob(next(f.sha256 for f in m.files if f.path == path)))


def test_a_whole_run(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1) == 0
    m = manifest(store, 1)
    assert (m.kind, m.stage, m.step) == ("Checkpoint", "Train", STEPS)
    assert content(store, m, "model/model.safetensors") == b"weights 4"
    assert content(store, m, "model/tokenizer.json") == b"the base's tokenizer"
    assert content(store, m, "model/dtype") == b"float32", "as sampled: bfloat16 would round small updates away"
    assert [p["reward"] for p in m.details["curve"]] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert m.details["curve"][0]["zeroVarianceGroups"] == 1
    assert (m.counts.in_, m.counts.out) == (8, 8)
    assert m.standin and m.notice, "the data came from a stand-in, so the model says so"
    dataset = store.get_manifest(m.details["rollouts"])
    assert [f.path for f in dataset.files] == [f"rollouts/step-{n}.jsonl" for n in (1, 2, 3, 4)]
    progress = record(store, "progress", 1)
    assert (progress["done"], progress["total"], progress["checkpointStep"]) == (4, 4, 4)
    assert record(store, "failure", 1) is None


def test_a_crash_is_classified_and_the_next_attempt_resumes(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "crash:3") == ExitCode.APP
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.APP, "OutOfMemory")
    assert "algorithm.microBatchSize" in failure["message"]
    assert record(store, "manifest", 1) is None

    assert run(store, monkeypatch, 2) == 0
    m = manifest(store, 2)
    assert m.details["resumedFromStep"] == 2
    assert [p["step"] for p in m.details["curve"]] == [1, 2, 3, 4], "the curve spans both attempts"
    assert len(store.get_manifest(m.details["rollouts"]).files) == 4
    assert record(store, "progress", 2)["resumedFromStep"] == 2


def test_a_second_incarnation_stops(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "crash:1") == ExitCode.APP
    assert run(store, monkeypatch, 1) == ExitCode.HEAD_LOST
    assert record(store, "failure", 1)["reason"] == "HeadLost"


def test_a_committed_attempt_is_left_alone(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1) == 0
    before = manifest(store, 1).digest
    assert run(store, monkeypatch, 1, "crash:1") == 0
    assert manifest(store, 1).digest == before


def test_all_steps_committed_but_not_published(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, "crash:4") == ExitCode.APP
    assert run(store, monkeypatch, 2, "crash:1") == 0, "nothing is left to train"
    assert content(store, manifest(store, 2), "model/model.safetensors") == b"weights 4"


def test_sigterm_keeps_the_last_checkpoint(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate() -> None:
        key = artifacts.checkpoint_key("uid-1", "Train", 2)
        for _ in range(500):
            if store.get_bytes(key) is not None:
                break
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=terminate)
    killer.start()
    assert run(store, monkeypatch, 1, "hang:3") == ExitCode.APP
    killer.join()
    failure = record(store, "failure", 1)
    assert (failure["cause"], failure["reason"]) == (Cause.PREEMPTED, "Terminated")
    assert run(store, monkeypatch, 2) == 0
    assert manifest(store, 2).details["resumedFromStep"] == 2


def test_too_little_data_is_refused_before_verl_starts(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, 1, rows=1) == ExitCode.VALIDATION
    failure = record(store, "failure", 1)
    assert failure["reason"] == "TooLittleData"
    assert "lower promptsPerStep" in failure["message"]


def test_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRAIN_CONFIG_ENV, raising=False)
    assert main.main() == ExitCode.VALIDATION
