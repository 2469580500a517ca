"""A store behind a proxy: asked through it, beside it where NO_PROXY says so; its certificate counts all the same."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from contract.drip import dripping
from flywheel_store.bucket import S3Bucket
from flywheel_store.connection import Limits, proxy_for
from flywheel_store.errors import StoreUnavailable
from unit.store.test_connection import FAST, made, settings

ONCE = Limits(connect=2, silence=5, patience=0.0)


class Proxy:
    """Tunnels to where CONNECT says, or answers `refuses` to everything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.refuses = b""
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://user:pass@127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._threads.append(
                    threading.Thread(target=self._one, args=(self._listener.accept()[0],), daemon=True)
                )
                self._threads[-1].start()

    def _one(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            self.heads.append(head)
            self.asked.append(head.split(b"\r\n")[0].decode())
            if self.refuses or not head.startswith(b"CONNECT"):
                client.sendall(self.refuses or b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nwell")
                return
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join(5)


def _pump(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while data := here.recv(1 << 16):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    found = Proxy()
    yield found
    found.close()


def test_https_goes_through_a_tunnel_and_the_stores_authority_counts(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    cert, key = made(tmp_path, "store")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with dripping(context) as server:
        server.place = ""
        trusting = settings(server, secure=True, ca_bundle=cert.read_text())
        assert S3Bucket(trusting, ONCE).get("x") == b"well"
        assert [asked.rpartition(" ")[0] for asked in proxy.asked] == [f"CONNECT {server.endpoint}"]
        assert b"Basic dXNlcjpwYXNz" in proxy.heads[0], "the proxy's own user"
        strange = settings(server, secure=True, ca_bundle=made(tmp_path, "another")[0].read_text())
        with pytest.raises(StoreUnavailable, match="caBundle"):
            S3Bucket(strange, ONCE).get("x")


def test_http_is_asked_of_the_proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url.partition("://")[2])  # written without a scheme, as people do
    with dripping() as server:
        assert S3Bucket(settings(server), ONCE).get("x") == b"well"
    assert proxy.asked[0].startswith(f"GET http://{server.endpoint}/")


def test_what_no_proxy_names_is_asked_directly(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.svc")
    with dripping() as server:
        server.place = ""
        assert S3Bucket(settings(server), ONCE).get("x") == b"well"
    assert not proxy.asked
    assert proxy_for("https://s3.minio.svc:9000") is None and proxy_for("http://s3.example.com:80") == proxy.url


def test_a_proxy_that_refuses_or_is_away_is_said(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.refuses = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    for address in (proxy.url, "http://127.0.0.1:9"):
        monkeypatch.setenv("HTTPS_PROXY", address)
        with dripping() as server, pytest.raises(StoreUnavailable, match="correct HTTPS_PROXY of this pod") as caught:
            S3Bucket(settings(server, secure=True), FAST).get("x")
        assert "pass" not in str(caught.value).replace("pass through", "")
