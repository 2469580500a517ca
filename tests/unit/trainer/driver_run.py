"""Whole attempts of the driver over a fake verl, for the tests of what comes of them."""

from __future__ import annotations

import io
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest, Owner
from flywheel_api.content import content_key
from flywheel_api.results import DatasetResult, ModelResult, Result, Split, Track, TrainingResult
from flywheel_api.rljob import AlgorithmSpec, CheckpointSpec, DataSpec, RewardSpec, RLJobSpec
from flywheel_api.stages import TRAIN_CONFIG_ENV, TrainConfig
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import driver, main, publish
from flywheel_store.memory import MemoryBucket

FAKE = (str(Path(__file__).with_name("fake_verl.py")),)
OWNER = Owner(kind="RLJob", namespace="n", name="job", uid="uid-1")
LATER = Owner(kind="RLJob", namespace="n", name="again", uid="uid-2")
MADE_OF = {"stage": "Train", "spec.seed": "sha256:" + "0" * 64}
CONTENT = content_key(MADE_OF)
STEPS = 4
DATASET = DatasetResult(track=Track.REASONING, split=Split.TRAIN)


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
    monkeypatch.setenv("FAKE_VERL_LOG", str(tmp_path / "verl-started"))
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def commit(store: Any, result: Result, path: str, data: bytes, standin: bool = False) -> str:
    sha, size = store.put_blob(data)
    manifest = Manifest(
        owner=OWNER,
        stage="s",
        attempt=1,
        files=[FileEntry(path=path, sha256=sha, size=size)],
        result=result,
        standin=standin,
        created_at="2026-01-01T00:00:00Z",
    )
    return str(store.put_manifest(manifest))


def run(
    store: Any,
    monkeypatch: pytest.MonkeyPatch,
    attempt: int,
    fake: str = "",
    rows: int = 8,
    owner: Owner = OWNER,
    made_of: dict[str, str] = MADE_OF,
    epochs: int = 10,
    steps: int = STEPS,
    held_out: bool = False,
    **fields: Any,
) -> int:
    """One attempt of an RLJob; `fake` says how the fake verl ends."""
    row = {
        "data_source": "d",
        "prompt": [{"role": "user", "content": "x"}],
        "reward_model": {"ground_truth": "1"},
        "extra_info": {"index": 0},
    }
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([row] * rows), buffer)
    data = commit(store, DATASET, "train.parquet", buffer.getvalue(), standin=True)
    validation = [commit(store, DATASET, "validation.parquet", buffer.getvalue())] if held_out else []
    model = commit(store, ModelResult(), "model/tokenizer.json", b"the base's tokenizer")
    spec = RLJobSpec(
        model=model,
        data=DataSpec(train=[data], validation=validation),
        reward=RewardSpec(type="Math"),
        gpus_per_node=0,
        algorithm=AlgorithmSpec(prompts_per_step=2, epochs=epochs, max_steps=steps),
        **fields,
        checkpoint=CheckpointSpec(every_steps=2, keep_last=1, keep_best=0),
    )
    key = content_key(made_of)
    config = TrainConfig(owner=owner, attempt=attempt, content_key=key, made_of=made_of, spec=spec, model=model)
    monkeypatch.setenv(TRAIN_CONFIG_ENV, config.model_dump_json(by_alias=True))
    monkeypatch.setenv("FAKE_VERL", fake)
    monkeypatch.setenv("FAKE_VERL_PROMPTS", str(rows))
    return main.main()


def record(store: Any, name: str, attempt: int, owner: Owner = OWNER) -> Any:
    return store.get_json(f"{artifacts.attempt_prefix(owner.uid, 'Train', attempt)}/{name}.json")


def manifest(store: Any, content: str = CONTENT) -> Manifest:
    """The commit under a content."""
    return Manifest.model_validate_json(store.get_bytes(artifacts.manifest_key("n", content)))


def training(m: Manifest) -> TrainingResult:
    assert isinstance(m.result, TrainingResult)
    return m.result


def started(tmp_path: Path) -> bool:
    """Whether verl was started since the last call."""
    log = tmp_path / "verl-started"
    there = log.exists()
    log.unlink(missing_ok=True)
    return there


def content(store: Any, m: Manifest, path: str) -> bytes:
    return bytes(store.get_blob(next(f.sha256 for f in m.files if f.path == path)))
