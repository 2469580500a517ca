"""Kubernetes through the official client's transport: plain JSON bodies, server-side apply, typed errors.

The client's thousand generated models are never imported: they cost memory and know nothing of our kinds.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from flywheel_api import __version__
from flywheel_api.names import FIELD_MANAGER
from flywheel_operator.ports.errors import Conflict, Forbidden, NotFound, PortError, Retryable, Terminal
from flywheel_operator.ports.kinds import BY_KIND, EVENTS, Object, Resource
from flywheel_operator.ports.login import Login

PAGE = 250
APPLY = "application/apply-patch+yaml"
_SERVED_FOR = 5.0


class Kube:
    """Implements `KubeApi`. Use as an async context manager: it opens the login and closes it."""

    def __init__(self, login: Login, timeout: float = 30.0) -> None:
        self._login = login
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._served: dict[str, tuple[float, frozenset[str]]] = {}
        self.reads = self.writes = 0

    async def __aenter__(self) -> Kube:
        await self._login.open()
        self._login.client.user_agent = f"flywheel-operator/{__version__}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._login.close()

    async def events(self, namespace: str, fields: dict[str, str]) -> list[Object]:
        """See KubeApi."""
        query = {"fieldSelector": ",".join(f"{k}={v}" for k, v in fields.items()), "limit": str(PAGE)}
        return list((await self._read(path_of(EVENTS, namespace), query)).get("items") or [])

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """See KubeApi."""
        try:
            return await self._read(path_of(resource, namespace, name))
        except NotFound:
            return None

    async def refresh(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """See KubeApi."""
        return await self.get(resource, namespace, name)

    async def pages(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> AsyncIterator[list[Object]]:
        """See KubeApi."""
        query = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
        while True:
            try:
                page = await self._read(path_of(resource, namespace), query)
            except NotFound:
                return
            common = {"apiVersion": resource.api_version, "kind": resource.kind}
            yield [common | item for item in page.get("items") or []]
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def list(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        """See KubeApi."""
        return [obj async for page in self.pages(resource, namespace, labels) for obj in page]

    async def create(self, body: Object) -> Object:
        """See KubeApi."""
        resource = BY_KIND[body["kind"]]
        self.writes += 1
        return await self._call(
            "POST",
            path_of(resource, body["metadata"]["namespace"]),
            {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
            body,
        )

    async def apply(self, body: Object) -> Object:
        """See KubeApi."""
        meta = body["metadata"]
        self.writes += 1
        return await self._apply(path_of(BY_KIND[body["kind"]], meta["namespace"], meta["name"]), body)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> Object | None:
        """See KubeApi."""
        self.writes += 1
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            left = await self._call("DELETE", path_of(resource, namespace, name), None, options)
        except NotFound:
            return None
        except Conflict:
            return None  # another incarnation has that name: ours is gone
        # gone at once is answered with a Status, and for some kinds with the object as it was
        return left if "deletionTimestamp" in left.get("metadata", {}) else None

    async def patch_status(self, obj: Object, status: Object) -> Object:
        """See KubeApi. The resource version makes it a compare-and-swap: two operators cannot both start an attempt."""
        meta = obj["metadata"]
        body = {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "metadata": {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion")},
            "status": status,
        }
        self.writes += 1
        return await self._apply(path_of(BY_KIND[obj["kind"]], meta["namespace"], meta["name"]) + "/status", body)

    async def served(self, api_version: str) -> frozenset[str]:
        """See KubeApi. Believed for 5 s."""
        known = self._served.get(api_version)
        if known and time.monotonic() - known[0] < _SERVED_FOR:
            return known[1]
        try:
            found = await self._read(f"/apis/{api_version}")
            answer = frozenset(resource["name"] for resource in found["resources"])
        except NotFound:
            answer = frozenset()
        self._served[api_version] = (time.monotonic(), answer)
        return answer

    async def _read(self, path: str, query: dict[str, str] | None = None) -> Object:
        self.reads += 1
        return await self._call("GET", path, query)

    async def _apply(self, path: str, body: Object) -> Object:
        return await self._call("PATCH", path, {"fieldManager": FIELD_MANAGER, "force": "true"}, body, APPLY)

    async def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        client, what = self._login.client, f"{method} {path}"
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        try:
            # without the body: it is plain JSON, and the client would look for its own models in all of it
            _, url, headers, _, _ = await client.param_serialize(
                method, path, query_params=[*(query or {}).items()], header_params=headers
            )
            answer = await client.call_api(method, url, headers, body, _request_timeout=self._timeout)
            text = (await answer.read()).decode()
            if answer.status < 300:
                return dict(json.loads(text)) if text else {}
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise Retryable(f"{what}: {type(error).__name__}: {error}") from error
        raise error_of(answer.status, text, answer.headers.get("Retry-After"), what)


def path_of(resource: Resource, namespace: str | None, name: str | None = None) -> str:
    """URL path of a collection or an object."""
    space = f"/namespaces/{namespace}" if namespace else ""
    return f"{resource.base}{space}/{resource.plural}" + (f"/{name}" if name else "")


def error_of(status: int, text: str, retry_after: str | None, what: str) -> PortError:
    """The typed error of an answer; the message is the API server's own."""
    message = f"{what}: {status} {_message(text)}"
    if status == 404:
        return NotFound(message)
    if status == 409:
        return Conflict(message)
    if status in (401, 403):
        # a full quota answers 403 too; it mends itself, but only a person or time can do it
        return Forbidden(message)
    if status == 429 or status >= 500:
        return Retryable(message, _seconds(retry_after))
    if status == 410:
        return Retryable(message)  # a list took longer than the server keeps its version: from the start
    return Terminal(message)


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header, which is a number of seconds or an HTTP date, in seconds from now."""
    if not retry_after:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _message(text: str) -> str:
    try:
        parsed: Any = json.loads(text)
        return str(parsed.get("message", ""))[:900] if isinstance(parsed, dict) else text[:200]
    except json.JSONDecodeError:
        return text[:200]
