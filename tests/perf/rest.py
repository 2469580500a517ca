"""A client of the API server that costs little: one session, bodies as they are, and a count of what it asked."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from cluster.kubeconfig import tls

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
CONNECTIONS = 32
OURS = ("flywheelrounds", "rolloutpools", "rljobs")
RAYS = ("rayjobs", "rayservices", "rayclusters")
CUSTOM = OURS + RAYS
_BASES = {
    **dict.fromkeys(OURS, "/apis/flywheel.dev/v1alpha1"),
    **dict.fromkeys(RAYS, "/apis/ray.io/v1"),
    "jobs": "/apis/batch/v1",
    "pods": "/api/v1",
    "services": "/api/v1",
}


class Refused(Exception):
    """The API server answered with an error; `status` is its number."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:500]}")
        self.status = status


class Rest:
    """Calls in one namespace. `asked` counts its own requests by (verb, resource), so that they can be taken off."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self.asked: Counter[tuple[str, str]] = Counter()
        self._server, self._tls = tls(kubeconfig)

    async def __aenter__(self) -> Rest:
        # watches hold a connection each
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=CONNECTIONS + 8)
        self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    def path(self, plural: str, name: str = "", part: str = "") -> str:
        """URL path of a collection, an object or a part of one."""
        found = f"{_BASES[plural]}/namespaces/{self.namespace}/{plural}"
        return "/".join(p for p in (found, name, part) if p)

    async def create(self, plural: str, body: Object) -> Object:
        """Creates an object."""
        return await self._json("POST", plural, self.path(plural), body)

    async def patch_status(self, plural: str, name: str, status: Object) -> Object:
        """Merges into a status, as the object's controller would write it."""
        return await self._json("PATCH", plural, self.path(plural, name, "status"), {"status": status}, MERGE)

    async def count(self, plural: str) -> int:
        """How many objects there are."""
        found = await self._json("GET", plural, self.path(plural) + "?limit=1", None)
        self.asked["LIST", plural] += 1
        return len(found["items"]) + int(found["metadata"].get("remainingItemCount") or 0)

    async def page(self, path: str) -> str:
        """Text of any path of the server: its metrics."""
        async with self._session.get(self._server + path) as answer:
            return await answer.text()

    async def watch(self, plural: str) -> AsyncIterator[tuple[str, Object]]:
        """(type, object) of what exists and of every change, for ever; a broken watch begins anew."""
        while True:
            try:
                async for event in self._watch(plural):
                    yield event
            except (aiohttp.ClientError, TimeoutError, Refused):
                await asyncio.sleep(0.2)

    async def _watch(self, plural: str) -> AsyncIterator[tuple[str, Object]]:
        url = f"{self._server}{self.path(plural)}?watch=1"
        async with self._session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            if answer.status != 200:  # a new kind is not served everywhere at once
                raise Refused(answer.status, await answer.text())
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    yield event["type"], event["object"]

    async def _json(
        self, verb: str, plural: str, path: str, body: Object | None, content_type: str = "application/json"
    ) -> Object:
        headers = {"Content-Type": content_type}
        async with self._session.request(
            verb, self._server + path, data=None if body is None else json.dumps(body), headers=headers
        ) as answer:
            text = await answer.text()
        self.asked[verb, plural] += verb != "GET"  # as the API server counts: when it is over
        if answer.status >= 300:
            raise Refused(answer.status, text)
        found: Object = json.loads(text)
        return found
