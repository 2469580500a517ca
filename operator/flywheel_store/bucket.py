"""The few calls that everything in the store is made of, and S3's answer to them through the `minio` client.

Keys are below the settings' prefix; where a key is read, `s3://bucket/key` may stand instead, for any bucket that the
same credentials reach. Calls block, may be made from several threads, and raise StoreProblem.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from minio.error import S3Error

from flywheel_api.conditions import Reason
from flywheel_store.connection import Limits, connect, patiently
from flywheel_store.errors import HELD, MISSING, StoreProblem
from flywheel_store.settings import StoreSettings
from flywheel_store.traffic import MOVED, Moved

T = TypeVar("T")
CHUNK = 1 << 20
PART_SIZE = 16 << 20  # larger parts gained nothing on loopback (measured) and cost memory per parallel part
PARALLEL_PARTS = 4


class Bucket(Protocol):
    """One bucket and prefix."""

    settings: StoreSettings

    def read(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T | None:
        """What `consume` makes of the object's bytes, or None without an object; called anew after a torn answer."""

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None."""

    def version_of(self, key: str) -> str | None:
        """Entity tag of the object: another one when its bytes change. None without an object."""

    def size(self, key: str) -> int | None:
        """The object's size in bytes, or None."""

    def keys(self, prefix: str) -> list[str]:
        """Keys that begin so, sorted."""

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Writes an object, replacing what was there."""

    def put_file(self, key: str, path: Path) -> None:
        """The same from a file, in parallel parts; visible only when it is whole."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Create-only: False when something stands there that this call did not write."""

    def remove(self, key: str) -> None:
        """Deletes an object; a missing one is no error."""

    def exists(self) -> bool:
        """Whether the bucket is there."""


class S3Bucket(Bucket):
    """A bucket of a real server."""

    def __init__(self, settings: StoreSettings, limits: Limits | None = None, moved: Moved = MOVED.add) -> None:
        self.settings, self.moved = settings, moved
        self.limits = limits or Limits()
        try:
            self._client = connect(settings, self.limits, repeat=False)
            self._upload = connect(settings, self.limits, repeat=True)
        except (OSError, ValueError) as error:
            text = f"endpoint and region of the store Secret do not make an S3 address: {settings.where}"
            raise StoreProblem(Reason.SECRET_KEY_INVALID, text) from error

    def read(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T | None:
        bucket, _, full = locate(self.settings, key).partition("/")

        def counted(chunks: Iterator[bytes]) -> Iterator[bytes]:
            for chunk in chunks:
                self.moved(len(chunk))
                yield chunk

        return self._call(
            f"GET {key}", lambda: _or_none(lambda: self._once(bucket, full, lambda chunks: consume(counted(chunks))))
        )

    def get(self, key: str) -> bytes | None:
        bucket, _, full = locate(self.settings, key).partition("/")
        return self._call(f"GET {key}", lambda: _or_none(lambda: self._once(bucket, full, b"".join)))

    def version_of(self, key: str) -> str | None:
        """See Bucket."""
        bucket, _, full = locate(self.settings, key).partition("/")

        def head() -> str:
            return str(self._client.stat_object(bucket, full).etag)

        return self._call(f"HEAD {key}", lambda: _or_none(head))

    def size(self, key: str) -> int | None:
        return self._call(f"HEAD {key}", lambda: self._size(key))

    def keys(self, prefix: str) -> list[str]:
        root = self.settings.full_key("")

        def scan() -> list[str]:
            found = self._client.list_objects(self.settings.bucket, prefix=root + prefix, recursive=True)
            return sorted(str(item.object_name)[len(root) :] for item in found if not item.is_dir)

        return self._call(f"LIST {prefix}", scan)

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        to = (self.settings.bucket, self.settings.full_key(key))
        body = (len(data), content_type)
        self._call(f"PUT {key}", lambda: self._upload.put_object(*to, io.BytesIO(data), *body))

    def put_file(self, key: str, path: Path) -> None:
        to = (self.settings.bucket, self.settings.full_key(key), str(path))

        def upload() -> None:
            size = path.stat().st_size
            try:
                self._upload.fput_object(*to, part_size=PART_SIZE, num_parallel_uploads=PARALLEL_PARTS)
            except S3Error as error:
                if error.code != "NoSuchUpload":
                    raise
            # an answer to the last request may say 200 and carry an error; a lost one is answered by NoSuchUpload
            if size > PART_SIZE and self._size(key) != size:
                raise ConnectionError("the parts did not become an object")
            self.moved(size)

        self._call(f"upload of {path.name}", upload)

    def put_new(self, key: str, data: bytes) -> bool:
        # a lost answer is resolved by reading: if a later try is refused and the object holds exactly our bytes, an
        # earlier one landed; minio-py has no public way to pass the header, so its signed transport is used
        at = (self.settings.bucket, self.settings.full_key(key))
        headers = {"If-None-Match": "*", "Content-Type": "application/json"}
        tries = 0

        def create() -> bool:
            nonlocal tries
            tries += 1
            try:
                self._client._put_object(*at, data, headers=dict(headers))
                return True
            except S3Error as error:
                if error.code not in HELD and error.response.status != 412:
                    raise
                return tries > 1 and _or_none(lambda: self._once(*at, b"".join)) == data

        return self._call(f"creation of {key}", create)

    def remove(self, key: str) -> None:
        at = (self.settings.bucket, self.settings.full_key(key))
        self._call(f"DELETE {key}", lambda: self._client.remove_object(*at))

    def exists(self) -> bool:
        return bool(self._call("HEAD of the bucket", lambda: self._client.bucket_exists(self.settings.bucket)))

    def _size(self, key: str) -> int | None:
        def head() -> int:
            return int(self._client.stat_object(self.settings.bucket, self.settings.full_key(key)).size or 0)

        return _or_none(head)

    def _once(self, bucket: str, key: str, consume: Callable[[Iterator[bytes]], T]) -> T:
        response = self._client.get_object(bucket, key)
        try:
            return consume(response.stream(CHUNK))
        finally:
            response.close()
            response.release_conn()

    def _call(self, what: str, work: Callable[[], T]) -> T:
        return patiently(what, work, self.settings, self.limits)


def locate(settings: StoreSettings, key: str) -> str:
    """`bucket/key` of a key below the prefix or of an `s3://` address."""
    return (key if key.startswith("s3://") else settings.uri(key)).removeprefix("s3://")


def _or_none(work: Callable[[], T]) -> T | None:
    try:
        return work()
    except S3Error as error:
        if error.code not in MISSING:
            raise
        return None
