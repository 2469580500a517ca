"""An S3 server that never stops answering, one byte at a time."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STEP = 0.1  # seconds between bytes


class Drip(ThreadingHTTPServer):
    """`place` is where it drips: in the `head`, the `body`, a `listing`; nowhere when it is empty."""

    daemon_threads = True
    place = "body"
    requests = 0
    upload_rate = 1 << 40  # bytes a second that it takes

    @property
    def endpoint(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Drip
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests += 1
        with suppress(OSError):
            if self.server.place == "head":
                self._drip(b"HTTP/1.1 200 OK\r\nX-Long: ")
            dry = not self.server.place
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {4 if dry else 100000}\r\nContent-Type: application/xml\r\n\r\n"
            self.wfile.write(head.encode())
            if dry:
                self.wfile.write(b"well")
            else:
                self._drip(b"")

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        with suppress(OSError):
            while left > 0:
                piece = min(left, 64 << 10)
                time.sleep(piece / self.server.upload_rate)
                left -= len(self.rfile.read(piece))
            self.wfile.write(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n')

    def _drip(self, first: bytes) -> None:
        self.wfile.write(first)
        while True:
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(STEP)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def dripping(tls: ssl.SSLContext | None = None) -> Iterator[Drip]:
    """Such a server on loopback."""
    server = Drip(("127.0.0.1", 0), _Handler, bind_and_activate=False)
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)  # what is not taken is felt soon
    server.server_bind()
    server.server_activate()
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
