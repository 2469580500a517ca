"""The store's interface over dictionaries, for tests of what is built on it; tests/contract holds the real one's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry, Manifest
from flywheel_jobs.core.errors import CorruptArtifact
from flywheel_jobs.storage.store import Committed, json_bytes


class MemoryStore:
    """Keys and bytes."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def put_blob(self, data: bytes) -> tuple[str, int]:
        sha = hashlib.sha256(data).hexdigest()
        self.data[artifacts.blob_key(sha)] = data
        return sha, len(data)

    def get_blob(self, sha: str) -> bytes:
        if artifacts.blob_key(sha) not in self.data:
            raise CorruptArtifact(f"blob {sha} is not in the store")
        return self.data[artifacts.blob_key(sha)]

    def put_files(self, files: Sequence[tuple[str, Path]], parallel: int = 1) -> list[FileEntry]:
        out = []
        for path, local in files:
            sha, size = self.put_blob(local.read_bytes())
            out.append(FileEntry(path=path, sha256=sha, size=size))
        return out

    def fetch_blob(self, sha: str, to_path: Path) -> int:
        data = self.get_blob(sha)
        to_path.parent.mkdir(parents=True, exist_ok=True)
        to_path.write_bytes(data)
        return len(data)

    def put_bytes(self, key: str, data: bytes, content_type: str = "") -> None:
        self.data[key] = data

    def put_json(self, key: str, value: Any) -> None:
        self.data[key] = json_bytes(value)

    def put_json_new(self, key: str, value: Any) -> bool:
        if key in self.data:
            return False
        self.put_json(key, value)
        return True

    def get_json(self, key: str) -> Any:
        return json.loads(self.data[key]) if key in self.data else None

    def fetch_model(self, ref: str, to_dir: Path) -> Manifest:
        manifest = self.get_manifest(ref)
        for entry in manifest.files:
            self.fetch_blob(entry.sha256, to_dir / entry.path.removeprefix("model/"))
        return manifest

    def get_bytes(self, key: str) -> bytes | None:
        return self.data.get(key)

    def list_keys(self, prefix: str) -> list[str]:
        return sorted(k for k in self.data if k.startswith(prefix))

    def delete(self, key: str) -> None:
        self.data.pop(key, None)

    def put_manifest(self, manifest: Manifest) -> str:
        for entry in manifest.files:
            self.get_blob(entry.sha256)
        self.data[artifacts.manifest_digest_key(manifest.digest)] = manifest.canonical()
        return manifest.digest

    def get_manifest(self, digest: str) -> Manifest:
        return Manifest.model_validate_json(self.data[artifacts.manifest_digest_key(digest)])

    def commit(self, manifest: Manifest, key: str) -> Committed:
        self.put_manifest(manifest)
        if key in self.data:
            return Committed(artifacts.digest_of(self.data[key]), False)
        self.data[key] = manifest.canonical()
        return Committed(manifest.digest, True)
