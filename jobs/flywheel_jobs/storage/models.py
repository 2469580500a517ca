"""Checkpoints by `sha256:<digest>` or `s3://bucket/prefix`, put into a directory with every file verified."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.storage.store import PARALLEL_FILES, Store
from flywheel_store.store import hash_file, parse_manifest


def fetch_model(store: Store, ref: str, to_dir: Path) -> Manifest:
    """Puts the files under `model/` of a checkpoint into a directory; files already right are kept.

    Raises ValidationFailure when there is no such checkpoint or no space for it.
    """
    manifest = _manifest(store, ref)
    files = [f for f in manifest.files if f.path.startswith("model/")]
    if not files:
        raise ValidationFailure(f"{ref} is a {manifest.kind} without files under model/: give a checkpoint")
    need = sum(f.size for f in files)
    to_dir.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(to_dir).free < need and not _complete(to_dir, files):
        raise ValidationFailure(f"{ref} needs {need >> 20} MiB in {to_dir}; give that volume more space")

    def one(entry: FileEntry) -> None:
        path = to_dir / entry.path.removeprefix("model/")
        if not (path.is_file() and path.stat().st_size == entry.size and hash_file(path) == entry.sha256):
            store.fetch_blob(entry.sha256, path)

    with ThreadPoolExecutor(max_workers=PARALLEL_FILES) as pool:
        list(pool.map(one, files))
    return manifest


def _manifest(store: Store, ref: str) -> Manifest:
    if ref.startswith("sha256:"):
        return store.get_manifest(ref)
    if not ref.startswith("s3://"):
        raise ValidationFailure(f"{ref} is not in the store: give sha256:<digest> or s3://bucket/prefix")
    data = store.get_bytes(f"{ref.rstrip('/')}/manifest.json")
    if data is None:
        raise ValidationFailure(
            f"{ref}/manifest.json does not exist: import the model with `python -m flywheel_jobs import-model`",
            reason="ModelNotFound",
        )
    return parse_manifest(data, ref)


def _complete(target: Path, files: Sequence[FileEntry]) -> bool:
    paths = [(target / f.path.removeprefix("model/"), f.size) for f in files]
    return all(p.is_file() and p.stat().st_size == size for p, size in paths)
