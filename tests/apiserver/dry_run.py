"""Objects before a real API server without a kubectl process for each: validation, admission, nothing stored."""

from __future__ import annotations

import http.client
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.kubeconfig import tls

Object = dict[str, Any]


class Refused(Exception):
    """The API server's words."""


class DryRun:
    """One connection as cluster admin."""

    def __init__(self, kubeconfig: Path) -> None:
        """`kubeconfig`: one that `cluster.kubeconfig` wrote."""
        server, context = tls(kubeconfig)
        self._connection = http.client.HTTPSConnection(urlsplit(server).netloc, context=context, timeout=60)
        self._plural = cache(self._find)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def create(self, body: Object) -> Object:
        """The object as it would be stored. Raises Refused."""
        return self._ask("POST", self._collection(body), body, "application/json", "")

    def apply(self, body: Object) -> Object:
        """The same by server-side apply, which takes objects that are there already. Raises Refused."""
        path = f"{self._collection(body)}/{body['metadata']['name']}"
        return self._ask("PATCH", path, body, "application/apply-patch+yaml", "&fieldManager=test&force=true")

    def replace(self, stored: Object, body: Object) -> Object:
        """`body` in the place of what is stored, whatever of that it does not name. Raises Refused."""
        meta = {**body["metadata"], "resourceVersion": stored["metadata"]["resourceVersion"]}
        path = f"{self._collection(body)}/{meta['name']}"
        return self._ask("PUT", path, {**body, "metadata": meta}, "application/json", "")

    def _collection(self, body: Object) -> str:
        version = body["apiVersion"]
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural, namespaced = self._plural(root, body["kind"])
        namespace = body["metadata"].get("namespace", "default")
        return f"{root}/namespaces/{namespace}/{plural}" if namespaced else f"{root}/{plural}"

    def _find(self, root: str, kind: str) -> tuple[str, bool]:
        found = self._ask("GET", root, None, "application/json", "")["resources"]
        return next((r["name"], r["namespaced"]) for r in found if r["kind"] == kind and "/" not in r["name"])

    def _ask(self, method: str, path: str, body: Object | None, content: str, query: str) -> Object:
        url = f"{path}?dryRun=All&fieldValidation=Strict{query}" if body else path
        self._connection.request(method, url, json.dumps(body) if body else None, {"Content-Type": content})
        answer = self._connection.getresponse()
        found: Object = json.loads(answer.read())
        if answer.status >= 300:
            raise Refused(f"{answer.status}: {found.get('message')}")
        return found
