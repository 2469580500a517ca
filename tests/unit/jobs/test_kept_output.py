"""What a process prints is in the store while it runs, in pieces, without secrets, and costs the work nothing."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from flywheel_api.artifacts import log_key, log_prefix
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.harness import kept_output
from flywheel_jobs.harness.kept_output import KeptOutput, Pieces
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket


def key_of(number: int) -> str:
    return log_key("u", "Prepare", 1, 0, number)


def kept(store: Store) -> list[str]:
    return [(store.get_bytes(k) or b"").decode() for k in store.list_keys(log_prefix("u", "Prepare", 1))]


def test_what_was_printed_before_and_after_the_store_was_known_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    store, output = Store(MemoryBucket()), KeptOutput()
    try:
        print("early")
        telemetry.configure(stage="Prepare")
        output.into(store, key_of)
        telemetry.get_logger("t").warning("late", item=7)
        print("half a line", end="", file=sys.stderr)
    finally:
        output.close()
    (text,) = kept(store)
    assert text.startswith("early\n") and '"late"' in text and '"item": 7' in text and "half" not in text
    shown = capsys.readouterr()
    assert shown.out == "early\n" and "late" in shown.err, "the pod's own log is as it was"
    print("after")
    assert kept(store) == [text]


def test_a_growing_log_is_there_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_output, "WRITE_SECONDS", 0.01)
    store = Store(MemoryBucket())
    pieces = Pieces(store, key_of)
    pieces.start()
    pieces.add("step 1\n")
    until = time.monotonic() + 10
    while not kept(store) and time.monotonic() < until:
        time.sleep(0.01)
    assert kept(store) == ["step 1\n"]
    pieces.add("step 2\n")
    pieces.stop()
    assert kept(store) == ["step 1\nstep 2\n"]


def test_a_long_log_is_many_pieces_of_which_the_first_and_the_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_output, "PIECE", 10)
    monkeypatch.setattr(kept_output, "KEPT", 4)
    store = Store(MemoryBucket())
    pieces = Pieces(store, key_of)
    pieces.start()
    for number in range(9):
        pieces.add(f"piece {number:03}\n")
    pieces.add("rest\n")
    pieces.stop()
    assert kept(store) == ["piece 000\n", "piece 007\n", "piece 008\n", "rest\n"]


def test_no_secret_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "canary-secret-of-a-tracker")
    store = Store(MemoryBucket())
    pieces = Pieces(store, key_of)
    pieces.start()
    pieces.add("refused: canary-secret-of-a-tracker is no key\n")
    pieces.stop()
    assert kept(store) == ["refused: [redacted] is no key\n"]


def test_a_store_that_is_away_costs_lines_and_nothing_else() -> None:
    bucket = MemoryBucket()
    store, output = Store(bucket), KeptOutput()
    output.into(store, key_of)
    bucket.broken = True
    print("lost")
    output.close()
    bucket.broken = False
    assert kept(store) == []


def test_a_line_that_a_thread_has_begun_waits_for_its_own_end() -> None:
    """`print` writes a line and its end apart: another thread's line may come between them."""
    store, output, begun, done = Store(MemoryBucket()), KeptOutput(), threading.Event(), threading.Event()
    output.into(store, key_of)

    def slow() -> None:
        print("slow ", end="")
        begun.set()
        done.wait(10)
        print("but whole")

    thread = threading.Thread(target=slow)
    thread.start()
    assert begun.wait(10)
    print("quick")
    done.set()
    thread.join()
    output.close()
    assert "".join(kept(store)) == "quick\nslow but whole\n"


def test_what_ray_hides_is_shown_by_the_pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept_output, "_OUTPUT_OF_POD", str(tmp_path / "1"))
    output = KeptOutput(mirror=True)
    print("step 1")
    output.close()
    assert (tmp_path / "1").read_text() == "step 1\n"
    monkeypatch.setattr(kept_output, "_OUTPUT_OF_POD", str(tmp_path / "no" / "such"))
    output = KeptOutput(mirror=True)
    print("step 2")
    output.close()
