"""What the demo runs in pods against the store, against a real one."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
from pathlib import Path

from contract.servers import BUCKET, S3Server
from demo import manifests

ROOT = Path(__file__).parents[2]


def run(minio: S3Server, script: str, *arguments: str, bucket: str = BUCKET) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / folder) for folder in ("operator", "jobs"))
    environment = {**os.environ, **minio.environ(), "FLYWHEEL_S3_BUCKET": bucket, "PYTHONPATH": path}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_bucket_is_made_once_and_the_model_is_found(minio: S3Server) -> None:
    key = "models/m/manifest.json"
    name = "made-by-the-demo"
    assert run(minio, manifests.CHECK_STORE, key, "make", bucket=name).stdout == "MODEL ABSENT\n"
    minio.client().put_object(name, f"flywheel/{key}", io.BytesIO(b"{}"), 2)
    assert run(minio, manifests.CHECK_STORE, key, "make", bucket=name).stdout == "MODEL PRESENT\n"


def test_a_file_is_printed_between_marks(minio: S3Server) -> None:
    data = bytes(range(256)) * 40
    minio.client().put_object(BUCKET, "elsewhere/report.html", io.BytesIO(data), len(data))
    lines = run(minio, manifests.PRINT_FILE, f"s3://{BUCKET}/elsewhere/report.html").stdout.splitlines()
    assert lines[0] == "BEGIN" and lines[-1] == "END" and max(map(len, lines)) == 4000
    assert base64.b64decode("".join(lines[1:-1])) == data
    absent = run(minio, manifests.PRINT_FILE, f"s3://{BUCKET}/none")
    assert absent.returncode and absent.stderr == f"s3://{BUCKET}/none does not exist\n"
