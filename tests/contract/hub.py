"""A mirror of a model hub in this process: files of a test's own through the hub's protocol, and faults on demand."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from contract.thread_server import served

COMMIT = "c0ffee" + "0" * 34
REPO = "acme/small-1"


@dataclass
class Mirror:
    """One repository of one commit."""

    files: Mapping[str, bytes]
    url: str = ""
    licence: str = "apache-2.0"
    token: str | None = None
    faults: list[int] = field(default_factory=list)
    """Statuses of the next answers; 0 cuts the connection."""
    gated: bool = False
    damaged: str = ""
    cut: bool = False
    """Files are asked for in vain: the connection breaks."""
    asked: Counter[str] = field(default_factory=Counter)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        self.asked[f"{request.method} {path}"] += 1
        if self.faults:
            status = self.faults.pop(0)
            if status == 0 and request.transport is not None:
                request.transport.close()
            return web.Response(status=status or 500, text="busy")
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
        if path.startswith(f"/api/models/{REPO}/revision/") or path == f"/api/models/{REPO}":
            return self._info(path.partition("/revision/")[2] or "main")
        prefix = f"/{REPO}/resolve/{COMMIT}/"
        if not path.startswith(prefix) or path.removeprefix(prefix) not in self.files:
            return web.Response(status=404, headers={"X-Error-Code": "RepoNotFound"})
        return self._file(request, path.removeprefix(prefix))

    def _info(self, revision: str) -> web.Response:
        if revision not in ("main", "v1", COMMIT):
            return web.Response(status=404, headers={"X-Error-Code": "RevisionNotFound"})
        siblings = [
            {"rfilename": name, "size": len(data)}
            | ({"lfs": {"sha256": sha(data), "size": len(data), "pointerSize": 100}} if _large(name) else {})
            for name, data in self.files.items()
        ]
        card = {"license": self.licence}
        return web.json_response({"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings, "cardData": card})

    def _file(self, request: web.Request, name: str) -> web.Response:
        if self.cut and request.transport is not None:
            request.transport.close()
        if self.gated:
            return web.Response(status=403, headers={"X-Error-Code": "GatedRepo"})
        data = self.files[name]
        tag = sha(data) if _large(name) else hashlib.sha1(data).hexdigest()
        body = data if name != self.damaged else b"\0" + data[1:]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
        return web.Response(body=body, headers=headers)


def _large(name: str) -> bool:
    return name.endswith(".safetensors")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def mirror(files: Mapping[str, bytes], **more: object) -> Iterator[Mirror]:
    """A mirror that answers while the block runs, in a thread of its own."""
    made = Mirror(files, **more)  # type: ignore[arg-type]
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", made.handle)
    with served(app) as port:
        made.url = f"http://127.0.0.1:{port}"
        yield made
