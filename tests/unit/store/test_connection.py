"""Time limits, certificates and repeated calls, against servers of a few lines on loopback."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from contract.drip import Drip, dripping
from flywheel_api.causes import CAUSE_OF_EXIT, Cause
from flywheel_store import connection, errors
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits, patiently
from flywheel_store.errors import Refusal, StoreProblem, StoreRefused, StoreUnavailable
from flywheel_store.memory import memory_settings
from flywheel_store.settings import StoreSettings

SETTINGS = memory_settings()
FAST = Limits(connect=0.5, silence=0.5, patience=0.0)


def refusal(code: str, status: int, did: str = "PUT") -> Refusal:
    return Refusal(did, status, code)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BACKOFF_BASE", 0.01)


def settings(server: Drip, **more: Any) -> StoreSettings:
    return replace(SETTINGS, endpoint=server.endpoint, **more)


# ---- how often, how long --------------------------------------------------------------------------------------------
def test_throttling_is_repeated_and_bounded() -> None:
    answers = iter([refusal("SlowDown", 503), refusal("InternalError", 500), refusal("Odd", 429), None])

    def work() -> str:
        error = next(answers)
        if error:
            raise error
        return "done"

    assert patiently("x", work, SETTINGS, Limits(patience=5)) == "done"

    def never() -> None:
        raise refusal("SlowDown", 503)

    with pytest.raises(StoreUnavailable, match="asks for fewer requests"):
        patiently("x", never, SETTINGS, Limits(patience=0.2))


def test_what_is_no_matter_of_the_store_comes_through() -> None:
    def full() -> None:
        raise OSError(28, "no space left")

    with pytest.raises(OSError, match="no space"):
        patiently("x", full, SETTINGS, Limits(patience=5))


@pytest.mark.parametrize("kind", [k for k in vars(errors).values() if isinstance(k, type)
                                  and issubclass(k, errors.FlywheelError)])  # fmt: skip
def test_cause_and_exit_code_agree(kind: type[errors.FlywheelError]) -> None:
    assert CAUSE_OF_EXIT.get(kind.exit_code, Cause.APP) is kind.cause


def test_an_error_without_a_plan_is_refused_at_once() -> None:
    calls = []

    def odd() -> None:
        calls.append(1)
        raise refusal("MalformedXML", 400)

    with pytest.raises(StoreRefused, match="answers MalformedXML"):
        patiently("x", odd, SETTINGS, Limits(patience=5))
    assert len(calls) == 1


# ---- create-only writes ---------------------------------------------------------------------------------------------
class Once:
    """A line to a server with one key; `first` is what its first PUT raises, whether or not it lands."""

    def __init__(self, first: Exception | None = None, lands: bool = True, standing: bytes | None = None) -> None:
        self.first, self.lands, self.standing = first, lands, standing

    def put(self, _at: object, body: Any, headers: dict[str, str]) -> str:
        assert headers["If-None-Match"] == "*"
        if self.standing is not None:
            raise refusal("PreconditionFailed", 412)
        first, self.first = self.first, None
        if first is None or self.lands:
            self.standing = body.data
        if first is not None:
            raise first
        return "tag"

    def send(self, *_: object, **__: object) -> Any:
        if self.standing is None:
            raise refusal("NoSuchKey", 404, "GET")
        standing = self.standing
        return SimpleNamespace(
            stream=lambda _n: iter([standing]), close=lambda: None, release_conn=lambda: None, headers={}, status=200
        )


LOST = urllib3.exceptions.ProtocolError("connection broken")
CONFLICT = refusal("ConditionalRequestConflict", 409)


@pytest.mark.parametrize(
    ("server", "won"),
    [
        (Once(), True),
        (Once(LOST), True),
        (Once(LOST, lands=False), True),
        (Once(CONFLICT, lands=False), True),
        (Once(standing=b"theirs"), False),
        (Once(standing=b"mine"), False),
    ],
    ids=["free", "answer lost", "request lost", "409 on a free key", "held", "held with our bytes"],
)
def test_who_has_created_a_key(server: Once, won: bool) -> None:
    bucket = S3Bucket(SETTINGS, Limits(patience=5))
    bucket._wire = server  # type: ignore[assignment]
    assert bucket.put_new("k", b"mine") is won


# ---- slow lines and slow servers ------------------------------------------------------------------------------------
def test_a_body_may_take_longer_to_send_than_one_wait_may_last() -> None:
    """The limit is for progress: 12 MiB at 8 MiB/s, with half a second for each wait."""
    with dripping() as server:
        server.place, server.upload_rate = "", 8 << 20
        assert S3Bucket(settings(server), replace(FAST, silence=10)).put_new("x", b"x" * (12 << 20))


def test_a_server_that_takes_nothing_is_given_up() -> None:
    with dripping() as server:
        server.place, server.upload_rate = "", 1
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            S3Bucket(settings(server), FAST).put_new("x", b"x" * (16 << 20))
        assert time.monotonic() - began < 10


def test_a_call_has_a_limit_whatever_trickles_in() -> None:
    with dripping() as server:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer"):
            S3Bucket(settings(server), replace(FAST, total=0.8, patience=0.8)).get("x")
        assert 0.5 < time.monotonic() - began < 5


# ---- TLS ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate that signs itself, key) for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=store", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", *kind, "-keyout", key, "-out", cert, *names], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def tls_server(certificate: tuple[Path, Path]) -> Iterator[Drip]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with dripping(context) as server:
        yield server


def test_a_private_authority_comes_from_memory(tls_server: Drip, certificate: tuple[Path, Path]) -> None:
    tls_server.place = ""
    bundle = "# Firma Müller\n" + certificate[0].read_text()
    trusting = settings(tls_server, secure=True, ca_bundle=bundle)
    once = Limits(patience=0.0)
    assert S3Bucket(trusting, once).get("x") == b"well"
    S3Bucket(trusting, once).put("x", b"x" * (1 << 20))
    with pytest.raises(StoreUnavailable, match="caBundle"):
        S3Bucket(replace(trusting, ca_bundle=None), once).get("x")


def test_limits_hold_over_tls(tls_server: Drip, certificate: tuple[Path, Path]) -> None:
    trusting = settings(tls_server, secure=True, ca_bundle=certificate[0].read_text())
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        S3Bucket(trusting, replace(FAST, silence=10.0, total=0.8)).get("x")
    assert time.monotonic() - began < 5


def test_a_name_that_does_not_resolve_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(StoreProblem, match="no answer"):
        S3Bucket(replace(SETTINGS, endpoint="nowhere.invalid"), FAST).get("x")


# ---- which sentence -------------------------------------------------------------------------------------------------
def made(folder: Path, name: str, subject: str = "IP:127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=store", "-addext", f"subjectAltName={subject}"]
    subprocess.run(["openssl", *kind, "-keyout", key, "-out", cert, *names], check=True, capture_output=True)
    return cert, key


@pytest.mark.parametrize(
    ("name", "subject", "trusted", "says"),
    [
        ("unknown", "IP:127.0.0.1", False, "an authority that is not trusted here: put that authority's PEM"),
        ("other", "DNS:other.example.org", True, "its certificate is for another name"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said(
    tmp_path: Path, name: str, subject: str, trusted: bool, says: str
) -> None:
    cert, key = made(tmp_path, name, subject)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    bundle = (cert if trusted else made(tmp_path, "another")[0]).read_text()
    with dripping(context) as server, pytest.raises(StoreUnavailable, match=says):
        S3Bucket(settings(server, secure=True, ca_bundle=bundle), Limits(patience=0.0)).get("x")


def test_a_certificate_out_of_date_is_said() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed: certificate has expired (_ssl.c:1016)")
    wrapped = urllib3.exceptions.SSLError(error)
    assert "its certificate is out of date" in str(errors.problem_of(wrapped, "https://s3", "b"))


def test_what_is_wrong_with_an_address_is_said(tls_server: Drip, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(**changes: Any) -> str:
        with pytest.raises(StoreUnavailable) as caught:
            S3Bucket(replace(SETTINGS, **changes), FAST).get("x")
        return str(caught.value)

    with dripping() as plain:
        plain.place = ""
        assert "it speaks no TLS there: write http://" in said(endpoint=plain.endpoint, secure=True)
    assert "nobody listens there" in said(endpoint="127.0.0.1:9")
    assert "does not resolve" in said(endpoint="nowhere.invalid")
    assert "no answer" in said(endpoint=tls_server.endpoint)
