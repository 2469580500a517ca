"""Benchmark: Store.put_blob_file against minio-py's fput_object on the same server (target: at least 0.9).

`put_blob_file` hashes the file first, because its key is its sha256; that is part of what is measured.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from contract.servers import running
from perf.machine import middle, record

PAIRS = 7
SIZE = 272 << 20  # bytes: the demo's model in bf16


@pytest.mark.timeout(600)
def test_upload(tmp_path: Path) -> None:
    rates: list[tuple[float, float]] = []
    block = os.urandom(4 << 20)
    folder = tmp_path / "server"
    folder.mkdir()
    with running("minio", folder) as s3:
        store = s3.store("perf")
        client = s3.client()
        for pair in range(PAIRS):
            file = tmp_path / "file.bin"
            file.write_bytes(b"".join(bytes([pair, i]) + block[2:] for i in range(SIZE // len(block))))
            timed = {}
            for kind in ("plain", "store") if pair % 2 else ("store", "plain"):
                started = time.monotonic()
                if kind == "plain":
                    client.fput_object(store.settings.bucket, f"plain/{pair}", str(file))
                else:
                    sha, size = store.put_blob_file(file)
                    assert size == SIZE and len(sha) == 64
                timed[kind] = SIZE / 1e6 / (time.monotonic() - started)
            client.remove_object(store.settings.bucket, f"plain/{pair}")
            rates.append((timed["plain"], timed["store"]))
    record(
        "upload",
        {
            "what": "MB/s of Store.put_blob_file (sha256, then upload) and of minio-py's fput_object",
            "size_mb": round(SIZE / 1e6),
            "fput_object_mb_per_s": round(middle([p for p, _ in rates])),
            "put_blob_file_mb_per_s": round(middle([s for _, s in rates])),
            "ratio": round(middle([s / p for p, s in rates]), 3),
            "ratios": [round(s / p, 3) for p, s in rates],
            "target": 0.9,
        },
    )
