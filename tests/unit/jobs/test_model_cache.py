"""What one pod has fetched no other fetches: the cache of models, with a store that counts."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from flywheel_api.artifacts import FileEntry, Manifest, Owner
from flywheel_api.results import ModelResult
from flywheel_api.stages import CACHE_ENV
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.storage.cache import ModelCache
from flywheel_jobs.storage.models import fetch_model
from flywheel_jobs.storage.store import Store
from flywheel_store.traffic import MOVED

FILES = {"model/config.json": b"{}", "model/model.safetensors": b"w" * 4096, "model/tokenizer.json": b"t" * 64}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class CountingStore:
    """Blobs from memory; `fetched` says which were asked for."""

    def __init__(self) -> None:
        self.blobs = {sha(data): data for data in FILES.values()}
        self.fetched: list[str] = []

    def get_manifest(self, digest: str) -> Manifest:
        entries = [FileEntry(path=path, sha256=sha(data), size=len(data)) for path, data in FILES.items()]
        owner = Owner(kind="Import", namespace="", name="m", uid="u")
        return Manifest(
            owner=owner,
            stage="Import",
            attempt=1,
            files=entries,
            result=ModelResult(),
            created_at="1970-01-01T00:00:00Z",
        )

    def fetch_blob(self, digest: str, to: Path) -> int:
        self.fetched.append(digest)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(self.blobs[digest])
        return len(self.blobs[digest])


def replica(store: CountingStore, folder: Path, volume: Path | None) -> dict[str, bytes]:
    """A pod's start: what lies in its directory of the model."""
    cache = ModelCache.of({CACHE_ENV: str(volume)} if volume else {})
    fetch_model(cast(Store, store), "sha256:" + "0" * 64, folder, cache)
    return {f"model/{path.name}": path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def test_the_second_replica_starts_without_a_download(store: CountingStore, tmp_path: Path) -> None:
    assert replica(store, tmp_path / "a", tmp_path / "volume") == FILES
    assert sorted(store.fetched) == sorted(map(sha, FILES.values()))
    store.fetched.clear()
    assert replica(store, tmp_path / "b", tmp_path / "volume") == FILES
    assert store.fetched == []
    assert replica(store, tmp_path / "c", None) == FILES and len(store.fetched) == 3


def test_a_container_that_starts_anew_in_its_pod_takes_what_is_there(store: CountingStore, tmp_path: Path) -> None:
    replica(store, tmp_path / "a", tmp_path / "volume")
    store.fetched.clear()
    assert replica(store, tmp_path / "a", tmp_path / "volume") == FILES and store.fetched == []
    shutil.rmtree(tmp_path / "volume")
    assert replica(store, tmp_path / "a", tmp_path / "volume") == FILES and len(store.fetched) == 3


def test_a_link_on_the_way_to_a_file_is_a_way_out(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("a", "elsewhere"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "sub").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setitem(FILES, "model/sub/notes.json", b"{}")
    with pytest.raises(CorruptArtifact, match="out of its folder"):
        replica(store, tmp_path / "a", None)


def test_pods_that_start_together_fetch_each_file_once(store: CountingStore, tmp_path: Path) -> None:
    monitors: list[Any] = []
    pods = [
        threading.Thread(target=lambda n=n: monitors.append(replica(store, tmp_path / f"{n}", tmp_path / "volume")))
        for n in range(4)
    ]
    for pod in pods:
        pod.start()
    for pod in pods:
        pod.join(20)
    assert monitors == [FILES] * 4 and len(store.fetched) == len(FILES)


def test_a_file_that_the_volume_spoilt_is_fetched_anew(store: CountingStore, tmp_path: Path) -> None:
    replica(store, tmp_path / "a", tmp_path / "volume")
    spoilt = tmp_path / "volume/blobs" / sha(FILES["model/model.safetensors"])
    spoilt.write_bytes(b"x" * 4096)
    store.fetched.clear()
    assert replica(store, tmp_path / "b", tmp_path / "volume") == FILES
    assert store.fetched == [sha(FILES["model/model.safetensors"])]


def test_a_pod_that_ends_in_between_leaves_no_half_file(store: CountingStore, tmp_path: Path) -> None:
    def dies(digest: str, to: Path) -> int:
        to.write_bytes(b"ww")
        raise ConnectionError("gone")

    whole, store.fetch_blob = store.fetch_blob, dies  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        replica(store, tmp_path / "a", tmp_path / "volume")
    assert list((tmp_path / "volume/blobs").iterdir()) == list((tmp_path / "volume/parts").iterdir()) == []
    store.fetch_blob = whole  # type: ignore[method-assign]
    assert replica(store, tmp_path / "a", tmp_path / "volume") == FILES


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_volume_gives_up_what_rested_and_is_gone_around_where_nothing_did(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = tmp_path / "volume/blobs"
    blobs.mkdir(parents=True)
    for name, days in (("old", 3), ("older", 9), ("new", 0)):
        (blobs / name).write_bytes(b"x")
        moment = time.time() - days * 86_400
        os.utime(blobs / name, (moment, moment))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 0 if (blobs / "older").exists() else 1 << 20))
    assert replica(store, tmp_path / "a", tmp_path / "volume") == FILES
    assert (blobs / "old").exists() and not (blobs / "older").exists() and (blobs / "new").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 0))
    shutil.rmtree(blobs)
    assert replica(store, tmp_path / "b", tmp_path / "volume") == FILES
    assert list(blobs.iterdir()) == [] and not any(path.is_symlink() for path in (tmp_path / "b").iterdir())


def test_a_volume_that_cannot_be_written_to_stops_nobody(store: CountingStore, tmp_path: Path) -> None:
    (tmp_path / "volume").write_text("no folder")
    assert ModelCache.of({CACHE_ENV: str(tmp_path / "volume")}) is None
    assert replica(store, tmp_path / "a", tmp_path / "volume") == FILES


def test_what_another_pod_brings_is_progress_of_the_one_that_waits(
    store: CountingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica(store, tmp_path / "a", tmp_path / "volume")
    digest = sha(FILES["model/model.safetensors"])
    lock = (tmp_path / "volume/locks" / digest).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    part = tmp_path / "volume/parts" / f".{digest}.1.part"
    part.write_bytes(b"w" * 1000)
    before = MOVED.total
    waits: list[int] = []

    def sleep(_: float) -> None:
        waits.append(MOVED.total - before)
        if len(waits) == 2:
            lock.close()
        part.write_bytes(b"w" * 1500)

    monkeypatch.setattr(time, "sleep", sleep)
    cache = ModelCache.of({CACHE_ENV: str(tmp_path / "volume")})
    assert cache is not None
    cache.place(FileEntry(path="f", sha256=digest, size=4096), tmp_path / "f", store.fetch_blob)
    assert waits == [1000, 1500]
