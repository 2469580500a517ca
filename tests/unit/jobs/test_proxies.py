"""Endpoints behind a proxy: asked through it, beside it where NO_PROXY says so, and what it refuses is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from flywheel_api.round import Role
from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.endpoints.transport import Http, NoReply
from flywheel_jobs.endpoints.wire import Reply

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
REFUSAL = b"HTTP/1.1 403 Forbidden by policy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def proxy(answer: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    """Its address, and the first lines of what it was asked."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b"\r\n")[0].decode())
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def send(url: str) -> Reply:
    transport = Http(ResolvedEndpoint(role=Role.TEACHER, url=url, model="m"))
    try:
        return await transport.send("POST", "/chat/completions", {}, 5)
    finally:
        await transport.aclose()


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def test_an_endpoint_is_asked_through_the_proxy_that_the_pod_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(ANSWER) as (address, asked):
        monkeypatch.setenv("HTTP_PROXY", address)
        assert (await send("http://teacher.example/v1")).status == 200
        assert asked == ["POST http://teacher.example/v1/chat/completions HTTP/1.1"]


async def test_what_no_proxy_names_is_asked_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(ANSWER) as (pool, asked):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,.svc")
        assert (await send(f"{pool}/v1")).status == 200
        assert asked == ["POST /v1/chat/completions HTTP/1.1"]


async def test_a_proxy_that_refuses_is_an_outage_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(REFUSAL) as (address, asked):
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises(NoReply, match="the proxy answers 403 Forbidden by policy: look at HTTPS_PROXY") as refused:
            await send("https://teacher.example/v1")
        assert not refused.value.sent and asked == ["CONNECT teacher.example:443 HTTP/1.1"]


async def test_a_proxy_that_is_not_there_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(NoReply, match=r"127\.0\.0\.1:9") as refused:
        await send("https://teacher.example/v1")
    assert not refused.value.sent
