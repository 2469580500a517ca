"""Kubernetes over plain REST: only what the operator needs, with server-side apply and typed errors."""

from __future__ import annotations

import json
import time
from typing import Any

import aiohttp

from flywheel_api.names import FIELD_MANAGER
from flywheel_operator.ports.credentials import Access
from flywheel_operator.ports.errors import Conflict, Forbidden, NotFound, PortError, Retryable, Terminal
from flywheel_operator.ports.kinds import BY_KIND, Object, Resource

PAGE = 500
APPLY = "application/apply-patch+yaml"
_SERVED_FOR = 15.0


class Kube:
    """Implements `KubeApi`. One pooled session; use as an async context manager."""

    def __init__(self, access: Access, timeout: float = 30.0) -> None:
        self._access = access
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._served: dict[str, tuple[float, bool]] = {}
        self.writes = 0

    async def __aenter__(self) -> Kube:
        connector = aiohttp.TCPConnector(ssl=self._access.ssl_context or False, limit=64)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False)
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """See KubeApi."""
        try:
            return await self._call("GET", path_of(resource, namespace, name))
        except NotFound:
            return None

    async def list(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        """See KubeApi. Reads pages of 500."""
        query = {"limit": str(PAGE)}
        if labels:
            query["labelSelector"] = ",".join(f"{k}={v}" for k, v in sorted(labels.items()))
        found: list[Object] = []
        while True:
            try:
                page = await self._call("GET", path_of(resource, namespace), query)
            except NotFound:
                return []
            for item in page.get("items") or []:
                found.append({"apiVersion": resource.api_version, "kind": resource.kind, **item})
            token = page.get("metadata", {}).get("continue")
            if not token:
                return found
            query["continue"] = token

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

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """See KubeApi."""
        self.writes += 1
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._call("DELETE", path_of(resource, namespace, name), None, options)
        except NotFound:
            return
        except Conflict:
            return  # another incarnation has that name: ours is gone

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

    async def served(self, api_version: str) -> bool:
        """See KubeApi. Believed for 15 s."""
        known = self._served.get(api_version)
        if known and time.monotonic() - known[0] < _SERVED_FOR:
            return known[1]
        try:
            await self._call("GET", f"/apis/{api_version}")
            answer = True
        except NotFound:
            answer = False
        self._served[api_version] = (time.monotonic(), answer)
        return answer

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
        if self._session is None:
            raise RuntimeError("use Kube as an async context manager")
        headers = self._access.headers() | {"Content-Type": content_type, "Accept": "application/json"}
        data = None if body is None else json.dumps(body)
        try:
            async with self._session.request(
                method, self._access.server + path, params=query, data=data, headers=headers
            ) as answer:
                text = await answer.text()
                if answer.status < 300:
                    return dict(json.loads(text)) if text else {}
                raise error_of(answer.status, text, answer.headers.get("Retry-After"), f"{method} {path}")
        except (TimeoutError, aiohttp.ClientError, json.JSONDecodeError) as error:
            raise Retryable(f"{method} {path}: {type(error).__name__}: {error}") from error


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
        return Retryable(message, float(retry_after) if retry_after and retry_after.isdigit() else None)
    return Terminal(message)


def _message(text: str) -> str:
    try:
        parsed: Any = json.loads(text)
        return str(parsed.get("message", ""))[:900] if isinstance(parsed, dict) else text[:200]
    except json.JSONDecodeError:
        return text[:200]
