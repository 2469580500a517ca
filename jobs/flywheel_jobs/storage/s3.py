"""How to talk to S3: settings, the client, retries and the one conditional write that commits depend on."""

from __future__ import annotations

import atexit
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError

from flywheel_api.stages import DEFAULT_PREFIX, STORE_ENV, STORE_REQUIRED_KEYS
from flywheel_jobs.core.errors import StoreUnavailable, ValidationFailure
from flywheel_jobs.core.logging import get_logger, redact
from flywheel_store.backoff import delay

T = TypeVar("T")
log = get_logger(__name__)

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 60.0
PATIENCE = 90.0  # seconds of trouble before StoreUnavailable; the operator retries the attempt for free after that
BACKOFF_BASE, BACKOFF_CAP = 0.25, 8.0
TRANSPORT_RETRIES = 3
TRANSIENT_CODES = frozenset(
    {
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Busy",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "OperationAborted",
        "XMinioServerNotInitialized",
        "BadDigest",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
        "IncompleteBody",
    }
)
DENIED_CODES = frozenset({"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"})
HELD_CODES = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


@dataclass(frozen=True)
class S3Settings:
    """Where the store is and how to sign for it."""

    endpoint: str
    bucket: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    region: str = "us-east-1"
    prefix: str = DEFAULT_PREFIX
    secure: bool = True
    ca_bundle: str | None = field(default=None, repr=False)
    patience_seconds: float = PATIENCE

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> S3Settings:
        """Settings from stages.STORE_ENV. Raises ValidationFailure naming each missing variable."""
        missing = [STORE_ENV[key] for key in STORE_REQUIRED_KEYS if not environ.get(STORE_ENV[key])]
        if missing:
            raise ValidationFailure(
                f"the store is not configured: set {', '.join(missing)} (the operator takes them from the store's "
                f"Secret)",
                reason="StoreNotConfigured",
            )
        get = {key: environ.get(name, "") for key, name in STORE_ENV.items()}
        host, secure = parse_endpoint(get["endpoint"], get["secure"])
        return cls(
            endpoint=host,
            bucket=get["bucket"],
            access_key=get["accessKey"],
            secret_key=get["secretKey"],
            region=get["region"] or "us-east-1",
            prefix=(get["prefix"] or DEFAULT_PREFIX).strip("/"),
            secure=secure,
            ca_bundle=get["caBundle"] or None,
            patience_seconds=float(environ.get("FLYWHEEL_S3_PATIENCE_SECONDS", PATIENCE)),
        )


def parse_endpoint(endpoint: str, secure: str) -> tuple[str, bool]:
    """(host:port, TLS?) of `http://host:port`, `https://host` or `host:port` with `secure`, whose default is true."""
    if "://" in endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise ValidationFailure(f"{endpoint!r} is not an S3 endpoint: write https://host:port without a path")
        return parts.netloc, parts.scheme == "https"
    return endpoint, secure.strip().lower() not in ("false", "0", "no")


def connect(settings: S3Settings, repeat_requests: bool = True) -> Minio:
    """A client with bounded time-outs.

    Its transport repeats single requests a few times, so that a lost part does not cost a whole multipart upload;
    not so for conditional writes, where `put_if_absent` must see every outcome. `retrying` stands around whole
    operations.
    """
    again = urllib3.Retry(
        total=TRANSPORT_RETRIES,
        backoff_factor=BACKOFF_BASE,
        backoff_jitter=BACKOFF_BASE,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT),
        maxsize=32,
        retries=again if repeat_requests else False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=_ca_file(settings.ca_bundle),
    )
    return Minio(
        settings.endpoint,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        secure=settings.secure,
        region=settings.region,
        http_client=pool,
    )


def _ca_file(bundle: str | None) -> str:
    if bundle is None:
        return os.environ.get("SSL_CERT_FILE") or certifi.where()
    if "-----BEGIN" not in bundle:
        return bundle
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as stream:
        stream.write(bundle)
    atexit.register(Path(stream.name).unlink, missing_ok=True)
    return stream.name


def is_transient(error: Exception) -> bool:
    """Whether another try may help: connection trouble, 5xx, throttling, or a body that arrived damaged."""
    if isinstance(error, S3Error):
        return error.code in TRANSIENT_CODES or error.response.status in (429, 500, 502, 503, 504)
    if isinstance(error, InvalidResponseError):
        return True
    return isinstance(error, (ServerError, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError))


def retrying(what: str, work: Callable[[], T], patience: float) -> T:
    """Runs `work`, again after transient trouble for up to `patience` seconds.

    Raises StoreUnavailable after that, ValidationFailure when the store refuses the credentials or the bucket is
    absent, and the S3 error itself for anything else.
    """
    started = time.monotonic()
    attempt = 0
    while True:
        try:
            return work()
        except Exception as error:
            _raise_if_hopeless(error)
            wait = delay(attempt, BACKOFF_BASE, BACKOFF_CAP)
            if time.monotonic() - started + wait > patience:
                raise StoreUnavailable(
                    redact(f"{what}: the store did not answer properly for {patience:.0f} s, last: {brief(error)}")
                ) from error
            log.warning("store retry", what=what, attempt=attempt + 1, wait_seconds=round(wait, 2), error=brief(error))
            time.sleep(wait)
            attempt += 1


def _raise_if_hopeless(error: Exception) -> None:
    if is_transient(error):
        return
    if isinstance(error, S3Error) and error.code in DENIED_CODES:
        raise ValidationFailure(
            f"the store refused access ({error.code}): check accessKey and secretKey in the store's Secret and its "
            f"policy",
            reason="StoreDenied",
        ) from error
    if isinstance(error, S3Error) and error.code == "NoSuchBucket":
        raise ValidationFailure(
            f"bucket {error.bucket_name} does not exist: create it", reason="BucketNotFound"
        ) from error
    raise error


def brief(error: Exception) -> str:
    """One line about a store error, without request ids or signatures."""
    if isinstance(error, S3Error):
        return f"{error.code}: {error.message}"
    return redact(f"{type(error).__name__}: {str(error)[:200]}")


def put_if_absent(client: Minio, settings: S3Settings, key: str, data: bytes) -> bool:
    """PUT with `If-None-Match: *`: True when this call created the object, False when something else stands there.

    A lost answer is resolved by reading: if a retry is refused and the object holds exactly our bytes, the first try
    landed. minio-py 7.2 has no public way to pass the header, so its own signed transport is used (pinned by the
    locks).
    """
    headers: dict[str, str | list[str] | tuple[str]] = {"If-None-Match": "*", "Content-Type": "application/json"}
    uncertain = False

    def attempt() -> bool:
        nonlocal uncertain
        try:
            client._put_object(settings.bucket, key, data, headers=dict(headers))
            return True
        except S3Error as error:
            if error.code in HELD_CODES or error.response.status == 412:
                return uncertain and _holds(client, settings.bucket, key, data)
            uncertain = True
            raise
        except Exception:
            uncertain = True
            raise

    return retrying(f"creation of {key}", attempt, settings.patience_seconds)


def _holds(client: Minio, bucket: str, key: str, data: bytes) -> bool:
    response = client.get_object(bucket, key)
    try:
        return bytes(response.read()) == data
    finally:
        response.close()
        response.release_conn()
