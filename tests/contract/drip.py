"""An S3 server that never stops answering, one byte at a time."""

from __future__ import annotations

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

    def _drip(self, first: bytes) -> None:
        self.wfile.write(first)
        while True:
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(STEP)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def dripping() -> Iterator[Drip]:
    """Such a server on loopback."""
    server = Drip(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
