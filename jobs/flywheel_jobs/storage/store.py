"""The object store: content-addressed blobs, manifests and create-only commits, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_jobs.core.errors import CorruptArtifact, Superseded, ValidationFailure
from flywheel_jobs.storage.blobs import PARALLEL_FILES, Blobs, hash_file, json_bytes, parse_object

__all__ = ["Committed", "Store", "hash_file", "json_bytes", "parse_manifest", "parse_object"]


@dataclass(frozen=True)
class Committed:
    """What stands under a commit key now, and whether this call put it there."""

    digest: str
    won: bool


class Store(Blobs):
    """One bucket and prefix with its manifests. Safe to use from several threads."""

    # ---- manifests ------------------------------------------------------------------------------------------------
    def put_manifest(self, manifest: Manifest) -> str:
        """Stores a manifest by its digest and returns the digest. Its blobs must be there already."""
        self._check_blobs(manifest)
        key = artifacts.manifest_digest_key(manifest.digest)
        if self._stat(self.full_key(key)) is None:
            self.put_bytes(key, manifest.canonical(), "application/json")
        return manifest.digest

    def commit(self, manifest: Manifest, key: str) -> Committed:
        """Stores a manifest by digest, then creates `key`, last: whoever comes second finds the winner's digest.

        Raises CorruptArtifact if a blob of the manifest is missing.
        """
        digest = self.put_manifest(manifest)
        if self.put_bytes_new(key, manifest.canonical()):
            return Committed(digest, True)
        standing = self.get_bytes(key)
        if standing is None:
            raise Superseded(f"{key} was created and removed by someone else while this attempt committed")
        return Committed(artifacts.digest_of(standing), False)

    def _check_blobs(self, manifest: Manifest) -> None:
        def check(entry: FileEntry) -> str | None:
            with self._lock:
                known = entry.sha256 in self._known
            return None if known or self.has_blob(entry.sha256, entry.size) else entry.path

        with ThreadPoolExecutor(max_workers=8) as pool:
            absent = [path for path in pool.map(check, manifest.files) if path]
        if absent:
            raise CorruptArtifact(f"manifest names files whose blobs are not in the store: {', '.join(absent[:5])}")

    def get_manifest(self, digest: str) -> Manifest:
        """A manifest by digest, verified. Raises CorruptArtifact if it is missing or not what the digest says."""
        data = self.get_bytes(artifacts.manifest_digest_key(digest))
        if data is None:
            raise CorruptArtifact(f"manifest {digest} is not in the store")
        if artifacts.digest_of(data) != digest:
            raise CorruptArtifact(f"manifest {digest} has been changed: its bytes hash to {artifacts.digest_of(data)}")
        return parse_manifest(data, digest)

    # ---- models ---------------------------------------------------------------------------------------------------
    def resolve_model(self, ref: str) -> str:
        """The digest of the checkpoint that `sha256:...` or `s3://bucket/prefix` names. Raises ValidationFailure."""
        return self._model_manifest(ref).digest

    def fetch_model(self, ref: str, to_dir: Path | str, parallel: int = PARALLEL_FILES) -> Manifest:
        """Puts the files under `model/` of a checkpoint into a directory, each verified; files already right are
        kept.
        """
        manifest = self._model_manifest(ref)
        target = Path(to_dir)
        files = [f for f in manifest.files if f.path.startswith("model/")]
        if not files:
            raise ValidationFailure(f"{ref} is a {manifest.kind} without files under model/: give a checkpoint")
        need = sum(f.size for f in files)
        target.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(target).free < need and not _complete(target, files):
            raise ValidationFailure(f"{ref} needs {need >> 20} MiB in {target}; give that volume more space")

        def one(entry: FileEntry) -> None:
            path = target / entry.path.removeprefix("model/")
            if not (path.is_file() and path.stat().st_size == entry.size and hash_file(path) == entry.sha256):
                self.fetch_blob(entry.sha256, path)

        with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
            list(pool.map(one, files))
        return manifest

    def _model_manifest(self, ref: str) -> Manifest:
        if ref.startswith("sha256:"):
            return self.get_manifest(ref)
        if not ref.startswith("s3://"):
            raise ValidationFailure(f"{ref} is not in the store: give sha256:<digest> or s3://bucket/prefix")
        data = self.get_uri(f"{ref.rstrip('/')}/manifest.json")
        if data is None:
            raise ValidationFailure(
                f"{ref}/manifest.json does not exist: import the model with `python -m flywheel_jobs import-model`",
                reason="ModelNotFound",
            )
        return parse_manifest(data, ref)

    def iter_jsonl(self, entry: FileEntry) -> Iterator[dict[str, Any]]:
        """Records of a JSONL file of a manifest. Raises CorruptArtifact naming the line that is no JSON object."""
        for number, line in enumerate(self.get_blob(entry.sha256).splitlines(), start=1):
            if line.strip():
                yield parse_object(line, f"{entry.path} line {number}")


def _complete(target: Path, files: Sequence[FileEntry]) -> bool:
    paths = [(target / f.path.removeprefix("model/"), f.size) for f in files]
    return all(p.is_file() and p.stat().st_size == size for p, size in paths)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """A manifest. Raises CorruptArtifact that says where it was read."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise CorruptArtifact(
            f"{where} is not a manifest of this version: {error.error_count()} fields are wrong"
        ) from error
