"""What the store promises, checked against every server: the same tests for MinIO and SeaweedFS."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contract.servers import BUCKET, S3Server
from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, FileEntry, Manifest, ManifestKind, Owner
from flywheel_api.causes import ExitCode
from flywheel_jobs.__main__ import main
from flywheel_jobs.core.errors import CorruptArtifact, StoreUnavailable, ValidationFailure
from flywheel_jobs.harness.fetch_model import MARKER
from flywheel_jobs.storage import store as store_module
from flywheel_jobs.storage.s3 import S3Settings
from flywheel_jobs.storage.store import Store

OWNER = Owner(kind="FlywheelRound", namespace="n", name="r", uid="u1")
COMMIT = artifacts.manifest_key("u1", "Prepare", 1)


def manifest(files: list[FileEntry], kind: ManifestKind = ManifestKind.DATASET, **more: object) -> Manifest:
    return Manifest(
        kind=kind,
        owner=OWNER,
        stage="Prepare",
        attempt=1,
        config_digest="sha256:" + "0" * 64,
        files=files,
        counts=Counts(in_=1, out=1),
        created_at="2026-01-01T00:00:00Z",
        **more,  # type: ignore[arg-type]
    )


def test_blob_round_trip_and_upload_only_once(store: Store, s3: S3Server) -> None:
    sha, size = store.put_blob(b"hello")
    assert (sha, size) == (hashlib.sha256(b"hello").hexdigest(), 5)
    assert store.get_blob(sha) == b"hello"
    key = store.full_key(artifacts.blob_key(sha))
    written = s3.client().stat_object(BUCKET, key).last_modified
    again = Store(store.settings)  # another process: it knows nothing yet
    assert again.put_blob(b"hello") == (sha, 5)
    assert s3.client().stat_object(BUCKET, key).last_modified == written


def test_large_file_in_parts(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(40 << 20) + b"tail")
    sha, size = store.put_blob_file(path)
    assert size == (40 << 20) + 4
    assert store.fetch_blob(sha, tmp_path / "back" / "m") == size
    assert store_module.hash_file(tmp_path / "back" / "m") == sha == store_module.hash_file(path)


def test_files_in_parallel_keep_their_order(store: Store, tmp_path: Path) -> None:
    files = []
    for i in range(12):
        (tmp_path / f"f{i}").write_bytes(bytes([i]) * (i + 1))
        files.append((f"state/f{i}", tmp_path / f"f{i}"))
    entries = store.put_files(files)
    assert [e.path for e in entries] == [name for name, _ in files]
    assert [e.size for e in entries] == [i + 1 for i in range(12)]


def test_corruption_is_detected(store: Store, s3: S3Server, tmp_path: Path) -> None:
    sha, _ = store.put_blob(b"truth")
    key = store.full_key(artifacts.blob_key(sha))
    s3.client().put_object(BUCKET, key, io.BytesIO(b"lying"), 5)
    with pytest.raises(CorruptArtifact, match="run the stage that wrote it again"):
        store.get_blob(sha)
    with pytest.raises(CorruptArtifact):
        store.fetch_blob(sha, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []  # neither the file nor a part of it


def test_missing_blob_is_detected(store: Store) -> None:
    with pytest.raises(CorruptArtifact, match="not in the store"):
        store.get_blob("0" * 64)
    with pytest.raises(CorruptArtifact, match=r"data\.jsonl"):
        store.commit(manifest([FileEntry(path="data.jsonl", sha256="1" * 64, size=3)]), COMMIT)
    assert store.get_bytes(COMMIT) is None


def test_a_blob_of_another_size_does_not_count_as_present(store: Store, s3: S3Server) -> None:
    data = b"0123456789"
    sha = hashlib.sha256(data).hexdigest()
    s3.client().put_object(BUCKET, store.full_key(artifacts.blob_key(sha)), io.BytesIO(b"0123"), 4)
    store.put_blob(data)
    assert store.get_blob(sha) == data


def test_create_only_has_one_winner(store: Store) -> None:
    barrier = threading.Barrier(8)

    def contend(i: int) -> bool:
        mine = Store(store.settings)
        barrier.wait()
        return mine.put_json_new("claim.json", {"writer": i})

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(contend, range(8)))
    assert sum(won) == 1
    assert store.get_json("claim.json") == {"writer": won.index(True)}
    assert not store.put_json_new(
        "claim.json", {"writer": won.index(True)}
    )  # the same bytes from someone else lose too


def test_commit_is_create_only_and_names_the_winner(store: Store) -> None:
    sha, size = store.put_blob(b"{}\n")
    files = [FileEntry(path="data.jsonl", sha256=sha, size=size, records=1)]
    first, second = manifest(files), manifest(files, metrics={"x": 1.0})
    done = store.commit(first, COMMIT)
    assert done.won and done.digest == first.digest
    late = Store(store.settings).commit(second, COMMIT)
    assert not late.won and late.digest == first.digest
    assert store.get_manifest(first.digest) == first
    assert store.get_bytes(COMMIT) == first.canonical()


def test_changed_manifest_is_refused(store: Store) -> None:
    digest = store.put_manifest(manifest([]))
    store.put_bytes(artifacts.manifest_digest_key(digest), manifest([], metrics={"x": 2.0}).canonical())
    with pytest.raises(CorruptArtifact, match="has been changed"):
        store.get_manifest(digest)


def test_cut_upload_is_invisible(store: Store, s3: S3Server) -> None:
    sha = hashlib.sha256(b"never finished").hexdigest()
    key = store.full_key(artifacts.blob_key(sha))
    client = s3.client()
    upload = client._create_multipart_upload(BUCKET, key, {})
    client._upload_part(BUCKET, key, b"x" * (5 << 20), None, upload, 1)
    assert not store.has_blob(sha)
    assert store.list_keys("blobs/") == []
    with pytest.raises(CorruptArtifact):
        store.get_blob(sha)
    client._abort_multipart_upload(BUCKET, key, upload)


def test_a_file_that_changes_while_it_is_uploaded_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"a" * 100)
    real = store._client.fput_object

    def upload(*args: Any, **kwargs: Any) -> Any:
        path.write_bytes(b"b" * 101)
        return real(*args, **kwargs)

    monkeypatch.setattr(store._client, "fput_object", upload)
    with pytest.raises(ValidationFailure, match="changed while"):
        store.put_blob_file(path)
    assert store.list_keys("blobs/") == []


def test_list_and_delete(store: Store) -> None:
    for i in (2, 0, 1):
        store.put_json(f"runs/u/x/items/{i}.json", {"i": i})
    assert store.list_keys("runs/u/x/items/") == [f"runs/u/x/items/{i}.json" for i in range(3)]
    store.delete("runs/u/x/items/1.json")
    store.delete("runs/u/x/items/1.json")
    assert len(store.list_keys("runs/u/x/items/")) == 2
    assert store.get_json("runs/u/x/items/1.json") is None


def test_fetch_model_by_digest_and_by_uri(store: Store, s3: S3Server, tmp_path: Path) -> None:
    sha, size = store.put_blob(b"weights" * 1000)
    checkpoint = manifest(
        [FileEntry(path="model/model.safetensors", sha256=sha, size=size)], kind=ManifestKind.CHECKPOINT
    )
    digest = store.put_manifest(checkpoint)
    store.put_bytes_new("models/tiny/manifest.json", checkpoint.canonical())
    uri = store.uri("models/tiny")
    assert store.resolve_model(uri) == store.resolve_model(digest) == digest
    assert store.fetch_model(uri, tmp_path / "m") == checkpoint
    (tmp_path / "m" / "model.safetensors").write_bytes(b"damaged" * 1000)
    store.fetch_model(digest, tmp_path / "m")
    assert store_module.hash_file(tmp_path / "m" / "model.safetensors") == sha
    with pytest.raises(ValidationFailure, match="import-model"):
        store.resolve_model(store.uri("models/absent"))


def test_wrong_credentials_and_bucket_name_the_fix(store: Store, s3: S3Server) -> None:
    wrong = S3Settings(**{**vars(store.settings), "secret_key": "not-the-secret"})
    with pytest.raises(ValidationFailure, match="check accessKey and secretKey") as denied:
        Store(wrong).put_json_new("x", {})
    assert "not-the-secret" not in str(denied.value)
    if s3.name == "seaweedfs":
        return  # makes a bucket at its first write
    nowhere = S3Settings(**{**vars(store.settings), "bucket": "no-such-bucket"})
    with pytest.raises(ValidationFailure, match="create it"):
        Store(nowhere).put_json("x", {})


def test_a_dead_server_is_an_infrastructure_error(store: Store) -> None:
    dead = S3Settings(**{**vars(store.settings), "endpoint": "127.0.0.1:9", "patience_seconds": 0.5})
    with pytest.raises(StoreUnavailable, match="did not answer"):
        Store(dead).get_json("x")


def test_fetch_model_command(
    store: Store, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sha, size = store.put_blob(b"weights")
    digest = store.put_manifest(
        manifest([FileEntry(path="model/config.json", sha256=sha, size=size)], kind=ManifestKind.CHECKPOINT)
    )
    for key, value in s3.environ(store.settings.prefix).items():
        monkeypatch.setenv(key, value)

    def run(model: str, to: str) -> int:
        monkeypatch.setattr("sys.argv", ["x"])
        return main(["fetch-model", "--model", model, "--to", str(tmp_path / to)])

    assert run(digest, "m") == 0
    assert (tmp_path / "m" / "config.json").read_bytes() == b"weights"
    assert (tmp_path / "m" / MARKER).read_text() == digest
    assert run("hf://org/name", "h") == 0
    assert [p.name for p in (tmp_path / "h").iterdir()] == [MARKER]
    assert run("sha256:" + "0" * 64, "n") == ExitCode.VALIDATION
    assert not (tmp_path / "n" / MARKER).exists()
    assert "is not in the store" in capsys.readouterr().err
