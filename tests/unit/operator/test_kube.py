"""What the Kubernetes port makes of answers, and that it asks as the API server wants to be asked."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from flywheel_operator.ports.errors import Conflict, Forbidden, NotFound, PortError, Retryable, Terminal
from flywheel_operator.ports.kinds import JOBS, ROUNDS
from flywheel_operator.ports.kube import Kube, error_of
from flywheel_operator.ports.login import Login

Object = dict[str, Any]
Answer = Callable[[web.Request, str], web.StreamResponse]


class Server:
    """Answers as told and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str]] = []
        self.answer: Answer = lambda request, body: web.json_response({})
        self.delay = 0.0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.asked.append((request.method, request.path_qs, request.content_type, body))
        await asyncio.sleep(self.delay)
        return self.answer(request, body)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (tmp_path / "config").write_text(
        json.dumps(
            {
                "current-context": "x",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )
    yield found
    await runner.cleanup()


@pytest.fixture
async def kube(server: Server, tmp_path: Path) -> AsyncIterator[Kube]:
    async with Kube(Login(tmp_path / "config"), timeout=20) as found:
        yield found


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound),
        (409, Conflict),
        (403, Forbidden),
        (401, Forbidden),
        (410, Retryable),
        (429, Retryable),
        (500, Retryable),
        (503, Retryable),
        (400, Terminal),
        (422, Terminal),
    ],
)
def test_errors_are_a_closed_set(status: int, kind: type[PortError]) -> None:
    found = error_of(status, '{"message": "the server says why"}', "7", "POST /x")
    assert isinstance(found, kind) and "the server says why" in str(found)
    assert not isinstance(found, Retryable) or found.after == (7 if status != 410 else None)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("7", 7),
        (timedelta(hours=1), 3600),
        (timedelta(hours=-1), 0),
        (None, None),
        ("soon", None),
        ("-3", None),
        ("99 Foo", None),
    ],
)
async def test_retry_after_is_seconds_or_a_date(
    kube: Kube, server: Server, status: int, header: str | timedelta | None, after: float | None
) -> None:
    if isinstance(header, timedelta):
        header = format_datetime(datetime.now(UTC) + header, usegmt=True)
    headers = {"Retry-After": header} if header else {}
    server.answer = lambda request, body: web.Response(status=status, headers=headers)
    with pytest.raises(Retryable) as caught:
        await kube.get(ROUNDS, "ns", "r")
    assert caught.value.after == (None if after is None else pytest.approx(after, abs=60))
    assert len(server.asked) == 1, "patience is the queue's, not the client's"


async def test_a_server_that_is_slow_away_or_mad_is_asked_again_later(kube: Kube, server: Server) -> None:
    server.answer = lambda request, body: web.Response(text="<html>")
    with pytest.raises(Retryable, match="JSONDecodeError"):
        await kube.get(ROUNDS, "ns", "r")
    server.delay = 5
    kube._timeout = aiohttp.ClientTimeout(total=0.2)
    with pytest.raises(Retryable, match="TimeoutError"):
        await kube.get(ROUNDS, "ns", "r")


async def test_a_list_is_read_page_by_page(kube: Kube, server: Server) -> None:
    def pages(request: web.Request, body: str) -> web.Response:
        last = "continue" in request.query
        items = [{"metadata": {"name": "b" if last else "a"}}]
        return web.json_response({"metadata": {} if last else {"continue": "a/b+c="}, "items": items})

    server.answer = pages
    found = await kube.list(JOBS, None, {"a/b": "c", "d": "e"})
    assert [(o["kind"], o["apiVersion"], o["metadata"]["name"]) for o in found] == [
        ("Job", "batch/v1", "a"),
        ("Job", "batch/v1", "b"),
    ]
    first, second = ((URL(path).path, dict(URL(path).query)) for _, path, _, _ in server.asked)
    assert first == ("/apis/batch/v1/jobs", {"limit": "250", "labelSelector": "a/b=c,d=e"})
    assert second == (first[0], first[1] | {"continue": "a/b+c="})


async def test_writes_are_what_the_api_server_wants(kube: Kube, server: Server) -> None:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "ns"}, "spec": {}}
    await kube.create(body)
    await kube.apply(body)
    obj = {
        "apiVersion": "flywheel.dev/v1alpha1",
        "kind": "FlywheelRound",
        "metadata": {"name": "r", "namespace": "ns", "uid": "u", "resourceVersion": "5", "generation": 3},
    }
    await kube.patch_status(obj, {"stage": "é"})
    await kube.delete(ROUNDS, "ns", "r", "u")
    status = "/apis/flywheel.dev/v1alpha1/namespaces/ns/flywheelrounds/r"
    assert [(method, path, kind) for method, path, kind, _ in server.asked] == [
        (
            "POST",
            "/api/v1/namespaces/ns/services?fieldManager=flywheel&fieldValidation=Strict",
            "application/json",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/ns/services/s?fieldManager=flywheel&force=true",
            "application/apply-patch+yaml",
        ),
        ("PATCH", f"{status}/status?fieldManager=flywheel&force=true", "application/apply-patch+yaml"),
        ("DELETE", status, "application/json"),
    ]
    sent = [json.loads(text) for *_, text in server.asked]
    assert sent[:2] == [body, body]
    assert sent[2]["metadata"] == {"name": "r", "namespace": "ns", "uid": "u", "resourceVersion": "5"}
    assert sent[2]["status"] == {"stage": "é"}
    assert sent[3]["preconditions"] == {"uid": "u"}
    assert kube.writes == 4


def test_generated_models_are_not_imported() -> None:
    """The official client has over a thousand; kopf takes three of them to recognise them in what users return."""
    code = "import sys, flywheel_operator.__main__; print(*(m for m in sys.modules if m.startswith('kubernetes')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "kubernetes.aio.client.api_client" in modules
    assert sum(".models." in m or ".api." in m for m in modules) <= 3
