"""Bytes on their way are progress: transfers of any length stay alive while they move, and are stalled when not."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from flywheel_api.artifacts import FileEntry, fetch_key
from flywheel_api.results import ModelResult
from flywheel_jobs.harness import fetch_model, pulse
from flywheel_jobs.harness.pulse import Pulse
from flywheel_jobs.storage import models
from flywheel_jobs.storage.cache import ModelCache
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import publish
from flywheel_jobs.trainer.process import Child
from flywheel_store.memory import MemoryBucket
from flywheel_store.store import hash_file
from flywheel_store.traffic import MOVED, Meter
from perf import transfer


def test_900_gigabytes_at_50_megabytes_a_second_are_let_be() -> None:
    seen = list(transfer.run(900, 50))
    assert [s.phase for s in seen] == [phase for phase, _ in transfer.PHASES]
    assert all(s.minutes == 300 and s.said == "" for s in seen), "five hours each, stallAfter is half an hour"


@pytest.mark.parametrize(
    ("skip", "reason"), [(0, "StartupTimeout"), (1, "Stalled/NoProgress"), (4, "Stalled/NoProgress")]
)
def test_a_transfer_that_stops_is_stalled(skip: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PHASES", transfer.PHASES[skip:])
    (seen,) = transfer.run(900, 50, until=0.4)
    assert reason in seen.said
    assert 120 + 30 <= seen.minutes <= 120 + 30 + 2, "40 % take two hours, and half an hour without a byte is enough"


def test_a_heartbeat_alone_is_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(f"2026-01-01T00:00:{i:02}Z" for i in range(60))
    monkeypatch.setattr(pulse, "now", lambda: next(times))
    meter = Meter()
    monkeypatch.setattr(pulse, "MOVED", meter)
    one = Pulse(Store(MemoryBucket()), "k")
    first, second = one.look(), one.look()
    assert first.updated_at == second.updated_at and first.heartbeat_at < second.heartbeat_at
    meter.add(5)
    third = one.look()
    assert third.updated_at > second.updated_at and third.moved_bytes == 5


def test_pods_that_share_a_key_and_stand_still_do_not_seem_to_move(monkeypatch: pytest.MonkeyPatch) -> None:
    times = (f"2026-01-01T00:00:{i:02}Z" for i in range(60))
    monkeypatch.setattr(pulse, "now", lambda: next(times))
    store = Store(MemoryBucket())
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls, _environ=None: store))
    monkeypatch.setattr(pulse, "MOVED", meter := Meter())
    pods = [fetch_model.pulse_at("k") for _ in range(2)]
    for pod in pods:
        pod._write()
    seen = store.get_json("k")
    for pod in pods * 3:
        pod._write()
        assert store.get_json("k") == seen
    meter.add(5)
    pods[0]._write()
    assert (store.get_json("k") or {})["movedBytes"] == 5


def test_a_pod_that_fetches_a_model_tells_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = Store(MemoryBucket())
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls, _environ=None: store))
    key = fetch_key("u", "Train", 1)
    arguments = ["fetch-model", "--model", "hf://a/b", "--to", str(tmp_path), "--progress", key]
    monkeypatch.setattr(sys, "argv", arguments)
    assert fetch_model.main() == 0
    assert (store.get_json(key) or {})["text"] == "fetching the model"


def test_what_is_read_to_be_hashed_is_told_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(MOVED, "add", told.append)
    (tmp_path / "shard").write_bytes(data := os.urandom((5 << 20) + 7))
    assert hash_file(tmp_path / "shard") == hashlib.sha256(data).hexdigest()
    assert sum(told) == len(data) and max(told) <= 1 << 20


def test_transfers_that_find_all_in_its_place_are_alive_by_what_they_read(tmp_path: Path) -> None:
    """On a volume that is slow enough they take longer than any limit, and nothing travels."""
    store, shard = Store(MemoryBucket()), os.urandom(5000)
    entry = FileEntry(path="model/a.safetensors", sha256=hashlib.sha256(shard).hexdigest(), size=len(shard))
    (tmp_path / "model").mkdir()
    (tmp_path / entry.path).write_bytes(shard)
    store.put_files([(entry.path, tmp_path / entry.path)])
    manifest = models.imported(store, "models/a", [entry], {"name": "a"}, ModelResult())
    cache = ModelCache(tmp_path / "cache")
    for folder in ("blobs", "parts", "locks"):
        (tmp_path / "cache" / folder).mkdir(parents=True)
    (tmp_path / "cache/blobs" / entry.sha256).write_bytes(shard)
    actor = tmp_path / "local/actor"
    actor.mkdir(parents=True)
    (actor / "model.pt").write_bytes(shard)
    state = manifest.model_copy(update={"files": [entry.model_copy(update={"path": "state/actor/model.pt"})]})
    transfers: dict[str, Callable[[], object]] = {
        "fetched by another container": lambda: fetch_model.fetch(manifest.digest, tmp_path / "model"),
        "in the cache": lambda: cache.place(entry, tmp_path / "linked", store.fetch_blob),
        "uploaded before": lambda: store.put_blob_file(tmp_path / entry.path),
        "merged where it lies": lambda: publish.actor_folder(store, state, tmp_path / "local", tmp_path / "scratch"),
    }
    with mock.patch.object(Store, "from_env", lambda *_: store):
        for name, transfer in transfers.items():
            before = MOVED.total
            transfer()
            assert MOVED.total - before == len(shard), f"{name}: each byte once"


def test_bytes_that_the_merger_reads_and_writes_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()
    monkeypatch.setattr(publish, "MOVED", meter)
    monkeypatch.setattr(publish, "POLL_SECONDS", 0.01)
    told, said = tmp_path / "told", tmp_path / "said"
    code = f"""
import pathlib, time
pathlib.Path({str(tmp_path / "out")!r}).write_bytes(bytes(3_000_000))
until = time.monotonic() + 5
while not pathlib.Path({str(told)!r}).exists() and time.monotonic() < until: time.sleep(0.01)
"""
    child = Child([sys.executable, "-c", code], dict(os.environ), tmp_path, lambda _line: None)
    poll = child.poll

    def seen() -> int | None:
        if meter.total >= 3_000_000:
            said.touch()
            told.touch()
        return poll()

    monkeypatch.setattr(child, "poll", seen)
    assert publish._awaited(child) == 0
    assert said.exists(), "before it ended"
