"""Benchmarks: a model in and out, and a pool's second replica on a node with a cache.

ImportModel and Export stand beside a plain copy of the same files (target: at least 0.9), which does what a person
would: four files at a time to the disk and on, without a digest, a journal or a heartbeat. The second replica stands
beside the first one's download, and beside its floor: that the files on the disk are compared with their digests.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from minio import Minio

from contract.hub import COMMIT, REPO, Mirror, mirror
from contract.servers import BUCKET, running
from contract.test_export import Campaign
from contract.test_import_model import bring, config
from flywheel_api.results import ModelResult
from flywheel_api.round import ExportSpec
from flywheel_api.stages import CACHE_ENV
from flywheel_jobs.storage.cache import ModelCache
from flywheel_jobs.storage.models import fetch_model, imported
from flywheel_jobs.storage.store import PARALLEL_FILES, Store
from flywheel_store.store import hash_file
from perf.machine import middle, record

PAIRS = 5
SHARDS, SIZE = 4, 48 << 20  # bytes of each


def model() -> dict[str, bytes]:
    """Shards of bytes that do not repeat, with the small files that make them a model."""
    shards = {f"model-0000{n}-of-0000{SHARDS}.safetensors": os.urandom(SIZE) for n in range(1, SHARDS + 1)}
    index = {"weight_map": {name: name for name in shards}}
    small = {"config.json": {"model_type": "llama"}, "tokenizer.json": {}, "model.safetensors.index.json": index}
    return {name: json.dumps(text).encode() for name, text in small.items()} | shards


@contextmanager
def apart(files: Mapping[str, bytes]) -> Iterator[Mirror]:
    """A mirror in a process of its own: in this one it would hold the interpreter's lock that ours waits for."""
    context = multiprocessing.get_context("fork")  # which shares the files' memory
    ours, theirs = context.Pipe()
    process = context.Process(target=_mirror, args=(files, theirs), daemon=True)
    process.start()
    try:
        yield Mirror(files, url=ours.recv())
    finally:
        process.kill()
        process.join()


def _mirror(files: Mapping[str, bytes], to: Connection) -> None:
    with mirror(files) as made:
        to.send(made.url)
        to.poll(None)


def copy(
    names: Mapping[str, bytes], folder: Path, get: Callable[[str, Path], None], put: Callable[..., object]
) -> None:
    """Each file to the disk and on."""

    def one(name: str) -> None:
        path = folder / name
        get(name, path)
        put(name, path)
        path.unlink()

    with ThreadPoolExecutor(max_workers=PARALLEL_FILES) as pool:
        list(pool.map(one, names))


def rates(size: int, ours: Callable[[int], None], plain: Callable[[int], None]) -> list[tuple[float, float]]:
    """MB/s of both, in turns."""
    found = []
    for pair in range(PAIRS):
        timed = {}
        for work in (plain, ours) if pair % 2 else (ours, plain):
            started = time.monotonic()
            work(pair)
            timed[work] = size / 1e6 / (time.monotonic() - started)
        found.append((timed[ours], timed[plain]))
    return found


def result(what: str, size: int, found: list[tuple[float, float]]) -> dict[str, object]:
    return {
        "what": f"MB/s of {what} and of a plain copy of the same files, {PARALLEL_FILES} at a time",
        "size_mb": round(size / 1e6),
        "ours_mb_per_s": round(middle([o for o, _ in found])),
        "plain_mb_per_s": round(middle([p for _, p in found])),
        "ratio": round(middle([o / p for o, p in found]), 3),
        "ratios": [round(o / p, 3) for o, p in found],
        "target": 0.9,
    }


@pytest.mark.timeout(600)
def test_a_model_in_and_out(tmp_path: Path) -> None:
    files, folder = model(), tmp_path / "server"
    size = sum(map(len, files.values()))
    folder.mkdir()
    with running("minio", folder) as s3, apart(files) as hub:
        client = s3.client()
        comes_in = rates(
            size,
            lambda pair: _bring(hub, s3.store(f"in{pair}"), pair),
            lambda pair: copy(files, tmp_path, _downloaded(hub), _put(client, f"plain-in{pair}")),
        )
        record("import_model", result("ImportModel from a mirror into the store", size, comes_in))
        campaign = Campaign(store=s3.store("out"), model=files)
        blobs = {f.path.removeprefix("model/"): f.sha256 for f in campaign.store.get_manifest(campaign.model).files}

        def get(name: str, path: Path) -> None:
            client.fget_object(BUCKET, f"out/blobs/sha256/{blobs[name][:2]}/{blobs[name]}", str(path))

        goes_out = rates(
            size,
            lambda pair: _export(campaign, pair),
            lambda pair: copy(files, tmp_path, get, _put(client, f"plain-out{pair}")),
        )
        record("export_model", result("Export from the store to a prefix", size, goes_out))


@pytest.mark.timeout(600)
def test_the_second_replica_of_a_pool(tmp_path: Path) -> None:
    """Seconds until the model is in place: without a cache, with an empty one, with one that another replica filled."""
    files, folder = model(), tmp_path / "server"
    size = sum(map(len, files.values()))
    folder.mkdir()
    with running("minio", folder) as s3:
        store = s3.store()
        source = tmp_path / "model"
        for name, data in files.items():
            _write(source / name, data)
        entries = store.put_files([(f"model/{name}", source / name) for name in files])
        digest = imported(store, "models/m", entries, {"name": "m"}, ModelResult()).digest
        no_files = s3.store()
        no_files.fetch_blob = _refused  # type: ignore[method-assign]
        seconds: dict[str, list[float]] = {"no cache": [], "first": [], "second": [], "floor": []}
        for pair in range(PAIRS):
            root = tmp_path / f"cache-{pair}"
            cached = ModelCache.of({CACHE_ENV: str(root)})
            seconds["no cache"].append(_placed(store, digest, tmp_path / f"none-{pair}", None))
            seconds["first"].append(_placed(store, digest, tmp_path / f"first-{pair}", cached))
            seconds["second"].append(_placed(no_files, digest, tmp_path / f"second-{pair}", cached))
            seconds["floor"].append(_hashed(root / "blobs"))
            for used in (root, *(tmp_path / f"{name}-{pair}" for name in ("none", "first", "second"))):
                shutil.rmtree(used)
    found = {name: round(middle(values), 3) for name, values in seconds.items()}
    said = {
        "what": f"seconds until a model is in place for a replica of a pool, {PARALLEL_FILES} files at a time",
        "size_mb": round(size / 1e6),
        "without_a_cache_s": found["no cache"],
        "first_replica_s": found["first"],
        "second_replica_s": found["second"],
        "comparing_digests_s": found["floor"],
        "second_over_floor": round(found["second"] / found["floor"], 2),
        "first_over_no_cache": round(found["first"] / found["no cache"], 2),
    }
    record("second_replica", said)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _refused(sha: str, to_path: Path | str) -> int:
    raise AssertionError(f"a second replica downloads {sha} to {to_path}")


def _placed(store: Store, digest: str, folder: Path, cache: ModelCache | None) -> float:
    """Seconds that `fetch-model` of a pod takes."""
    started = time.monotonic()
    fetch_model(store, digest, folder, cache)
    return time.monotonic() - started


def _hashed(blobs: Path) -> float:
    """Seconds that it takes to read the files and to work out their digests."""
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=PARALLEL_FILES) as pool:
        list(pool.map(hash_file, blobs.iterdir()))
    return time.monotonic() - started


def _bring(hub: Mirror, store: object, pair: int) -> None:
    bring(store, config(hub, uid=f"u{pair}", only_for=f"u{pair}"))  # type: ignore[arg-type]


def _export(campaign: Campaign, pair: int) -> None:
    campaign.run(to=ExportSpec(s3=f"s3://{BUCKET}/published/r{pair}"), only_for=f"u{pair}")


def _downloaded(hub: Mirror) -> Callable[[str, Path], None]:
    def get(name: str, path: Path) -> None:
        address = f"{hub.url}/{REPO}/resolve/{COMMIT}/{name}"
        with urllib.request.urlopen(address) as answer, path.open("wb") as out:
            shutil.copyfileobj(answer, out, 1 << 20)

    return get


def _put(client: Minio, prefix: str) -> Callable[[str, Path], object]:
    return lambda name, path: client.fput_object(BUCKET, f"{prefix}/{name}", str(path))
