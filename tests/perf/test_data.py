"""Benchmark: near duplicates among a million records (target: 10 minutes, 2 GB, one core); files as a stream."""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flywheel_api.records.reasoning import Problem
from flywheel_jobs.reasoning.dedup import Duplicates
from flywheel_jobs.sources.rows import read
from perf.machine import record

TEXTS, TOKENS, MILLION = 20_000, 200, 1_000_000
SIZES = (100_000, 400_000)
_WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "dklmnrst"]


def _grown_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.timeout(600)
def test_near_duplicates() -> None:
    """Time a text is flat (the second half is timed apart), so a million is an extrapolation."""
    rng, before = random.Random(3), _grown_mb()
    texts = [" ".join(rng.choices(_WORDS, k=TOKENS)) for _ in range(TEXTS)]
    seen, halves = Duplicates(0.8), []
    for half in (texts[: TEXTS // 2], texts[TEXTS // 2 :]):
        started = time.process_time()
        kept = sum(seen.add(Problem(id="p", question=text)) is None for text in half)
        halves.append((time.process_time() - started) / len(half))
        assert kept == len(half)
    record(
        "dedup",
        {
            "what": "near duplicates by MinHash with LSH, 200 tokens a text; a million by the later half of these",
            "texts": TEXTS,
            "ms_a_text": [round(1000 * each, 3) for each in halves],
            "minutes_a_million": round(halves[-1] * MILLION / 60, 1),
            "grown_mb": round(_grown_mb() - before),
            "target_minutes": 10,
        },
    )


@pytest.mark.timeout(600)
def test_files(tmp_path: Path) -> None:
    """A Parquet file of four times the rows takes no more memory."""
    rows = []
    for size in SIZES:
        file = tmp_path / f"{size}.parquet"
        with pq.ParquetWriter(file, pa.schema([("question", pa.string()), ("answer", pa.string())])) as out:
            for start in range(0, size, 10_000):
                numbers = range(start, start + 10_000)
                questions = [f"What is {n} and {n + 7} together?" for n in numbers]
                out.write_table(pa.table({"question": questions, "answer": list(map(str, numbers))}))
        before, started = _grown_mb(), time.process_time()
        assert sum(row.value is not None for row in read(file, file.name)) == size
        seconds = time.process_time() - started
        rows.append({"rows": size, "rows_per_s": round(size / seconds), "grown_mb": round(_grown_mb() - before)})
    record("files", {"what": "rows of a Parquet file as a stream: memory that grew while it was read", "sizes": rows})
