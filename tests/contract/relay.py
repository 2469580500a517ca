"""A relay before a real S3 server that plays what lines, proxies and other servers do to requests and answers."""

from __future__ import annotations

import http.client
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from minio.credentials import Credentials
from minio.signer import sign_v4_s3

from contract.servers import ACCESS, REGIONS, SECRET, S3Server


@dataclass
class Fault:
    """What happens to the next requests of a method whose path and query hold a part."""

    method: str = ""
    part: str = ""
    status: int = 0
    """Answered instead of the server's status; 0 leaves it."""
    code: str = ""
    body: bytes | None = None
    """Answered instead of the server's body, or instead of the error document of `code`."""
    kind: str = "application/xml"
    headers: dict[str, str | None] = field(default_factory=dict)
    """Set in the answer; None takes one out."""
    change: Callable[[bytes], bytes] | None = None
    """Made of the server's body; its Content-Length follows."""
    lands: bool = True
    """Whether the server gets the request at all."""
    reset: bool = False
    """The connection breaks instead of an answer."""
    cut: int = -1
    """Bytes of the answer's body after which the connection breaks."""
    stall: float = 0.0
    """Seconds of silence in the middle of the request's body."""
    times: int = 1

    def fits(self, method: str, path: str) -> bool:
        return self.times > 0 and method.startswith(self.method) and self.part in path


def says(status: int, code: str, method: str = "", part: str = "", **more: object) -> Fault:
    """An error that the server would say, without doing anything."""
    return Fault(method, part, status, code, lands=False, **more)  # type: ignore[arg-type]


class Relay(ThreadingHTTPServer):
    """One relay; `faults` are used up in order, `weather` is asked for one where none fits."""

    daemon_threads = True
    request_queue_size = 128
    server: S3Server
    faults: list[Fault]
    seen: list[tuple[str, str]]
    sent: int
    """Bytes of request bodies that came in."""
    checks: set[str]
    """Headers by which those of a part or a file could be known as damaged."""
    drops: tuple[str, ...] = ()
    """Headers of requests that never reach the server."""
    rate = 0.0
    """Bytes a second that the line takes towards the server, all connections together; 0: any."""
    forgives = 0
    """Which 412 is answered as a success, as a server does whose check is not atomic."""
    spoils = 0
    """Requests with a body of which the line damages a bit."""
    weather: Callable[[str, str, bool], Fault | None]

    def start(self, server: S3Server) -> None:
        self.server, self.faults, self.seen, self.sent, self.checks = server, [], [], 0, set()
        self.weather = lambda *_: None
        self.lock = threading.Lock()
        self._free_at = time.monotonic()

    @property
    def s3(self) -> S3Server:
        """The server as it is seen through this relay."""
        return replace(self.server, endpoint=f"http://127.0.0.1:{self.server_port}")

    def take(self, count: int) -> None:
        """Waits until the line has taken so many bytes."""
        with self.lock:
            self.sent += count
            if not self.rate:
                return
            self._free_at = max(self._free_at, time.monotonic() - 0.05) + count / self.rate
            wait = self._free_at - time.monotonic()
        time.sleep(max(0.0, wait))

    def fault(self, method: str, path: str, conditional: bool) -> Fault | None:
        with self.lock:
            self.seen.append((method, path))
            found = next((f for f in self.faults if f.fits(method, path)), None)
            if found is None:
                return self.weather(method, path, conditional)
            found.times -= 1
            return found


class _Handler(BaseHTTPRequestHandler):
    server: Relay
    protocol_version = "HTTP/1.1"

    def _go(self) -> None:
        with suppress(ConnectionError, TimeoutError):
            self._relay()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _go

    def _relay(self) -> None:
        fault = self.server.fault(self.command, self.path, "If-None-Match" in self.headers)
        data = self._body(fault.stall if fault else 0.0)
        if fault is None:
            fault = Fault()
        status, headers, body = 0, dict[str, str](), b""
        if fault.lands:
            status, headers, body = self._ask(data)
        if status == 412:
            with self.server.lock:
                self.server.forgives -= 1
                if self.server.forgives == 0:
                    status, headers, body = 200, {"ETag": '"x"'}, b""
        if fault.reset:
            self._break()
            return
        if fault.status:
            headers.pop("Content-Length", None)
            said = f"<Error><Code>{fault.code}</Code><Message>m</Message></Error>".encode() if fault.code else b""
            status, body = fault.status, said
            headers["Content-Type"] = fault.kind
        if fault.body is not None:
            body = fault.body
            headers["Content-Type"] = fault.kind
            headers.pop("Content-Length", None)
        if fault.change is not None:
            body = fault.change(body)
            headers.pop("Content-Length", None)
        self._answer(status, headers, body, fault)

    def _body(self, stall: float) -> bytes:
        left, got = int(self.headers.get("Content-Length") or 0), bytearray()
        half = left // 2
        while left > 0:
            piece = self.rfile.read(min(16 << 10, left))
            if not piece:
                raise ConnectionError("cut")
            self.server.take(len(piece))
            left -= len(piece)
            got += piece
            if stall and left <= half:
                time.sleep(stall)
                stall = 0.0
        if len(got) > 1000:
            names = {name.lower() for name in self.headers}
            self.server.checks |= names & {"content-md5", "x-amz-checksum-crc32"}
        if self.server.spoils and len(got) > 1000:
            self.server.spoils -= 1
            got[500] ^= 1
        return bytes(got)

    def _ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        host = self.server.server.endpoint.removeprefix("http://")
        up = http.client.HTTPConnection(host, timeout=60)
        try:
            up.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self._headers().items():
                up.putheader(name, value)
            up.endheaders(data or None)
            answer = up.getresponse()
            body = answer.read()
            kept = {k: v for k, v in answer.getheaders() if k.lower() not in ("transfer-encoding", "connection")}
            return answer.status, kept, body
        finally:
            up.close()

    def _headers(self) -> dict[str, str]:
        """Those of the request; signed anew where some are dropped, as a proxy with keys of its own does it."""
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", *self.server.drops)}
        if len(kept) == len(self.headers) or not self.server.drops:
            return kept
        del kept["Authorization"]
        length = kept.pop("Content-Length")
        date = datetime.strptime(kept["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        signed = sign_v4_s3(
            method=self.command,
            url=urlsplit(f"http://{kept['Host']}{self.path}"),
            region=REGIONS.get(self.server.server.name, "us-east-1"),
            headers=dict(kept),
            credentials=Credentials(ACCESS, SECRET),
            content_sha256=kept["x-amz-content-sha256"],
            date=date,
        )
        return {**{k: str(v) for k, v in signed.items()}, "Content-Length": length}

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        self.send_response_only(status)
        length = {} if self.command == "HEAD" and "Content-Length" in headers else {"Content-Length": str(len(body))}
        for name, value in {**headers, **length, **fault.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.cut >= 0:
            self.wfile.write(body[: fault.cut])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)
            return
        self.wfile.write(body)

    def _break(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def relayed(server: S3Server) -> Iterator[Relay]:
    """Such a relay on loopback."""
    relay = Relay(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    relay.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)  # what is not taken is felt soon
    relay.server_bind()
    relay.server_activate()
    relay.start(server)
    threading.Thread(target=relay.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield relay
    finally:
        relay.shutdown()
        relay.server_close()


def bad_weather(every: int = 4) -> Callable[[str, str, bool], Fault | None]:
    """Each fourth request meets the next of these. A create-only write meets what leaves no doubt only."""
    any_time = itertools.cycle([
        says(503, "SlowDown"),
        Fault(reset=True),
        says(500, "InternalError"),
        Fault(status=504, body=b"<html>gateway</html>", kind="text/html"),
        says(403, "RequestTimeTooSkewed"),
        Fault(cut=5),
        says(409, "OperationAborted"),
        says(429, "TooManyRequests", kind="text/plain"),
    ])  # fmt: skip
    certain = itertools.cycle([says(409, "ConditionalRequestConflict"), says(403, "AccessDenied")])
    count = itertools.count(1)

    def next_one(method: str, path: str, conditional: bool) -> Fault | None:
        if next(count) % every:
            return None
        return next(certain) if conditional else next(any_time)

    return next_one


def big_file(path: Path, size: int) -> Path:
    """A file of that size whose every piece differs."""
    with path.open("wb") as out:
        for number in range(-(-size // (1 << 16))):
            block = number.to_bytes(8, "big") * (1 << 13)
            out.write(block[: min(len(block), size - (number << 16))])
    return path
