"""Bytes on their way are progress: transfers of any length stay alive while they move, and are stalled when not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from flywheel_api.artifacts import fetch_key
from flywheel_jobs.harness import fetch_model, pulse
from flywheel_jobs.harness.pulse import Pulse
from flywheel_jobs.storage.store import Store
from flywheel_jobs.trainer import publish
from flywheel_jobs.trainer.process import Child
from flywheel_store.memory import MemoryBucket
from flywheel_store.traffic import Meter
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
