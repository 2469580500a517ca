"""HTTP to one endpoint: pooled, with its key, never to another address; and nothing else than a reply or none."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from flywheel_api.base import secret_value
from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.endpoints.wire import Reply

CONNECT_SECONDS = 10


class NoReply(Exception):
    """Nothing that can be read came back. `sent`: the server may have worked on it; `timed_out`: it had its time."""

    def __init__(self, why: str, sent: bool = True, timed_out: bool = False) -> None:
        super().__init__(why)
        self.sent = sent
        self.timed_out = timed_out


class Transport(Protocol):
    """How requests reach an endpoint."""

    async def send(self, method: str, path: str, body: Mapping[str, object] | None, seconds: float) -> Reply:
        """The reply. Raises NoReply, and ValidationFailure for a request that cannot be made at all."""
        ...

    async def aclose(self) -> None:
        """Closes the connections."""
        ...


@functools.lru_cache(64)
def joined(base: str, path: str) -> str:
    """The address of a path below a base URL, whose query is kept (`?api-version=` of some vendors)."""
    parts = urlsplit(base)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))


def proxy_of(url: str) -> str | None:
    """The proxy that the pod's variables name for an address (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), if any."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _key(endpoint: ResolvedEndpoint) -> str:
    """The API key, if the role has one. Raises ValidationFailure for what is none."""
    if not endpoint.api_key_env:
        return ""
    try:
        return secret_value(os.environ.get(endpoint.api_key_env, ""))
    except ValueError as error:
        raise ValidationFailure(f"the API key of role {endpoint.role} {error}") from error


class Http:
    """The transport of production. Create inside a running loop; raises ValidationFailure for a key that is none."""

    def __init__(self, endpoint: ResolvedEndpoint) -> None:
        self._role = endpoint.role
        self._base = endpoint.url
        self._key = _key(endpoint)
        self._headers = endpoint.headers
        self._limit = endpoint.concurrency + 1
        self._session: aiohttp.ClientSession | None = None

    async def send(self, method: str, path: str, body: Mapping[str, object] | None, seconds: float) -> Reply:
        """One request; redirects are replies like any other."""
        limit = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with self._open().request(
                method, joined(self._base, path), json=body, timeout=limit, allow_redirects=False
            ) as response:
                headers = {k.lower(): v for k, v in response.headers.items()}
                return Reply(response.status, await response.read(), headers)
        except TimeoutError as error:
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            raise NoReply(f"no answer within {seconds:g} s", sent=not connecting, timed_out=not connecting) from error
        except aiohttp.ClientHttpProxyError as error:
            why = f"the proxy answers {error.status} {error.message}: look at HTTPS_PROXY and NO_PROXY of this pod"
            raise NoReply(why, sent=False) from error
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise NoReply(f"{type(error).__name__} {error}".strip(), sent=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoReply(f"{type(error).__name__} {error}".strip()) from error
        except ValueError as error:
            raise ValidationFailure(
                f"no request can be made for role {self._role}: {error}; check the endpoint's url and apiKey"
            ) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # a vote is a sample of its own: no gateway should answer it from a cache
            headers = {**self._headers, "Cache-Control": "no-cache"}
            headers |= {"Authorization": f"Bearer {self._key}"} if self._key else {}
            # trust_env would look the proxy up for each request, in a thread: 0.4 ms of CPU
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._limit, ttl_dns_cache=30),
                headers=headers,
                proxy=proxy_of(self._base),
                trust_env=False,
            )
        return self._session

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
