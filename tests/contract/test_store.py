"""What the store promises: the same tests for MinIO, SeaweedFS and the bucket in memory."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from contract.servers import S3Server
from flywheel_api import artifacts
from flywheel_api.artifacts import Counts, FileEntry, Manifest, Owner
from flywheel_api.causes import ExitCode
from flywheel_api.results import ModelResult, Result, VerifiedResult
from flywheel_jobs.__main__ import main
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.harness.fetch_model import MARKER
from flywheel_jobs.storage.models import fetch_model
from flywheel_jobs.storage.store import Store, inside
from flywheel_jobs.trainer.checkpoints import download_tree
from flywheel_store.memory import MemoryBucket
from flywheel_store.store import hash_file

OWNER = Owner(kind="FlywheelRound", namespace="n", name="r", uid="u1")
CONTENT = "sha256:" + "c" * 64
COMMIT = artifacts.manifest_key("n", CONTENT)


def manifest(files: list[FileEntry], result: Result | None = None, **more: object) -> Manifest:
    return Manifest(
        result=result or VerifiedResult(),
        owner=OWNER,
        stage="Prepare",
        attempt=1,
        content_key=CONTENT,
        files=files,
        counts=Counts(in_=1, out=1),
        created_at="2026-01-01T00:00:00Z",
        **more,
    )


def test_blob_round_trip_and_upload_only_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sha, size = store.put_blob(b"hello")
    assert (sha, size) == (hashlib.sha256(b"hello").hexdigest(), 5)
    assert store.get_blob(sha) == b"hello"
    monkeypatch.setattr(store.bucket, "put", lambda *_: pytest.fail("it is there already"))
    assert store.put_blob(b"hello") == (sha, 5)
    assert Store(store.bucket).put_blob(b"hello") == (sha, 5)  # another process: it knows nothing yet
    monkeypatch.undo()
    store.delete(artifacts.blob_key(sha))
    assert store.put_blob(b"hello") == (sha, 5)
    assert store.has_blob(sha, 5), "what was deleted is known no longer"


def test_large_file_in_parts(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(os.urandom(17 << 20) + b"tail")
    sha, size = store.put_blob_file(path)
    assert size == (17 << 20) + 4
    assert store.fetch_blob(sha, tmp_path / "back" / "m") == size
    assert hash_file(tmp_path / "back" / "m") == sha == hash_file(path)


def test_files_in_parallel_keep_their_order(store: Store, tmp_path: Path) -> None:
    files = []
    for i in range(12):
        (tmp_path / f"f{i}").write_bytes(bytes([i]) * (i + 1))
        files.append((f"state/f{i}", tmp_path / f"f{i}"))
    entries = store.put_files(files)
    assert [e.path for e in entries] == [name for name, _ in files]
    assert [e.size for e in entries] == [i + 1 for i in range(12)]


def test_corruption_is_detected(store: Store, tmp_path: Path) -> None:
    sha, _ = store.put_blob(b"truth")
    store.bucket.put(artifacts.blob_key(sha), b"lying")
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


def test_a_blob_of_another_size_does_not_count_as_present(store: Store) -> None:
    data = b"0123456789"
    sha = hashlib.sha256(data).hexdigest()
    store.bucket.put(artifacts.blob_key(sha), b"0123")
    store.put_blob(data)
    assert store.get_blob(sha) == data


def test_commit_is_create_only_and_names_the_winner(store: Store) -> None:
    sha, size = store.put_blob(b"{}\n")
    files = [FileEntry(path="data.jsonl", sha256=sha, size=size, records=1)]
    first, second = manifest(files), manifest(files, metrics={"x": 1.0})
    done = store.commit(first, COMMIT)
    assert done.won and done.digest == first.digest
    late = Store(store.bucket).commit(second, COMMIT)
    assert not late.won and late.digest == first.digest
    assert store.get_manifest(first.digest) == first
    assert store.get_bytes(COMMIT) == first.canonical()


def test_changed_manifest_is_refused(store: Store) -> None:
    digest = store.put_manifest(manifest([]))
    store.put_bytes(artifacts.manifest_digest_key(digest), manifest([], metrics={"x": 2.0}).canonical())
    with pytest.raises(CorruptArtifact, match="has been changed"):
        store.get_manifest(digest)


def test_a_file_that_changes_while_it_is_uploaded_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"a" * 100)
    real = store.bucket.put_file

    def upload(key: str, file: Path) -> None:
        path.write_bytes(b"b" * 101)
        real(key, file)

    monkeypatch.setattr(store.bucket, "put_file", upload)
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


def test_fetch_model_by_digest_and_by_uri(store: Store, tmp_path: Path) -> None:
    sha, size = store.put_blob(b"weights" * 1000)
    checkpoint = manifest([FileEntry(path="model/model.safetensors", sha256=sha, size=size)], ModelResult())
    digest = store.put_manifest(checkpoint)
    store.put_bytes_new("models/tiny/manifest.json", checkpoint.canonical())
    uri = store.uri("models/tiny")
    assert fetch_model(store, uri, tmp_path / "m") == checkpoint
    (tmp_path / "m" / "model.safetensors").write_bytes(b"damaged" * 1000)
    assert fetch_model(store, digest, tmp_path / "m") == checkpoint
    assert hash_file(tmp_path / "m" / "model.safetensors") == sha
    with pytest.raises(ValidationFailure, match=r"imported by a round .* import-model --gguf FILE"):
        fetch_model(store, store.uri("models/absent"), tmp_path / "absent")
    with pytest.raises(ValidationFailure, match="give sha256"):
        fetch_model(store, "hf://org/name", tmp_path / "absent")


@pytest.mark.parametrize(
    "path", ["model/../../escape", "model//abs/path", "model/./x", "..", "model/..", "a/", "model/a/../b"]
)
def test_a_manifest_cannot_name_what_lies_outside(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        FileEntry(path=path, sha256="0" * 64, size=1)
    assert FileEntry(path="model/a..b/.c", sha256="0" * 64, size=1).path == "model/a..b/.c"


def test_a_file_of_a_manifest_lands_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    for name in ("../x", str(tmp_path.parent / "x"), "link/x"):
        with pytest.raises(CorruptArtifact, match="leads out of its folder"):
            inside(tmp_path, name)
    assert inside(tmp_path, "a/b") == tmp_path / "a" / "b"


def test_another_model_in_the_folder_is_taken_out(tmp_path: Path) -> None:
    """A loader prefers an index, and reads every shard that it finds."""
    store, to = Store(MemoryBucket()), tmp_path / "m"
    sha, size = store.put_blob(b"weights")
    model = manifest([FileEntry(path="model/model.safetensors", sha256=sha, size=size)], ModelResult())
    to.mkdir()
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "notes.txt"):
        (to / name).write_bytes(b"old")
    fetch_model(store, store.put_manifest(model), to)
    assert sorted(p.name for p in to.iterdir()) == ["model.safetensors", "notes.txt"]


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5))
    store = Store(MemoryBucket())
    sha, size = store.put_blob(b"weights")
    monkeypatch.setattr(Store, "from_env", classmethod(lambda _cls: store))
    model = manifest([FileEntry(path="model/x", sha256=sha, size=size)], ModelResult())
    with pytest.raises(ValidationFailure, match="give that volume more space"):
        fetch_model(store, store.put_manifest(model), tmp_path / "m")
    with pytest.raises(ValidationFailure, match="the checkpoint of step 3 needs"):
        download_tree([("a", sha, size)], str(tmp_path / "c"), str(tmp_path / "t"), 3)


def test_fetch_model_command(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = s3.store("command")
    sha, size = store.put_blob(b"weights")
    digest = store.put_manifest(manifest([FileEntry(path="model/config.json", sha256=sha, size=size)], ModelResult()))
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
