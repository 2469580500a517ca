"""The few calls that everything in the store is made of, and an S3 server's answer to them.

Keys are below the settings' prefix; where a key is read, `s3://bucket/key` may stand instead, for any bucket that the
same credentials reach. Calls block, may be made from several threads, and raise StoreProblem.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote_plus

from urllib3 import BaseHTTPResponse

from flywheel_api.canonical import canonical_json, digest_of
from flywheel_api.conditions import Reason
from flywheel_store.connection import Limits, patiently
from flywheel_store.download import Download
from flywheel_store.errors import NO_S3, Refusal, StoreProblem, StoreRefused
from flywheel_store.settings import StoreSettings
from flywheel_store.traffic import MOVED, Moved
from flywheel_store.upload import Uploads
from flywheel_store.wire import Bytes, Wire, tag, text_of, xml

T = TypeVar("T")
log = logging.getLogger(__name__)


class Bucket(Protocol):
    """One bucket and prefix. `unfreed`: why what was deleted lately takes its space still, for people; else empty."""

    settings: StoreSettings
    unfreed: str = ""

    def read(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T | None:
        """What `consume` makes of the object's bytes, or None without an object; called anew after a torn answer."""

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None."""

    def version_of(self, key: str) -> str | None:
        """Entity tag of the object: another one when its bytes change. None without an object."""

    def size(self, key: str) -> int | None:
        """The object's size in bytes, or None."""

    def keys(self, prefix: str) -> list[str]:
        """Keys that begin so, sorted; below an address, `s3://` addresses."""

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Writes an object, replacing what was there."""

    def put_file(self, key: str, path: Path) -> None:
        """The same from a file, in parallel parts; visible only when it is whole."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Create-only: False when something stands there that this call did not write."""

    def remove(self, key: str) -> None:
        """Deletes an object, its older versions too where the bucket keeps them; a missing one is no error."""

    def exists(self) -> bool:
        """Whether the bucket is there."""

    def elsewhere(self, bucket: str, prefix: str) -> Bucket:
        """Another bucket and prefix of the same server, with the same keys."""


class S3Bucket(Bucket):
    """A bucket of a real server. `moved` is told of bytes of files as they travel."""

    def __init__(self, settings: StoreSettings, limits: Limits | None = None, moved: Moved = MOVED.add) -> None:
        self.settings, self.moved = settings, moved
        self.limits = limits or Limits()
        self._wire = Wire(settings, self.limits)
        self._uploads = Uploads(self._wire, settings, self.limits, moved)

    # ---- reading --------------------------------------------------------------------------------------------------
    def read(self, key: str, consume: Callable[[Iterator[bytes]], T]) -> T | None:
        return self._read(key, consume, self.moved)

    def get(self, key: str) -> bytes | None:
        return self._read(key, b"".join, lambda _: None)

    def _read(self, key: str, consume: Callable[[Iterator[bytes]], T], moved: Moved) -> T | None:
        bucket, _, full = locate(self.settings, key).partition("/")
        download = Download(self._wire, (bucket, full), self.settings, self.limits, moved)
        return self._call(f"GET {key}", lambda: self._or_none(bucket, full, lambda: consume(download.pieces())),
                          lambda: download.reached)  # fmt: skip

    def version_of(self, key: str) -> str | None:
        """See Bucket."""
        head = self._head(key)
        return None if head is None else head.headers.get("ETag", "").strip('"')

    def size(self, key: str) -> int | None:
        head = self._head(key)
        if head is None:
            return None
        length = head.headers.get("Content-Length")
        if length is not None:
            return int(length)
        bucket, _, full = locate(self.settings, key).partition("/")  # a proxy has taken it away: the listing knows
        return next((size for name, size in self._page(full, "", bucket)[0] if name == full), None)

    def _head(self, key: str) -> BaseHTTPResponse | None:
        bucket, _, full = locate(self.settings, key).partition("/")
        return self._call(
            f"HEAD {key}", lambda: self._or_none(bucket, full, lambda: self._wire.send("HEAD", bucket, full))
        )

    def _or_none(self, bucket: str, full: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Refusal as answer:
            if answer.missing or (answer.status == 403 and self._hidden(answer, bucket, full)):
                return None
            raise

    def _hidden(self, answer: Refusal, bucket: str, full: str) -> bool:
        """Whether 403 stands for 404: S3 says so where ListBucket is allowed for a prefix only."""
        if answer.code not in ("AccessDenied", "HTTP 403"):
            return False
        try:
            return all(name != full for name, _ in self._page(full, "", bucket)[0])
        except Refusal:
            return False

    # ---- listing --------------------------------------------------------------------------------------------------
    def keys(self, prefix: str) -> list[str]:
        bucket, _, start = locate(self.settings, prefix).partition("/")
        found = sorted(self._call(f"LIST {prefix}", lambda: self._list(start, bucket)))
        if prefix.startswith("s3://"):
            return [f"s3://{bucket}/{name}" for name in found]
        return [name[len(self.settings.full_key("")) :] for name in found]

    def _list(self, prefix: str, bucket: str) -> set[str]:
        """All keys, page by page. A page that brings nothing new is the last one, or the server lists for ever."""
        found: set[str] = set()
        after = ""
        while True:
            page, more = self._page(prefix, after, bucket)
            fresh = {name for name, _ in page} - found
            found |= fresh
            if not more:
                return found
            if not fresh:
                raise StoreRefused(f"the store at {self.settings.where} lists keys without end")
            after = max(fresh)

    def _page(
        self, prefix: str, after: str, bucket: str | None = None, **more: str
    ) -> tuple[list[tuple[str, int]], bool]:
        """Keys and sizes after a key, and whether there are more. Asks by key: tokens of some servers do not move."""
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, **more}
        if after:
            query["start-after"] = after
        root = xml(self._wire.send("GET", bucket or self.settings.bucket, query=query).data)
        if tag(root) != "ListBucketResult":
            raise Refusal("LIST", 200, NO_S3)
        plain = unquote_plus if text_of(root, "EncodingType") == "url" else str
        items = [child for child in root if tag(child) == "Contents"]
        page = [(plain(text_of(item, "Key")), int(text_of(item, "Size") or 0)) for item in items]
        return [one for one in page if not one[0].endswith("/")], text_of(root, "IsTruncated") == "true"

    def exists(self) -> bool:
        try:  # not HEAD of the bucket: it carries no prefix, and a policy for a prefix refuses it
            self._call("LIST", lambda: self._page(self.settings.full_key("probes/"), "", **{"max-keys": "1"}))
        except StoreProblem as problem:
            if problem.reason is not Reason.BUCKET_NOT_FOUND:
                raise
            return False
        return True

    def elsewhere(self, bucket: str, prefix: str) -> Bucket:
        """See Bucket."""
        return S3Bucket(replace(self.settings, bucket=bucket, prefix=prefix), self.limits, self.moved)

    # ---- writing --------------------------------------------------------------------------------------------------
    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        body, headers = Bytes(data), {"Content-Type": content_type}
        self._call(
            f"PUT {key}", lambda: self._wire.put((self.settings.bucket, self.settings.full_key(key)), body, headers)
        )

    def put_new(self, key: str, data: bytes) -> bool:
        # after a try whose outcome is not known the store is asked: exactly our bytes are an earlier try that landed,
        # none mean that it did not
        headers = {"If-None-Match": "*", "Content-Type": "application/json"}
        body, at = Bytes(data), self._at(key)
        uncertain = False

        def create() -> bool:
            nonlocal uncertain
            try:
                self._wire.put(at, body, headers)
                return True
            except Refusal as answer:
                if answer.status != 412 and answer.code != "PreconditionFailed":
                    uncertain = uncertain or answer.status >= 500 or answer.status == 200
                    raise  # 409 among them: another write was under way, whether the key is held is not known yet
            except Exception:
                uncertain = True
                raise
            if not uncertain:
                return False
            standing = b"".join(Download(self._wire, at, self.settings, self.limits, lambda _: None).pieces())
            return standing == data

        def settle() -> bool:
            try:
                return create()
            except Refusal as answer:
                if answer.missing:  # held, they said, and nothing is there
                    raise Refusal("PUT", 409, "Conflict") from answer
                raise

        return self._call(f"creation of {key}", settle)

    def remove(self, key: str) -> None:
        bucket, full = self.settings.bucket, self.settings.full_key(key)
        gone = self._call(
            f"DELETE {key}", lambda: self._or_none(bucket, full, lambda: self._wire.send("DELETE", bucket, full))
        )
        if gone is not None and ("x-amz-version-id" in gone.headers or "x-amz-delete-marker" in gone.headers):
            self._purge(full)

    def _purge(self, full: str) -> None:
        """Deletes the versions of a key, its delete marker last: in a versioned bucket nothing else frees space."""
        bucket = self.settings.bucket
        try:
            root = xml(self._wire.send("GET", bucket, query={"versions": "", "prefix": full}).data)
            items = [item for item in root if tag(item) in ("Version", "DeleteMarker") and text_of(item, "Key") == full]
            for item in sorted(items, key=lambda item: tag(item) == "DeleteMarker"):
                query = {"versionId": text_of(item, "VersionId")}
                self._wire.send("DELETE", bucket, full, query)
            self.unfreed = ""
        except Exception as error:  # the deletion itself stands
            known, why = self.unfreed, error.code if isinstance(error, Refusal) else type(error).__name__
            self.unfreed = (
                f"the bucket keeps old versions and they cannot be deleted ({why}): allow s3:ListBucketVersions and "
                "s3:DeleteObjectVersion, or set a lifecycle rule for noncurrent versions; where a default retention "
                "locks objects, they stay until it ends"
            )
            if not known:
                log.warning(self.unfreed)

    def put_file(self, key: str, path: Path) -> None:
        self._uploads.send(self.settings.full_key(key), path, lambda: self.size(key))

    def _at(self, key: str) -> tuple[str, str]:
        return self.settings.bucket, self.settings.full_key(key)

    def _call(self, what: str, work: Callable[[], T], reached: Callable[[], int] = lambda: 0) -> T:
        return patiently(what, work, self.settings, self.limits, reached)


def locate(settings: StoreSettings, key: str) -> str:
    """`bucket/key` of a key below the prefix or of an `s3://` address."""
    return (key if key.startswith("s3://") else settings.uri(key)).removeprefix("s3://")


def objects_at(bucket: Bucket, address: str) -> list[str]:
    """The object at an `s3://` address, else all objects below it; some servers have an object for a folder itself."""
    if not address.endswith("/") and bucket.version_of(address) is not None:
        return [address]
    return bucket.keys(f"{address.rstrip('/')}/")


def version_at(bucket: Bucket, address: str) -> str | None:
    """Another text when anything at or below an `s3://` address changes. None where nothing is."""
    found = [(one, bucket.version_of(one)) for one in objects_at(bucket, address)]
    if not found or found[0][0] == address:
        return found[0][1] if found else None
    return digest_of(canonical_json(found))
