"""Who we are to the API server: the official client's configuration, kept fresh, for our port and for kopf's watch.

In a cluster, kubeconfig with tokens, certificates, exec plugins and OIDC: all of it is `kubernetes.aio.config`. What it
leaves to its users is here: credentials are loaded anew every minute and after a 401, for every session that is made.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from flywheel_operator.logs import get_logger
from flywheel_operator.ports.errors import Terminal

log = get_logger(__name__)

RENEW_AFTER = 60.0  # seconds
_LOAD_WITHIN = 30.0  # seconds; an exec plugin may hang
_CONNECTIONS = 64
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def find_kubeconfig() -> str | None:
    """$KUBECONFIG; else None in a pod with a service account; else ~/.kube/config. Raises Terminal with the fix."""
    named = os.environ.get("KUBECONFIG")
    if named or _SERVICE_ACCOUNT.exists():
        return named or None
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return str(default)
    raise Terminal("no cluster: set KUBECONFIG or run in a pod with a service account token")


class Login:
    """One identity. `open` before use; `client` and every `session` carry the credentials that are current."""

    def __init__(self, kubeconfig: str | Path | None = None) -> None:
        """`kubeconfig` is a path, or several as in $KUBECONFIG; None is the pod's service account."""
        self._kubeconfig = None if kubeconfig is None else str(kubeconfig)
        self._configuration = Configuration()
        self._configuration.connection_pool_maxsize = _CONNECTIONS
        # a proxy is what kubeconfig names, not what the environment has for the rest of the world
        self._configuration.client_session_kwargs = {"middlewares": (self._authorize,), "trust_env": False}
        self._loader: config.kube_config.KubeConfigLoader | None = None
        self._loaded_at = 0.0
        self._busy = asyncio.Lock()

    async def open(self) -> None:
        """Loads the credentials. Raises Terminal when there are none, or when they cannot be read."""
        source = self._kubeconfig or "service account"
        try:
            await self._load()
        except Exception as error:  # whatever the library and plugins raise: a file is wrong, a person must act
            raise Terminal(f"{source}: {type(error).__name__}: {error}") from error
        if self.server.startswith("https") and not self._header() and not self._configuration.cert_file:
            raise Terminal(f"{source}: no token or certificate came of it; does its exec plugin work?")
        self.client = ApiClient(self._configuration)

    @property
    def server(self) -> str:
        """Address of the API server."""
        return str(self._configuration.host)

    def session(self) -> ClientSession:
        """A session of its own for long streams; the caller closes it."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self.client.rest_client.ssl_context)
        return ClientSession(
            connector=connector, proxy=self._configuration.proxy, **self._configuration.client_session_kwargs
        )

    async def close(self) -> None:
        """Closes the client."""
        await self.client.close()

    async def _authorize(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Middleware of every session: current credentials, and one more try with new ones after a 401."""
        if time.monotonic() - self._loaded_at > RENEW_AFTER and not self._busy.locked():
            await self._renew()
        sent = self._identify(request)
        answer = await handler(request)
        if answer.status != 401:
            return answer
        if self._header() == sent:
            await self._renew(forget=True)
        if self._header() == sent:
            return answer
        answer.release()
        self._identify(request)
        return await handler(request)

    def _identify(self, request: ClientRequest) -> str:
        header = self._header()
        if header:
            request.headers["Authorization"] = header
        if self._configuration.tls_server_name:
            request.server_hostname = self._configuration.tls_server_name
        return header

    def _header(self) -> str:
        # a token file may end with a newline, which no header can carry
        return str(self._configuration.api_key.get("BearerToken") or "").strip()

    async def _renew(self, forget: bool = False) -> None:
        """Loads again; what cannot be loaded leaves the credentials as they are. `forget` drops cached ones."""
        async with self._busy:
            self._loaded_at = time.monotonic()
            try:
                await self._load(forget)
                if self._configuration.cert_file:
                    context = self.client.rest_client.ssl_context
                    context.load_cert_chain(self._configuration.cert_file, self._configuration.key_file)
            except Exception as error:  # as in `open`, but the old credentials may well be good for a while
                log.warning("credentials not renewed", error=f"{type(error).__name__}: {error}")

    async def _load(self, forget: bool = False) -> None:
        async with asyncio.timeout(_LOAD_WITHIN):
            if self._kubeconfig is None:
                config.load_incluster_config(self._configuration, try_refresh_token=False)
            elif self._loader is None or forget:
                self._loader = await config.load_kube_config(
                    self._kubeconfig, client_configuration=self._configuration, persist_config=False
                )
            else:  # the loader knows when a plugin's or OIDC's token expires
                await self._loader.load_and_set(self._configuration)
        self._loaded_at = time.monotonic()
