"""Requests to an S3 server: addressed, signed, and every answer looked at.

minio-py signs; the rest is ours, because what it does with answers is what servers and proxies break: it goes by the
content type, follows redirects, takes 200 with an error for success, and puts its default region into the host.
"""

from __future__ import annotations

import email.utils
import hashlib
import html
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import SplitResult, quote, urlencode, urlsplit
from xml.etree import ElementTree

import urllib3
from minio.signer import sign_v4_s3
from urllib3 import BaseHTTPResponse

from flywheel_store.checks import by_md5
from flywheel_store.connection import Limits, pool_of
from flywheel_store.errors import NO_S3, Refusal
from flywheel_store.identity import provider_of
from flywheel_store.settings import StoreSettings

DEFAULT_REGION = "us-east-1"
_NOTHING = hashlib.sha256().hexdigest()
_UNRESERVED = "-_.~"
_HOSTED = re.compile(r"amazonaws\.(com(\.cn)?|eu)$|aliyuncs\.com$|myqcloud\.com$")  # want the bucket in the host's name
_EXPECTING = re.compile(r"expecting ['\"]?([a-z0-9-]+)")
_HTTPS_THERE = re.compile(rb"HTTP request (?:was sent )?to (?:an )?HTTPS|TLS|SSL-enabled", re.IGNORECASE)
_FIELDS = re.compile(r"<(?:\w+:)?(Code|Message|Region)>([^<]{0,2000})<")
_QUIET = 300.0  # seconds for which a server may put parts together without a word


class Body(Protocol):
    """What is sent: of a known length and digests (sha256 may be empty), and read anew for each try."""

    size: int
    sha256: str
    check: Mapping[str, str]
    """The header by which the server knows damaged bytes."""

    def __iter__(self) -> Iterator[bytes]: ...


class Bytes:
    """A body in memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        self.check = by_md5((data,))
        self.sha256 = hashlib.sha256(data).hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        return iter((self.data,)) if self.data else iter(())


class Wire:
    """A signed line to one server. Raises Refusal for answers, urllib3's and socket errors for none."""

    def __init__(self, settings: StoreSettings, limits: Limits) -> None:
        self._settings = settings
        self._pool = pool_of(settings, limits)
        self._limits = limits
        self._signs_with = provider_of(settings, limits)
        self._region = settings.region or DEFAULT_REGION

    def send(
        self,
        method: str,
        bucket: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        stream: bool = False,
    ) -> BaseHTTPResponse:
        """The answer to a request if it is a success. A region that nobody gave is learnt from the server."""
        for again in (False, True):
            region = self._region
            try:
                return self._once(method, bucket, key, query or {}, headers or {}, body, stream)
            except Refusal as answer:
                wanted = answer.region
                if not wanted and method == "HEAD" and answer.status in (301, 307, 400):
                    wanted = self._located(bucket)  # an answer to HEAD has no body that could say it
                if again or self._settings.region or not wanted or wanted == region:
                    raise
                self._region = wanted
        raise AssertionError("two tries")

    def put(
        self, at: tuple[str, str], body: Body, headers: Mapping[str, str], query: Mapping[str, str] | None = None
    ) -> str:
        """Writes an object or a part at (bucket, key); its entity tag, without which nobody has written anything."""
        answer = self.send("PUT", *at, query, headers, body)
        if "ETag" not in answer.headers:
            raise Refusal("PUT", answer.status, NO_S3)
        return str(answer.headers["ETag"])

    def _located(self, bucket: str) -> str:
        try:
            found = self._once("GET", bucket, "", {"location": ""}, {}, None, False)
        except Refusal as answer:
            if not answer.region:
                raise
            return answer.region
        text = (xml(found.data).text or "").strip() if found.data else ""
        return {"": DEFAULT_REGION, "EU": "eu-west-1"}.get(text, text)

    def _once(
        self,
        method: str,
        bucket: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Body | None,
        stream: bool,
    ) -> BaseHTTPResponse:
        url = urlsplit(self._address(bucket, key, query))
        signed = self._signed(method, url, headers, body)
        if body is not None:
            signed["Content-Length"] = str(body.size)
        quiet = max(self._limits.silence, _QUIET) if method == "POST" else self._limits.silence
        answer = self._pool.urlopen(
            method,
            url.geturl(),
            body=body,
            headers=signed,
            redirect=False,
            preload_content=not stream,
            timeout=urllib3.Timeout(connect=self._limits.connect, read=quiet),
        )
        if answer.status in (200, 204, 206):
            return answer
        raise self._refusal("LIST" if method == "GET" and not key else method, answer, stream)

    def _signed(self, method: str, url: SplitResult, headers: Mapping[str, str], body: Body | None) -> dict[str, str]:
        """Headers with their signature over the body's check, and over plain http over its sha256 if it has one."""
        now, sha256 = datetime.now(UTC), body.sha256 if body is not None else _NOTHING
        content = sha256 if sha256 and not self._settings.secure else "UNSIGNED-PAYLOAD"
        signed: dict[str, str | list[str] | tuple[str]] = {"Host": url.netloc, "User-Agent": "flywheel", **headers}
        keys = self._signs_with.retrieve()
        if keys.session_token:
            signed["x-amz-security-token"] = keys.session_token
        signed["x-amz-date"] = now.strftime("%Y%m%dT%H%M%SZ")
        signed["x-amz-content-sha256"] = content
        if body is not None:
            signed |= body.check
        done = sign_v4_s3(
            method=method,
            url=url,
            region=self._region,
            headers=signed,
            credentials=keys,
            content_sha256=content,
            date=now,
        )
        return {name: str(value) for name, value in done.items()}

    def _address(self, bucket: str, key: str, query: Mapping[str, str]) -> str:
        host, path = self._settings.endpoint, f"/{bucket}/{key}"
        if host == "s3.amazonaws.com" and self._region != DEFAULT_REGION:
            host = f"s3.{self._region}.amazonaws.com"
        if _HOSTED.search(host) and "." not in bucket and ".vpce." not in host:
            host, path = f"{bucket}.{host}", f"/{key}"
        text = quote(path if key else path.rstrip("/") or "/", safe="/" + _UNRESERVED)
        asked = urlencode(query, safe=_UNRESERVED, quote_via=quote)
        return f"{'https' if self._settings.secure else 'http'}://{host}{text}" + (f"?{asked}" if asked else "")

    def _refusal(self, did: str, answer: BaseHTTPResponse, stream: bool) -> Refusal:
        try:
            data = b"" if did == "HEAD" else answer.read(64 << 10) if stream else answer.data
        finally:
            if stream:
                answer.close()
        said = _said(data)
        code, location = said.get("Code", ""), answer.headers.get("Location", "")
        region = answer.headers.get("x-amz-bucket-region", "") or said.get("Region", "")
        if not region and (found := _EXPECTING.search(said.get("Message", ""))):
            region = found[1]
        if not code:
            if 300 <= answer.status < 400 and location:
                code = "Redirect"
            elif answer.status == 400 and _HTTPS_THERE.search(data):
                code = "PlainHttp"
            elif data and answer.status in (200, 404):
                code = NO_S3  # a proxy's page: what S3 would say is not known
            else:
                code = f"HTTP {answer.status}"
        to = urlsplit(location)
        return Refusal(
            did, answer.status, code, region, f"{to.scheme}://{to.netloc}" if to.netloc else "", _skew(answer)
        )


def _skew(answer: BaseHTTPResponse) -> float:
    try:
        return email.utils.parsedate_to_datetime(answer.headers.get("Date", "")).timestamp() - time.time()
    except ValueError:
        return 0.0


def _said(data: bytes) -> dict[str, str]:
    """Fields of an error document: of any content type and name space, within another element, or cut off."""
    found = reversed(_FIELDS.findall(data.decode(errors="replace"))) if b"Error" in data else ()
    return {name: html.unescape(text).strip() for name, text in found}


def xml(data: bytes) -> ElementTree.Element:
    """A document of the server. Raises Refusal for what is none: a page of a proxy."""
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise Refusal("GET", 200, NO_S3) from error


def tag(element: ElementTree.Element) -> str:
    """Its name without the name space, which servers write or leave out."""
    return element.tag.rpartition("}")[2]


def text_of(element: ElementTree.Element, name: str) -> str:
    """Text of a child by its name; empty without one."""
    return next(((child.text or "") for child in element if tag(child) == name), "")
