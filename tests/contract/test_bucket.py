"""The few calls that everything in the store is made of: the one in memory answers as real servers do."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from contract.servers import BUCKET, S3Server
from flywheel_api.conditions import Reason
from flywheel_store.bucket import Bucket, S3Bucket
from flywheel_store.connection import Limits
from flywheel_store.errors import StoreProblem, StoreUnavailable


def test_absent_keys_are_none(bucket: Bucket) -> None:
    assert bucket.get("no/such.json") is None
    assert bucket.read("no/such.json", b"".join) is None
    assert bucket.size("no/such.json") is None
    assert bucket.keys("no/") == []
    assert bucket.get(bucket.settings.uri("no/such.json")) is None
    bucket.remove("no/such.json")
    assert bucket.exists()


def test_what_is_written_is_read(bucket: Bucket, tmp_path: Path) -> None:
    for key, data in (("a/b.json", b"{}"), ("a/empty", b""), ("a/large", b"x" * (6 << 20))):
        bucket.put(key, data)
        assert bucket.get(key) == data and bucket.size(key) == len(data)
        assert bucket.read(key, lambda chunks: hashlib.sha256(b"".join(chunks)).hexdigest()) == (
            hashlib.sha256(data).hexdigest()
        )
    bucket.put("a/b.json", b"[1]")
    assert bucket.get("a/b.json") == bucket.get(bucket.settings.uri("a/b.json")) == b"[1]"
    (tmp_path / "f").write_bytes(b"in a file")
    bucket.put_file("a/f", tmp_path / "f")
    assert bucket.get("a/f") == b"in a file"
    bucket.remove("a/f")
    assert bucket.get("a/f") is None


def test_keys_are_sorted_and_begin_with_the_prefix(bucket: Bucket) -> None:
    for key in ("x/2", "x/10", "x/y/1", "xx/1"):
        bucket.put(key, b"")
    assert bucket.keys("x/") == ["x/10", "x/2", "x/y/1"]
    assert bucket.keys("x/1") == ["x/10"]
    assert bucket.keys("") == ["x/10", "x/2", "x/y/1", "xx/1"]


def test_a_create_only_write_has_one_winner(bucket: Bucket) -> None:
    barrier = threading.Barrier(8)

    def contend(number: int) -> bool:
        barrier.wait()
        return bucket.put_new("claim.json", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(contend, range(8)))
    assert sum(won) == 1
    assert bucket.get("claim.json") == b"%d" % won.index(True)
    assert not bucket.put_new("claim.json", b"%d" % won.index(True)), "the same bytes from someone else lose too"
    bucket.remove("claim.json")
    assert bucket.put_new("claim.json", b"again")


def test_problems_name_the_fix_and_no_secret(s3: S3Server) -> None:
    good = s3.settings("problems")
    quick = Limits(connect=2.0, silence=2.0, patience=0.3)
    wrong = S3Bucket(replace(good, secret_key="canary-of-a-secret"), quick)
    calls: list[Callable[[], object]] = [
        lambda: wrong.put_new("x", b""),
        lambda: wrong.get("x"),
        lambda: wrong.keys(""),
    ]
    for call in calls if s3.name != "moto" else []:  # moto checks no signature
        with pytest.raises(StoreProblem, match="check accessKey and secretKey") as denied:
            call()
        assert denied.value.reason is Reason.STORE_DENIED and "canary" not in str(denied.value)
    dead = S3Bucket(replace(good, endpoint="127.0.0.1:9"), quick)
    with pytest.raises(StoreUnavailable, match=r"^no answer from the store at http://127\.0\.0\.1:9, bucket"):
        dead.get("x")
    if s3.name != "seaweedfs":  # makes a bucket at its first write
        with pytest.raises(StoreProblem, match="create it") as absent:
            S3Bucket(replace(good, bucket="no-such-bucket"), quick).put("x", b"")
        assert absent.value.reason is Reason.BUCKET_NOT_FOUND


def test_an_upload_that_was_cut_is_invisible(s3: S3Server) -> None:
    bucket, client = s3.bucket("cut"), s3.client()
    upload = client._create_multipart_upload(BUCKET, "cut/blob", {})
    client._upload_part(BUCKET, "cut/blob", io.BytesIO(b"x" * (5 << 20)).getvalue(), None, upload, 1)
    assert bucket.get("blob") is None and bucket.size("blob") is None and bucket.keys("") == []
    client._abort_multipart_upload(BUCKET, "cut/blob", upload)


def test_bytes_of_files_are_told_as_they_move(s3: S3Server, tmp_path: Path) -> None:
    """Those of small objects are not: a heartbeat that writes its own progress would count as progress."""
    told: list[int] = []
    bucket = S3Bucket(s3.settings("moved"), Limits(patience=5.0), told.append)
    bucket.put("x", b"small")
    assert bucket.get("x") == b"small" and told == []
    (tmp_path / "f").write_bytes(b"x" * (3 << 20))
    bucket.put_file("f", tmp_path / "f")
    assert sum(told) == 3 << 20
    bucket.read("f", lambda chunks: [None for _ in chunks])
    assert sum(told) == 6 << 20 and len(told) > 2
