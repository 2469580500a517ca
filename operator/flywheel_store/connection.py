"""Connections to an S3 server: time limits that hold whatever trickles, certificates from memory, patience.

urllib3 limits each wait for the socket, not a call, and while a body is sent its limit is the one for connecting: a
server that sends a byte every second is never timed out, and a slow line never ends. So sockets are our own: every
piece that is sent or received has the limit `silence`, and all of a call together `total`.
"""

from __future__ import annotations

import fcntl
import functools
import logging
import math
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from flywheel_store.backoff import delay
from flywheel_store.errors import StoreUnavailable, problem_of
from flywheel_store.settings import StoreSettings, tls_context

T = TypeVar("T")
BACKOFF_BASE, BACKOFF_CAP = 0.25, 8.0
PIECE = 64 << 10  # bytes of a request body that are sent under one time limit
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

    silence = 60.0

    def _bound(self) -> None:
        at = getattr(_deadline, "at", None)
        if at is not None:
            left = at - time.monotonic()
            if left <= 0:
                raise TimeoutError("the call took too long")
            self.settimeout(min(self.gettimeout() or left, left))

    def _queued(self) -> int:
        """Bytes that were sent and that the other side has not taken yet."""
        return int(struct.unpack("i", fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0])

    def recv_into(self, *args: Any) -> int:
        while True:
            self._bound()
            queued = self._queued()
            try:
                return super().recv_into(*args)
            except TimeoutError:
                if self._queued() >= queued:  # else the end of a body is still on its way over a slow line
                    raise

    def sendall(self, data: Any, flags: int = 0) -> None:
        view = memoryview(data).cast("B")
        self.settimeout(self.silence)  # urllib3 leaves the limit for connecting here
        for start in range(0, len(view), PIECE):
            self._bound()
            super().sendall(view[start : start + PIECE], flags)


class _BoundedTls(_Bounded, ssl.SSLSocket):
    """The same over TLS."""


def _pools(silence: float) -> dict[str, type[HTTPConnectionPool]]:
    """Pools of connections that wait for `silence` seconds once they stand."""

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            plain, self.sock = self.sock, None
            self.sock = _Bounded(fileno=plain.detach())
            self.sock.silence = silence

    class Tls(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, _Bounded):  # not so through a proxy that speaks TLS itself
                self.sock.silence = silence

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}


@functools.lru_cache(maxsize=32)
def _context(settings: StoreSettings) -> ssl.SSLContext | None:
    """Made once for the clients of a store: reading all authorities takes a tenth of a second."""
    context = tls_context(settings)
    if context is not None:
        context.sslsocket_class = _BoundedTls
    return context


def pool_of(settings: StoreSettings, limits: Limits) -> urllib3.PoolManager:
    """Connections to a store that repeat nothing and follow no redirect: every outcome is seen by the caller."""
    pool = manager(proxy_for(settings.where), limits, _context(settings))
    pool.pool_classes_by_scheme = _pools(limits.silence)
    return pool


def manager(proxy: str | None, limits: Limits, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    """Connections that repeat nothing, through a proxy if there is one."""
    more: dict[str, Any] = {
        "timeout": urllib3.Timeout(connect=limits.connect, read=limits.silence),
        "maxsize": CONNECTIONS,
        "retries": False,
        "ssl_context": context,
    }
    if proxy is None:
        return urllib3.PoolManager(**more)
    user = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=unquote(user)) if user else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **more)


def proxy_for(url: str) -> str | None:
    """The proxy that this pod's variables (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY) name for an address."""
    at, proxies = urlsplit(url), getproxies_environment()
    found = proxies.get(at.scheme) or proxies.get("all")
    if not found or proxy_bypass(at.netloc):
        return None
    return found if "://" in found else f"http://{found}"


class Patience:
    """How long one thing has been in trouble. A try that got further than any before it begins anew."""

    def __init__(self, what: str, settings: StoreSettings, limits: Limits) -> None:
        self._what, self._settings, self._limits = what, settings, limits
        self._since, self._tries, self._best = 0.0, 0, 0

    def after(self, error: Exception, reached: int = 0) -> None:
        """Waits before the next try. Raises StoreProblem when none may help, `error` if it is not the store's."""
        problem = problem_of(error, self._settings.where, self._settings.bucket)
        if problem is None:
            raise error
        now = time.monotonic()
        if not self._tries or reached > self._best:
            self._since, self._tries, self._best = now, 0, reached
        wait = delay(self._tries, BACKOFF_BASE, BACKOFF_CAP)
        spent, patience = now - self._since, self._limits.patience
        late = now + wait > (getattr(_deadline, "at", None) or math.inf)
        if not isinstance(problem, StoreUnavailable) or spent + wait > patience or late:
            if problem is error:
                raise problem
            raise problem from error
        self._tries += 1
        if self._tries > _QUIET_TRIES:
            log.warning("%s: %s (try %d, %.0f of %.0f s)", self._what, problem, self._tries, spent, patience)
        time.sleep(wait)


def patiently(
    what: str,
    work: Callable[[], T],
    settings: StoreSettings,
    limits: Limits,
    reached: Callable[[], int] = lambda: 0,
) -> T:
    """Runs `work`, again after transient trouble for up to `limits.patience` without getting further.

    Raises StoreProblem: StoreUnavailable when the trouble stayed. What `work` raises of its own comes through.
    """
    patience = Patience(what, settings, limits)
    with within(limits.total):
        while True:
            try:
                return work()
            except Exception as error:
                patience.after(error, reached())
