"""A mirror of a model hub in this process: files of a test's own through the hub's protocol, and faults on demand."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from aiohttp import web

from contract.thread_server import served

M = TypeVar("M", bound="Mirror")
COMMIT = "c0ffee" + "0" * 34
REPO = "acme/small-1"


@dataclass
class Mirror:
    """One repository of one commit."""

    files: Mapping[str, bytes]
    repo: str = REPO
    url: str = ""
    licence: str = "apache-2.0"
    token: str | None = None
    faults: list[int] = field(default_factory=list)
    """Statuses of the next answers; 0 cuts the connection."""
    gated: bool = False
    private: bool = False
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
        asks = not path.startswith("/large/")  # such addresses are signed
        if asks and self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, headers={"X-Error-Code": "RepoNotFound"})
        return await self.answer(request)

    @property
    def head(self) -> str:
        """Its newest commit."""
        return COMMIT

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """What is asked of somebody who may ask."""
        path = request.path
        if path.startswith(f"/api/models/{self.repo}/revision/") or path == f"/api/models/{self.repo}":
            return self._info(path.partition("/revision/")[2] or "main")
        prefix = f"/{self.repo}/resolve/{COMMIT}/"
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
        return web.json_response(
            {"id": self.repo, "sha": self.head, "private": self.private, "siblings": siblings, "cardData": card}
        )

    def _file(self, request: web.Request, name: str) -> web.Response:
        if self.cut and request.transport is not None:
            request.transport.close()
        if self.gated:
            return web.Response(status=403, headers={"X-Error-Code": "GatedRepo"})
        data = self.files[name]
        tag = sha(data) if _large(name) else hashlib.sha1(data).hexdigest()
        body = data if name != self.damaged else b"\0" + data[1:]
        headers = {"X-Repo-Commit": self.head, "ETag": f'"{tag}"', "Accept-Ranges": "bytes"}
        return web.Response(body=body, headers=headers)


def _large(name: str) -> bool:
    return name.endswith(".safetensors")


@lru_cache(maxsize=16)  # a hub knows it: worked out at each request, it was a third of what its process took
def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class WritableHub(Mirror):
    """A hub that takes repositories, large files and commits, as the library for it sends them."""

    files: dict[str, bytes] = field(default_factory=dict)
    exists: bool = False
    private: bool = True
    role: str = "write"
    scopes: list[str] = field(default_factory=list)
    users: bool = True
    large: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)
    """Messages."""
    lose: int = 0
    """Answers to a commit that get lost although it was made."""
    others: list[dict[str, bytes]] = field(default_factory=list)
    """What somebody else commits, each just before the next commit arrives."""
    overtaken: int = 412
    """What is said to that one."""

    @property
    def head(self) -> str:
        return hashlib.sha1("".join(self.commits).encode()).hexdigest()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path, api = request.path, f"/api/models/{REPO}"
        if path == "/api/whoami-v2":
            scoped = [{"entity": {"type": "org", "name": "acme"}, "permissions": self.scopes}]
            token = {"role": self.role, "fineGrained": {"scoped": scoped}}
            return web.json_response({"name": "me", "auth": {"accessToken": token}}, status=200 if self.users else 404)
        if path == "/api/validate-yaml":
            return web.json_response({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(await request.json())
        if not self.exists:
            return web.Response(status=404, headers={"X-Error-Code": "RepoNotFound"})
        if path.startswith("/large/"):
            self.large[path.rpartition("/")[2]] = await request.read()
            return web.Response()
        if path == f"/{REPO}.git/info/lfs/objects/batch":
            return self._batch(await request.json())
        if path == f"{api}/preupload/main":
            return self._modes(await request.json())
        if path == f"{api}/commit/main":
            return self._commit(request, await request.text())
        if path.startswith(f"/{REPO}/resolve/{self.head}/"):
            return self._file(request, path.rpartition("/")[2])
        return self._info("main") if path in (api, f"{api}/revision/main") else web.Response(status=404)

    def _create(self, wish: dict[str, object]) -> web.Response:
        if self.exists:
            return web.json_response({"url": f"{self.url}/{REPO}"}, status=409)
        self.exists, self.private = True, wish.get("visibility") == "private"
        self.files[".gitattributes"] = b"*.safetensors filter=lfs"
        return web.json_response({"url": f"{self.url}/{REPO}"})

    def _modes(self, wish: dict[str, list[dict[str, str]]]) -> web.Response:
        def mode(path: str) -> dict[str, object]:
            have = self.files.get(path)
            plain = hashlib.sha1(b"blob %d\0" % len(have) + have).hexdigest() if have is not None else None
            oid = sha(have) if have is not None and _large(path) else plain
            return {"path": path, "uploadMode": "lfs" if _large(path) else "regular", "shouldIgnore": False, "oid": oid}

        return web.json_response({"files": [mode(f["path"]) for f in wish["files"]]})

    def _batch(self, wish: dict[str, list[dict[str, object]]]) -> web.Response:
        objects = []
        for wanted in wish["objects"]:
            upload = {"upload": {"href": f"{self.url}/large/{wanted['oid']}"}}
            objects.append(wanted | ({} if wanted["oid"] in self.large else {"actions": upload}))
        return web.json_response({"transfer": "basic", "objects": objects})

    def _commit(self, request: web.Request, text: str) -> web.Response:
        said = [json.loads(line) for line in text.splitlines()]
        header = next(s["value"] for s in said if s["key"] == "header")
        if self.others:
            self.files |= self.others.pop(0)
            self.commits.append("by somebody else")
        if header.get("parentCommit") not in (None, self.head):
            return web.Response(status=self.overtaken, text="A commit has happened since.")
        for change in said:
            value = change["value"]
            if change["key"] == "lfsFile":
                self.files[value["path"]] = self.large[value["oid"]]
            elif change["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
        self.commits.append(header["summary"])
        if self.lose and request.transport is not None:
            self.lose -= 1
            request.transport.close()
        return web.json_response({"commitUrl": f"{self.url}/{REPO}/commit/{self.head}", "commitOid": self.head})


@contextmanager
def writable(**more: object) -> Iterator[WritableHub]:
    """A hub that can be written to, while the block runs."""
    with _answering(WritableHub(**more)) as made:  # type: ignore[arg-type]
        yield made


@contextmanager
def mirror(files: Mapping[str, bytes], **more: object) -> Iterator[Mirror]:
    """A mirror that answers while the block runs, in a thread of its own."""
    with _answering(Mirror(files, **more)) as made:  # type: ignore[arg-type]
        yield made


@contextmanager
def _answering(made: M) -> Iterator[M]:
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{any:.*}", made.handle)
    with served(app) as port:
        made.url = f"http://127.0.0.1:{port}"
        yield made
