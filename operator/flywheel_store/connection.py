"""Connections to an S3 server: time limits that hold whatever trickles, certificates from memory, repeated requests.

urllib3 limits each wait for the socket, not a call: a server that sends a byte every second is never timed out, and a
whole request body must be sent within one limit. So sockets are our own: every piece sent or received has the limit
`silence`, and all of a call together `total`.
"""

from __future__ import annotations

import functools
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import urllib3
from minio import Minio
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from flywheel_store.backoff import delay
from flywheel_store.errors import StoreUnavailable, problem_of
from flywheel_store.settings import StoreSettings, tls_context

T = TypeVar("T")
BACKOFF_BASE, BACKOFF_CAP = 0.25, 8.0
PIECE = 256 << 10  # bytes of a request body that are sent under one time limit
CONNECTIONS = 32
_QUIET_TRIES = 2  # trouble that passes within so many tries is not worth a line in the log
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds.

    For a connection, for a socket that is silent, for a whole call (None: no limit), and for trouble to pass.
    """

    connect: float = 5.0
    silence: float = 60.0
    total: float | None = None
    patience: float = 90.0


_deadline = threading.local()


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Bounds everything that this thread sends and receives; TimeoutError after that."""
    before = getattr(_deadline, "at", None)
    _deadline.at = before if seconds is None else time.monotonic() + seconds
    try:
        yield
    finally:
        _deadline.at = before


class _Bounded(socket.socket):
    """Sends in pieces and receives within the call's limit."""

    def _bound(self) -> None:
        at = getattr(_deadline, "at", None)
        if at is not None:
            left = at - time.monotonic()
            if left <= 0:
                raise TimeoutError("the call took too long")
            self.settimeout(min(self.gettimeout() or left, left))

    def recv_into(self, *args: Any) -> int:
        self._bound()
        return super().recv_into(*args)

    def sendall(self, data: Any, flags: int = 0) -> None:
        view = memoryview(data).cast("B")
        for start in range(0, len(view), PIECE):
            self._bound()
            super().sendall(view[start : start + PIECE], flags)


class _BoundedTls(_Bounded, ssl.SSLSocket):
    """The same over TLS."""


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        plain, self.sock = self.sock, None
        limit = plain.gettimeout()
        self.sock = _Bounded(fileno=plain.detach())
        self.sock.settimeout(limit)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


@functools.lru_cache(maxsize=32)
def _context(settings: StoreSettings) -> ssl.SSLContext | None:
    """Made once for the clients of a store: reading all authorities takes a tenth of a second."""
    context = tls_context(settings)
    if context is not None:
        context.sslsocket_class = _BoundedTls
    return context


def connect(settings: StoreSettings, limits: Limits, repeat: bool) -> Minio:
    """A client; `patiently` stands around whole calls.

    `repeat`: single requests are sent again after trouble, so that a lost part does not cost a whole multipart upload.
    Not so for conditional writes, where every outcome must be seen.
    """
    again = urllib3.Retry(
        total=3,
        backoff_factor=BACKOFF_BASE,
        backoff_jitter=BACKOFF_BASE,
        status_forcelist=(500, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=limits.connect, read=limits.silence),
        maxsize=CONNECTIONS,
        retries=again if repeat else False,
        ssl_context=_context(settings),
    )
    pool.pool_classes_by_scheme = {"http": _Pool, "https": HTTPSConnectionPool}
    return Minio(
        settings.endpoint,
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        secure=settings.secure,
        region=settings.region,
        http_client=pool,
    )


def patiently(what: str, work: Callable[[], T], settings: StoreSettings, limits: Limits) -> T:
    """Runs `work`, again after transient trouble for up to `limits.patience`.

    Raises StoreProblem: StoreUnavailable when the trouble stayed. What `work` raises of its own comes through.
    """
    started, tries = time.monotonic(), 0
    with within(limits.total):
        while True:
            try:
                return work()
            except Exception as error:
                problem = problem_of(error, settings.where, settings.bucket)
                if problem is None:
                    raise
                wait = delay(tries, BACKOFF_BASE, BACKOFF_CAP)
                spent = time.monotonic() - started
                if not isinstance(problem, StoreUnavailable) or spent + wait > limits.patience:
                    raise problem from error
                tries += 1
                if tries > _QUIET_TRIES:
                    log.warning("%s: %s (try %d, %.0f of %.0f s)", what, problem, tries, spent, limits.patience)
                time.sleep(wait)
