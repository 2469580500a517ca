"""Where a store is and how to sign for it: one parser for a Secret's keys and for the environment made from them.

Both halves must read the same values in the same way: a job that reads a prefix otherwise than the operator commits
where nobody looks.
"""

from __future__ import annotations

import base64
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import certifi

from flywheel_api.base import quoted, secret_value
from flywheel_api.conditions import Reason
from flywheel_api.stages import DEFAULT_PREFIX, STORE_ENV, STORE_KEY_PAIR, STORE_REQUIRED_KEYS
from flywheel_store.errors import StoreProblem

_ENDPOINT = re.compile(
    r"(?:(https?)://)?((?:\[[0-9a-f:.]+\]|<label>(?:\.<label>)*\.?)(?::(\d{1,5}))?)(?:/([a-z0-9._-]*))?/*".replace(
        "<label>", r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
    ),
    re.IGNORECASE,
)
_VENDORS = re.compile(  # whose consoles show addresses that begin with the bucket
    r"^s3[.-](?:.*\.)?amazonaws\.(?:com|eu)|(?:^|\.)(?:digitaloceanspaces\.com|your-objectstorage\.com|scw\.cloud|"
    r"ovh\.net|wasabisys\.com|backblazeb2\.com|cloudflarestorage\.com|linodeobjects\.com|vultrobjects\.com|storage\.googleapis\.com|"
    r"aliyuncs\.com|myqcloud\.com)(?::\d+)?$"
)
_AWS = re.compile(
    r"s3(?:[.-](?:dualstack|fips|accelerate))*[.-]([a-z]{2,4}(?:-[a-z]+)+-\d)\.(?:vpce\.)?amazonaws\.(?:com|eu)"
)
_REGIONAL = re.compile(  # of the others that say it there; not all of them tell it to who signed for another one
    r"(?:^|\.)(?:s3|objectstorage)[.-]([a-z0-9-]+)\.(?:wasabisys\.com|backblazeb2\.com|scw\.cloud|"
    r"(?:(?:io|perf)\.)?cloud\.ovh\.\w+|oraclecloud\.com|ionoscloud\.com)$"
)
_BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", re.IGNORECASE)
_BARE_IPV6 = re.compile(r"(?:https?://)?[0-9a-f]*:[0-9a-f:]*:[0-9a-f:.]*/*", re.IGNORECASE)
_ADDRESS = "is not an S3 address: write https://host:port without a path"
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?", re.IGNORECASE)
_SECURE = {"": True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_KEYS = (
    "a store Secret has the keys endpoint, bucket, accessKey and secretKey (optional: region, prefix, secure, "
    "caBundle; without both accessKey and secretKey the pods' own identity counts)"
)


@dataclass(frozen=True)
class StoreSettings:
    """Where the store is and how to sign for it."""

    endpoint: str
    secure: bool
    bucket: str
    prefix: str
    region: str
    """Empty when nobody gave it and the endpoint does not say it: the server is asked."""
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    ca_bundle: str | None = field(default=None, repr=False)

    @property
    def by_identity(self) -> bool:
        """Whether requests are signed by the identity of the pod, as the Secret has no keys."""
        return not self.access_key

    @property
    def where(self) -> str:
        """The address for people."""
        return f"{'https' if self.secure else 'http'}://{self.endpoint}"

    def uri(self, key: str) -> str:
        """`s3://bucket/prefix/key`."""
        return f"s3://{self.bucket}/{self.full_key(key)}"

    def full_key(self, key: str) -> str:
        """The key in the bucket."""
        return f"{self.prefix}/{key}" if self.prefix else key


def from_secret(name: str, secret: Mapping[str, Any]) -> StoreSettings:
    """Settings from a core/v1 Secret; keys that are not ours are not looked at. Raises StoreProblem as `parse`."""
    data = secret.get("data") or {}
    values = {}
    for key in STORE_ENV:
        try:
            values[key] = base64.b64decode(data.get(key) or "", validate=True).decode()
        except ValueError as error:  # UnicodeDecodeError and binascii.Error among them
            raise _invalid(f"Secret {name!r}", key, "is not base64 of UTF-8 text") from error
    return parse(values, f"Secret {name!r}", {key: key for key in STORE_ENV})


def from_env(environ: Mapping[str, str]) -> StoreSettings:
    """Settings from the variables of a pod (stages.STORE_ENV). Raises StoreProblem as `parse`."""
    values = {key: environ.get(variable, "") for key, variable in STORE_ENV.items()}
    return parse(values, "the environment of this pod", STORE_ENV)


def parse(values: Mapping[str, str], source: str, names: Mapping[str, str]) -> StoreSettings:
    """Settings from text values by key of the Secret; blanks around a value do not count.

    `source` and `names` are what `values` and its keys are called for people. Raises StoreProblem that names each
    missing key, or the key whose value cannot be used; it never quotes a value.
    """
    text = {key: values.get(key, "").strip() for key in STORE_ENV}
    pair = STORE_KEY_PAIR if any(text[key] for key in STORE_KEY_PAIR) else ()  # one alone is a mistake
    missing = [names[key] for key in (*STORE_REQUIRED_KEYS, *pair) if not text[key]]
    if missing:
        raise StoreProblem(Reason.SECRET_KEY_MISSING, f"{source} lacks {', '.join(missing)}: {_KEYS}")

    def need(key: str, right: bool, what: str) -> None:
        if not right:
            raise _invalid(source, names[key], what)

    for key, value in text.items():
        need(key, key == "caBundle" or value.isprintable(), "holds a line break or another control character")
    for key in pair:
        try:
            secret_value(text[key])
        except ValueError as error:
            raise _invalid(source, names[key], str(error)) from error
    bare = _BARE_IPV6.fullmatch(text["endpoint"]) is not None
    need("endpoint", not bare, "is an IPv6 address without brackets: write one such as https://[fd00::1]:9000")
    twice = "is base64 of base64: under `data` encode each value once, or write it as it is under `stringData`"
    need("endpoint", not _encoded_again(text["endpoint"]), twice)
    address = _ENDPOINT.fullmatch(text["endpoint"])
    need("endpoint", address is not None, _ADDRESS)
    assert address is not None
    scheme, host, port, path = address.groups()
    host = _without_bucket(host.lower(), text["bucket"])
    need("endpoint", path in (None, "", text["bucket"]), _ADDRESS)
    need("endpoint", int(port or 1) in range(1, 65536), "has a port that does not exist")
    need("secure", text["secure"].lower() in _SECURE, "is neither true nor false")
    need("bucket", _BUCKET.fullmatch(text["bucket"]) is not None, "is not a bucket's name")
    prefix = (text["prefix"] or DEFAULT_PREFIX).strip("/")
    need(
        "prefix",
        not prefix or not {"", ".", ".."} & set(prefix.split("/")),
        "is no path: no part may be empty, . or ..",
    )
    need("prefix", not quoted(prefix), "stands in quotation marks: write the path alone")
    need("region", not text["region"] or _REGION.fullmatch(text["region"]) is not None, "is not a region's name")
    secure = scheme.lower() == "https" if scheme else _SECURE[text["secure"].lower()]
    settings = StoreSettings(
        endpoint=host.removesuffix(":443" if secure else ":80"),
        secure=secure,
        bucket=text["bucket"],
        prefix=prefix,
        region=text["region"] or _region_of(host),
        access_key=text["accessKey"],
        secret_key=text["secretKey"],
        ca_bundle=text["caBundle"] or None,
    )
    try:
        tls_context(settings)
    except (OSError, ValueError) as error:
        what = "holds no certificate in PEM form that can be used" if settings.ca_bundle else f"cannot be used: {error}"
        raise _invalid(source, names["caBundle"] if settings.ca_bundle else "SSL_CERT_FILE", what) from error
    return settings


def _encoded_again(text: str) -> bool:
    """Whether a host without a dot, a colon or a dash is an address in base64: all values are so then."""
    if re.fullmatch(r"[A-Za-z0-9+/]{8,}={0,2}", text) is None:
        return False
    try:
        said = base64.b64decode(text + "=" * (-len(text) % 4)).decode("ascii").strip()
    except ValueError:
        return False
    return _ENDPOINT.fullmatch(said) is not None and bool(set(said) & set(".:"))


def _without_bucket(host: str, bucket: str) -> str:
    """The host of an address as vendors' consoles show it, which begins with the bucket."""
    rest = host.removeprefix(f"{bucket.lower()}.")
    return rest if _VENDORS.search(rest) else host


def _region_of(host: str) -> str:
    found = _AWS.search(host) or _REGIONAL.search(host.partition(":")[0])
    return found[1] if found else ""


def _invalid(source: str, key: str, what: str) -> StoreProblem:
    return StoreProblem(Reason.SECRET_KEY_INVALID, f"{key} of {source} {what}")


def tls_context(settings: StoreSettings) -> ssl.SSLContext | None:
    """The authorities to trust, from memory: the store's own, else SSL_CERT_FILE, else certifi's. None for http.

    Raises OSError or ValueError when they cannot be read.
    """
    if not settings.secure:
        return None
    if settings.ca_bundle:
        certificates = settings.ca_bundle.encode("ascii", "ignore").decode()  # comments may hold any letter
        if "-----BEGIN" not in certificates:
            raise ValueError("no PEM")  # an empty text would mean: trust whom the system trusts
        return ssl.create_default_context(cadata=certificates)
    return ssl.create_default_context(cafile=authorities())


def authorities() -> str:
    """The file of those whom a pod trusts: SSL_CERT_FILE, else certifi's."""
    return os.environ.get("SSL_CERT_FILE") or certifi.where()
