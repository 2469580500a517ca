"""The object store as the operator sees it: a protocol, the settings from a Secret, and the error classes."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from flywheel_api.conditions import Reason
from flywheel_api.stages import DEFAULT_PREFIX, STORE_REQUIRED_KEYS
from flywheel_operator.ports.errors import PortError


class StoreProblem(PortError):
    """The store cannot be used as it is; `reason` is the condition's reason and the message names the fix."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class StoreSettings:
    """Where the store is and how to sign for it."""

    endpoint: str
    secure: bool
    bucket: str
    prefix: str
    region: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    ca_bundle: str | None = field(default=None, repr=False)

    def uri(self, key: str) -> str:
        """`s3://bucket/prefix/key`."""
        return f"s3://{self.bucket}/{self.full_key(key)}"

    def full_key(self, key: str) -> str:
        """The key in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key


class ObjectStore(Protocol):
    """What the operator asks of a store. Keys are below the prefix. Raises StoreProblem."""

    settings: StoreSettings

    async def get(self, key: str) -> bytes | None:
        """The object's bytes, or None."""

    async def size(self, key: str) -> int | None:
        """The object's size in bytes, or None."""

    async def keys(self, prefix: str) -> list[str]:
        """Keys that begin so."""

    async def put_new(self, key: str, data: bytes) -> bool:
        """Create-only PUT: False when the key is taken."""

    async def remove(self, key: str) -> None:
        """Delete; absent is success."""

    async def bucket_exists(self) -> bool:
        """Whether the bucket is there."""

    async def get_uri(self, uri: str) -> bytes | None:
        """The bytes at `s3://bucket/key`, in any bucket that the same credentials reach."""


def settings_from_secret(name: str, secret: dict[str, Any]) -> StoreSettings:
    """Settings from a core/v1 Secret. Raises StoreProblem naming each missing key; never quotes a value."""
    data = secret.get("data") or {}
    missing = [key for key in STORE_REQUIRED_KEYS if not data.get(key)]
    if missing:
        raise StoreProblem(
            Reason.SECRET_KEY_MISSING,
            f"Secret {name!r} lacks {', '.join(missing)}: a store Secret has the keys "
            "endpoint, bucket, accessKey and secretKey (optional: region, prefix, secure, caBundle)",
        )
    values = {key: base64.b64decode(value).decode().strip() for key, value in data.items()}
    host, secure = parse_endpoint(name, values["endpoint"], values.get("secure", ""))
    return StoreSettings(
        endpoint=host,
        secure=secure,
        bucket=values["bucket"],
        prefix=(values.get("prefix") or DEFAULT_PREFIX).strip("/"),
        region=values.get("region") or "us-east-1",
        access_key=values["accessKey"],
        secret_key=values["secretKey"],
        ca_bundle=values.get("caBundle") or None,
    )


def parse_endpoint(secret: str, endpoint: str, secure: str) -> tuple[str, bool]:
    """(host:port, TLS?) of `http://host:port`, `https://host` or `host:port` with the key `secure`, by default true."""
    if "://" not in endpoint:
        return endpoint, secure.lower() not in ("false", "0", "no")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise StoreProblem(
            Reason.STORE_UNREACHABLE,
            f"key endpoint of Secret {secret!r} is not an S3 address: write https://host:port without a path",
        )
    return parts.netloc, parts.scheme == "https"
