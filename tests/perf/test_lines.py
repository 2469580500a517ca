"""Benchmark: uploads over lines of a given rate, beside minio-py's fput_object; nothing is sent twice.

The line is a relay on this machine; at 100 MiB/s and with no limit the relay itself and the two cores are the line.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from contract.relay import Fault, big_file, relayed
from contract.servers import running
from perf.machine import record

MIB = 1 << 20
CASES = ((0.5, 12, 0.0), (2.0, 24, 0.0), (10.0, 64, 0.0), (10.0, 64, 8.0), (100.0, 256, 0.0))
"""(MiB/s, MiB, seconds of silence in the middle of a part)"""


@pytest.mark.timeout(600)
def test_lines(tmp_path: Path) -> None:
    rows = []
    folder = tmp_path / "server"
    folder.mkdir()
    with running("minio", folder) as s3, relayed(s3) as relay:
        for number, (rate, size, stall) in enumerate(CASES):
            file, row = big_file(tmp_path / "file", size * MIB), {"mib_per_s": rate, "mib": size, "stall_s": stall}
            for kind in ("fput_object", "put_file"):
                relay.rate, relay.sent = rate * MIB, 0
                relay.faults = [Fault("PUT", "", stall=stall)] if stall else []
                started = time.monotonic()
                try:
                    if kind == "put_file":
                        relay.s3.bucket("lines").put_file(f"{number}", file)
                    else:
                        relay.s3.client().fput_object("flywheel", f"plain/{number}", str(file))
                except Exception as error:
                    row[kind] = type(error).__name__
                else:
                    row[f"{kind}_s"] = round(time.monotonic() - started, 1)
                row[f"{kind}_sent"] = round(relay.sent / (size * MIB), 3)
            rows.append(row)
            print(row)
            assert "put_file_s" in row, f"our upload did not end: {row}"
            assert float(row["put_file_sent"]) < 1.1, f"bytes were sent twice: {row}"
    record("lines", {"what": "uploads over slow lines: seconds, and bytes sent per byte of the file", "rows": rows})
