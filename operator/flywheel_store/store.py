"""Bytes, JSON, content-addressed blobs and manifests of one bucket and prefix.

Every byte of a blob or manifest that is read back is checked against its sha256; an ETag is never trusted. Wrong bytes
are read again, because proxies and lines damage answers too: only the same wrong ones twice are the store's. Calls
block: asynchronous code uses `asyncio.to_thread`. Raises StoreProblem and CorruptArtifact.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flywheel_api import artifacts
from flywheel_api.artifacts import Manifest
from flywheel_api.canonical import canonical_json, digest_of
from flywheel_store.bucket import Bucket, objects_at
from flywheel_store.errors import CorruptArtifact, StoreProblem, StoreUnavailable
from flywheel_store.traffic import MOVED

T = TypeVar("T")
_PIECE = 1 << 20  # bytes of a file that are hashed at a time
PAUSES = (0.1, 0.5, 2.0)  # seconds before wrong bytes are read again


class BlobStore:
    """What both halves read and write. Safe to use from several threads."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.settings = bucket.settings

    def uri(self, key: str) -> str:
        """`s3://bucket/key` of a key below the prefix."""
        return self.settings.uri(key)

    # ---- plain keys -----------------------------------------------------------------------------------------------
    def put_bytes(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Writes a key, replacing what was there: only for progress, failures and convenience copies."""
        self.bucket.put(key, data, content_type)

    def put_bytes_new(self, key: str, data: bytes) -> bool:
        """Creates a key; False when something stands there that this call did not write."""
        return self.bucket.put_new(key, data)

    def get_bytes(self, key: str) -> bytes | None:
        """The bytes under a key, or at `s3://bucket/key` in any bucket of this server; or None."""
        return self.bucket.get(key)

    def put_json(self, key: str, value: BaseModel | Mapping[str, Any]) -> None:
        """Writes JSON, replacing what was there."""
        self.put_bytes(key, json_bytes(value), "application/json")

    def put_json_new(self, key: str, value: BaseModel | Mapping[str, Any]) -> bool:
        """Creates a key; False when something else already stands there."""
        return self.put_bytes_new(key, json_bytes(value))

    def get_json(self, key: str) -> dict[str, Any] | None:
        """The JSON object under a key, or None. Raises CorruptArtifact for anything but a JSON object."""
        return self._checked(key, lambda data: parse_object(data, key))

    def list_keys(self, prefix: str) -> list[str]:
        """Keys below a prefix (both relative to the store's prefix), sorted."""
        return self.bucket.keys(prefix)

    def objects_at(self, address: str) -> list[str]:
        """The object at an `s3://` address, else all objects below it, sorted."""
        return objects_at(self.bucket, address)

    def delete(self, key: str) -> None:
        """Removes a key; a missing one is no error."""
        self.bucket.remove(key)

    def fetch(self, key: str, to_path: Path | str) -> int | None:
        """Writes what `get_bytes` would give to a file, which gets its name when it is whole; its size, or None."""
        return self._download(key, Path(to_path), None)

    # ---- blobs ----------------------------------------------------------------------------------------------------
    def has_blob(self, sha: str, size: int | None = None) -> bool:
        """Whether the blob is there, with that size if one is given."""
        found = self.bucket.size(artifacts.blob_key(sha))
        return found is not None and (size is None or found == size)

    def put_blob(self, data: bytes) -> tuple[str, int]:
        """Stores bytes under their sha256, unless they are there already."""
        sha = hashlib.sha256(data).hexdigest()
        self.put_once(sha, len(data), lambda key: self.bucket.put(key, data))
        return sha, len(data)

    def put_once(self, sha: str, size: int, write: Callable[[str], None]) -> None:
        """Calls `write` with the blob's key unless the blob is there, with that size and not known to be damaged."""
        if not self.has_blob(sha, size):
            write(artifacts.blob_key(sha))
        elif self.is_condemned(sha):
            write(artifacts.blob_key(sha))
            self.bucket.remove(artifacts.damaged_key(sha))

    def is_condemned(self, sha: str) -> bool:
        """Whether a reader found other bytes under the blob's key than its name says."""
        return self.bucket.size(artifacts.damaged_key(sha)) is not None

    def get_blob(self, sha: str) -> bytes:
        """The bytes of a blob, verified. Raises CorruptArtifact if they are missing or wrong."""

        def whole(chunks: Iterable[bytes]) -> bytes:
            buffer = io.BytesIO()
            self._copy(chunks, buffer.write, sha)
            return buffer.getvalue()

        return self._blob(sha, lambda: self.bucket.read(artifacts.blob_key(sha), whole))

    def fetch_blob(self, sha: str, to_path: Path | str) -> int:
        """Writes a blob to a file, verified before it gets its name; returns the size. Raises as `get_blob`."""
        return self._blob(sha, lambda: self._download(artifacts.blob_key(sha), Path(to_path), sha))

    def _blob(self, sha: str, read: Callable[[], T | None]) -> T:
        try:
            return _there(self._again(read), f"blob {sha}")
        except CorruptArtifact as error:
            if error.found:  # whoever makes these bytes next writes them anew
                with suppress(StoreProblem):
                    self.bucket.put(artifacts.damaged_key(sha), b"")
            raise

    def _checked(self, key: str, check: Callable[[bytes], T]) -> T | None:
        def read() -> T | None:
            data = self.get_bytes(key)
            try:
                return None if data is None else check(data)
            except CorruptArtifact as error:
                error.found = digest_of(data or b"")
                raise

        return self._again(read)

    def _again(self, read: Callable[[], T]) -> T:
        """What `read` gives; wrong bytes are read again, and the second time the same ones are believed."""
        seen: set[str] = set()
        for pause in PAUSES:
            try:
                return read()
            except CorruptArtifact as error:
                if error.found in seen:
                    raise
                seen.add(error.found)
            time.sleep(pause)
        raise StoreUnavailable(
            f"the store at {self.settings.where} gives other bytes at each reading: something in between damages them"
        )

    def _download(self, key: str, target: Path, sha: str | None) -> int | None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{threading.get_ident()}.part")

        def save(chunks: Iterable[bytes]) -> int:
            with part.open("wb") as out:
                return self._copy(chunks, out.write, sha)

        try:
            size = self.bucket.read(key, save)
            if size is not None:
                part.replace(target)
            return size
        finally:
            part.unlink(missing_ok=True)

    def _copy(self, chunks: Iterable[bytes], write: Callable[[bytes], Any], sha: str | None) -> int:
        digest, size = hashlib.sha256(), 0
        for chunk in chunks:
            digest.update(chunk)
            write(chunk)
            size += len(chunk)
        if sha is not None and digest.hexdigest() != sha:
            error = CorruptArtifact(
                f"blob {sha} in {self.uri(artifacts.blob_key(sha))} reads as sha256 {digest.hexdigest()}, twice: bring "
                "back an older version of it if the bucket keeps them, or run the stage that wrote it again with "
                "spec.reuse: Never, which writes it anew"
            )
            error.found = digest.hexdigest()
            raise error
        return size

    # ---- manifests ------------------------------------------------------------------------------------------------
    def put_manifest(self, manifest: Manifest) -> str:
        """Stores a manifest by its digest and returns the digest. Its blobs must be there already."""
        key = artifacts.manifest_digest_key(manifest.digest)
        if self.bucket.size(key) is None:
            self.put_bytes(key, manifest.canonical(), "application/json")
        return manifest.digest

    def get_manifest(self, digest: str) -> Manifest:
        """A manifest by digest, verified. Raises CorruptArtifact if it is missing or not what the digest says."""
        key = artifacts.manifest_digest_key(digest)
        return _there(self._checked(key, lambda data: checked_manifest(data, digest)), f"manifest {digest}")

    def manifest_at(self, key: str) -> Manifest | None:
        """The manifest under a commit key or at `s3://bucket/key`, or None. Raises CorruptArtifact."""
        return self._checked(key, lambda data: parse_manifest(data, key))


def checked_manifest(data: bytes | None, digest: str) -> Manifest:
    """The manifest that `data` must be, by its digest. Raises CorruptArtifact if it is missing or another one."""
    data = _there(data, f"manifest {digest}")
    if digest_of(data) != digest:
        raise CorruptArtifact(f"manifest {digest} has been changed: its bytes hash to {digest_of(data)}")
    return parse_manifest(data, digest)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """A manifest. Raises CorruptArtifact that says where it was read."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise CorruptArtifact(
            f"{where} is not a manifest of this version: {error.error_count()} fields are wrong"
        ) from error


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises CorruptArtifact that says where it was read."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise CorruptArtifact(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptArtifact(f"{where} holds a {type(value).__name__} where an object was expected")
    return value


def json_bytes(value: BaseModel | Mapping[str, Any]) -> bytes:
    """Canonical JSON of a model (by alias) or a mapping."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return canonical_json(value)


def hash_file(path: Path) -> str:
    """sha256 hex of a file. What is read of it counts as moved: a terabyte on a slow volume takes hours (law 8)."""
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as stream:
        while size := stream.readinto(piece):
            digest.update(piece[:size])
            MOVED.add(size)
    return digest.hexdigest()


def _there(found: T | None, what: str) -> T:
    if found is None:
        raise CorruptArtifact(f"{what} is not in the store; run the stage that wrote it again")
    return found
