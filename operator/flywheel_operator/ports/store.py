"""S3 through the `minio` client, in threads: reads, one create-only PUT, short time limits and typed problems."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from flywheel_api.conditions import Reason
from flywheel_operator.ports.objects import StoreProblem, StoreSettings

T = TypeVar("T")
_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NotFound", "404"})
_DENIED = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"})
_HELD = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})
_THREADS = 16  # requests to all stores together; the operator reads small objects only


class S3Store:
    """Implements `ObjectStore`."""

    _pool = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="s3")

    def __init__(self, settings: StoreSettings, timeout: float = 10.0) -> None:
        self.settings = settings
        http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=min(5.0, timeout), read=timeout),
            maxsize=_THREADS,
            retries=urllib3.Retry(total=1, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
            ssl_context=_tls(settings) if settings.secure else None,
        )
        self._client = Minio(
            settings.endpoint,
            access_key=settings.access_key,
            secret_key=settings.secret_key,
            secure=settings.secure,
            region=settings.region,
            http_client=http,
        )

    async def get(self, key: str) -> bytes | None:
        """See ObjectStore."""
        return await self._run(lambda: self._read(self.settings.bucket, self.settings.full_key(key)))

    async def get_uri(self, uri: str) -> bytes | None:
        """See ObjectStore."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return await self._run(lambda: self._read(bucket, key))

    async def size(self, key: str) -> int | None:
        """See ObjectStore."""

        def stat() -> int | None:
            found = self._client.stat_object(self.settings.bucket, self.settings.full_key(key)).size
            return int(found) if found is not None else None

        return await self._run(lambda: _absent_as_none(stat))

    async def keys(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        root = self.settings.full_key("")

        def scan() -> list[str]:
            found = self._client.list_objects(self.settings.bucket, prefix=root + prefix, recursive=True)
            return [str(item.object_name)[len(root) :] for item in found]

        return await self._run(scan)

    async def put_new(self, key: str, data: bytes) -> bool:
        """See ObjectStore. minio-py has no public way to pass the header, so its own signed transport is used."""

        def put() -> bool:
            headers: dict[str, str | list[str] | tuple[str]] = {
                "If-None-Match": "*",
                "Content-Type": "application/json",
            }
            try:
                self._client._put_object(self.settings.bucket, self.settings.full_key(key), data, headers=headers)
                return True
            except S3Error as error:
                if error.code in _HELD or error.response.status == 412:
                    return False
                raise

        return await self._run(put)

    async def remove(self, key: str) -> None:
        """See ObjectStore."""
        await self._run(lambda: self._client.remove_object(self.settings.bucket, self.settings.full_key(key)))

    async def bucket_exists(self) -> bool:
        """See ObjectStore."""
        return bool(await self._run(lambda: self._client.bucket_exists(self.settings.bucket)))

    def _read(self, bucket: str, key: str) -> bytes | None:
        def read() -> bytes:
            response = self._client.get_object(bucket, key)
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()

        return _absent_as_none(read)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except Exception as error:
            raise problem_of(error, self.settings) from error


def _absent_as_none(work: Callable[[], T]) -> T | None:
    try:
        return work()
    except S3Error as error:
        if error.code in _MISSING:
            return None
        raise


def _tls(settings: StoreSettings) -> ssl.SSLContext:
    if settings.ca_bundle and "-----BEGIN" in settings.ca_bundle:
        return ssl.create_default_context(cadata=settings.ca_bundle)
    return ssl.create_default_context(cafile=settings.ca_bundle or os.environ.get("SSL_CERT_FILE") or certifi.where())


def problem_of(error: Exception, settings: StoreSettings) -> StoreProblem:
    """What to tell a person. Never holds a key, a signature or a request id."""
    where = f"{'https' if settings.secure else 'http'}://{settings.endpoint}, bucket {settings.bucket!r}"
    if isinstance(error, S3Error):
        if error.code in _DENIED:
            return StoreProblem(
                Reason.STORE_DENIED,
                f"the store at {where} refuses our keys ({error.code}): check accessKey and secretKey of the "
                "store Secret, and that their policy allows read, write and list",
            )
        if error.code == "NoSuchBucket":
            return StoreProblem(
                Reason.BUCKET_NOT_FOUND, f"bucket {settings.bucket!r} does not exist at {settings.endpoint}: create it"
            )
        return StoreProblem(Reason.STORE_UNREACHABLE, f"the store at {where} answers {error.code}; retrying")
    if isinstance(error, (InvalidResponseError, ServerError, urllib3.exceptions.HTTPError, OSError)):
        return StoreProblem(
            Reason.STORE_UNREACHABLE,
            f"no answer from the store at {where} ({type(error).__name__}): check endpoint and secure of the store "
            "Secret, and the network policies; retrying",
        )
    return StoreProblem(Reason.STORE_UNREACHABLE, f"the store at {where} failed: {type(error).__name__}; retrying")
