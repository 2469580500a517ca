"""Blobs and plain keys of one bucket and prefix.

Every byte read back is checked against its sha256; an ETag is never trusted. Calls block: asynchronous code uses
`asyncio.to_thread`. Transient trouble is retried with back-off for `patience` seconds, then raises `StoreUnavailable`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

from minio.error import S3Error
from pydantic import BaseModel

from flywheel_api import artifacts
from flywheel_api.artifacts import FileEntry
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.storage.s3 import S3Settings, connect, put_if_absent, retrying

T = TypeVar("T")
CHUNK = 1 << 20
PART_SIZE = 16 << 20  # larger parts gained nothing on loopback (measured) and cost memory per parallel part
PARALLEL_PARTS = 4
PARALLEL_FILES = 4
MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NotFound", "ResourceNotFound"})


class Blobs:
    """One bucket and prefix. Safe to use from several threads."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.bucket = settings.bucket
        self._client = connect(settings)
        self._once = connect(settings, repeat_requests=False)
        self._known: set[str] = set()
        self._lock = threading.Lock()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """The store that the pod's environment names (stages.STORE_ENV). Raises ValidationFailure naming what is
        missing.
        """
        return cls(S3Settings.from_env(os.environ if environ is None else environ))

    def full_key(self, key: str) -> str:
        """The key in the bucket."""
        return f"{self.settings.prefix}/{key}" if self.settings.prefix else key

    def uri(self, key: str) -> str:
        """`s3://bucket/key` of a key below the prefix."""
        return f"s3://{self.bucket}/{self.full_key(key)}"

    def _call(self, what: str, work: Callable[[], T]) -> T:
        return retrying(what, work, self.settings.patience_seconds)

    # ---- blobs ----------------------------------------------------------------------------------------------------
    def has_blob(self, sha: str, size: int | None = None) -> bool:
        """Whether the blob is there, with that size if one is given."""
        found = self._stat(self.full_key(artifacts.blob_key(sha)))
        return found is not None and (size is None or found == size)

    def put_blob(self, data: bytes) -> tuple[str, int]:
        """Stores bytes under their sha256, unless they are there already."""
        sha = hashlib.sha256(data).hexdigest()
        if not self._present(sha, len(data)):
            key = self.full_key(artifacts.blob_key(sha))
            self._call(f"upload of blob {sha[:12]}", lambda: self._put(key, data))
            self._remember(sha)
        return sha, len(data)

    def put_blob_file(self, path: Path | str) -> tuple[str, int]:
        """Stores a file under its sha256, in parallel parts. Raises ValidationFailure if the file changes meanwhile."""
        path = Path(path)
        before = path.stat()
        sha = hash_file(path)
        if not self._present(sha, before.st_size):
            key = self.full_key(artifacts.blob_key(sha))

            def upload() -> None:
                self._client.fput_object(
                    self.bucket, key, str(path), part_size=PART_SIZE, num_parallel_uploads=PARALLEL_PARTS
                )

            self._call(f"upload of {path.name}", upload)
            after = path.stat()
            if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
                self._call("removal of a torn blob", lambda: self._client.remove_object(self.bucket, key))
                raise ValidationFailure(f"{path} changed while it was uploaded; write it to the end first")
            self._remember(sha)
        return sha, before.st_size

    def put_files(self, files: Sequence[tuple[str, Path]], parallel: int = PARALLEL_FILES) -> list[FileEntry]:
        """Stores several files at once as (manifest path, local path); entries in the same order."""

        def one(item: tuple[str, Path]) -> FileEntry:
            sha, size = self.put_blob_file(item[1])
            return FileEntry(path=item[0], sha256=sha, size=size)

        with ThreadPoolExecutor(max_workers=max(1, parallel)) as pool:
            return list(pool.map(one, files))

    def get_blob(self, sha: str) -> bytes:
        """The bytes of a blob, verified. Raises CorruptArtifact if they are missing or wrong."""
        buffer = io.BytesIO()
        self._stream_blob(sha, lambda: _Rewound(buffer))
        return buffer.getvalue()

    def fetch_blob(self, sha: str, to_path: Path | str) -> int:
        """Writes a blob to a file, verified before it gets its name; returns the size. Raises as `get_blob`."""
        target = Path(to_path)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{threading.get_ident()}.part")
        try:
            size = self._stream_blob(sha, lambda: part.open("wb"))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return size

    def _stream_blob(self, sha: str, sink: Callable[[], Any]) -> int:
        key = self.full_key(artifacts.blob_key(sha))

        def download() -> int:
            digest = hashlib.sha256()
            size = 0
            response = self._client.get_object(self.bucket, key)
            try:
                with sink() as out:
                    for chunk in response.stream(CHUNK):
                        digest.update(chunk)
                        out.write(chunk)
                        size += len(chunk)
            finally:
                response.close()
                response.release_conn()
            if digest.hexdigest() != sha:
                raise CorruptArtifact(
                    f"blob {sha} in {self.uri(artifacts.blob_key(sha))} has sha256 {digest.hexdigest()}: delete "
                    f"that object "
                    "and run the stage that wrote it again"
                )
            return size

        try:
            return self._call(f"download of blob {sha[:12]}", download)
        except S3Error as error:
            if error.code in MISSING:
                raise CorruptArtifact(f"blob {sha} is not in the store; run the stage that wrote it again") from error
            raise

    def _present(self, sha: str, size: int) -> bool:
        with self._lock:
            if sha in self._known:
                return True
        if not self.has_blob(sha, size):
            return False
        self._remember(sha)
        return True

    def _remember(self, sha: str) -> None:
        with self._lock:
            self._known.add(sha)

    # ---- plain keys -----------------------------------------------------------------------------------------------
    def _put(self, key: str, data: bytes, content_type: str = "application/octet-stream", bucket: str = "") -> None:
        self._client.put_object(bucket or self.bucket, key, io.BytesIO(data), len(data), content_type=content_type)

    def _stat(self, key: str, bucket: str = "") -> int | None:
        def head() -> int | None:
            try:
                return int(self._client.stat_object(bucket or self.bucket, key).size or 0)
            except S3Error as error:
                if error.code in MISSING:
                    return None
                raise

        return self._call(f"HEAD {key}", head)

    def _get(self, key: str, bucket: str = "") -> bytes | None:
        def read() -> bytes | None:
            try:
                response = self._client.get_object(bucket or self.bucket, key)
            except S3Error as error:
                if error.code in MISSING:
                    return None
                raise
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()

        return self._call(f"GET {key}", read)

    def put_bytes(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Writes a key, replacing what was there: only for progress, failures and convenience copies."""
        self._call(f"PUT {key}", lambda: self._put(self.full_key(key), data, content_type))

    def get_bytes(self, key: str) -> bytes | None:
        """The bytes under a key, or None."""
        return self._get(self.full_key(key))

    def get_uri(self, uri: str) -> bytes | None:
        """The bytes of `s3://bucket/key`, in any bucket of this store's endpoint, or None."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self._get(key, bucket)

    def put_json(self, key: str, value: BaseModel | Mapping[str, Any]) -> None:
        """Writes JSON, replacing what was there."""
        self.put_bytes(key, json_bytes(value), "application/json")

    def put_json_new(self, key: str, value: BaseModel | Mapping[str, Any]) -> bool:
        """Creates a key; False when something else already stands there."""
        return self.put_bytes_new(key, json_bytes(value))

    def put_bytes_new(self, key: str, data: bytes) -> bool:
        """Creates a key with `If-None-Match: *`; False when something stands there that this call did not write."""
        return put_if_absent(self._once, self.settings, self.full_key(key), data)

    def get_json(self, key: str) -> dict[str, Any] | None:
        """The JSON object under a key, or None. Raises CorruptArtifact for anything but a JSON object."""
        data = self.get_bytes(key)
        return None if data is None else parse_object(data, key)

    def list_keys(self, prefix: str) -> list[str]:
        """Keys below a prefix (both relative to the store's prefix), sorted."""
        start = self.full_key(prefix)
        cut = len(self.full_key(""))

        def listing() -> list[str]:
            found = self._client.list_objects(self.bucket, prefix=start, recursive=True)
            return sorted(str(o.object_name)[cut:] for o in found if not o.is_dir)

        return self._call(f"LIST {prefix}", listing)

    def delete(self, key: str) -> None:
        """Removes a key; a missing one is no error."""
        self._call(f"DELETE {key}", lambda: self._client.remove_object(self.bucket, self.full_key(key)))


class _Rewound:
    """A buffer emptied at entry, so that a retried download does not append to a torn one."""

    def __init__(self, buffer: io.BytesIO) -> None:
        self.buffer = buffer

    def __enter__(self) -> io.BytesIO:
        self.buffer.seek(0)
        self.buffer.truncate()
        return self.buffer

    def __exit__(self, *_: object) -> None:
        return None


def hash_file(path: Path) -> str:
    """sha256 hex of a file, read in megabytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_bytes(value: BaseModel | Mapping[str, Any]) -> bytes:
    """Canonical JSON of a model (by alias) or a mapping."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return artifacts.canonical_json(value)


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises CorruptArtifact that says where it was read."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise CorruptArtifact(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptArtifact(f"{where} holds a {type(value).__name__} where an object was expected")
    return value
