"""The endpoint client against real HTTP: what is retried, what is refused, what is counted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel

from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.core.errors import BudgetExceeded, EndpointUnavailable, ItemDropped, ValidationFailure
from flywheel_jobs.endpoints import line, pace
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.structured import ask, parse
from flywheel_jobs.endpoints.transport import joined
from unit.jobs.virtual import Account

ASK = [{"role": "user", "content": "hi"}]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "BACKOFF_BASE", 0.01)
    monkeypatch.setattr(line, "BACKOFF_CAP", 0.05)
    monkeypatch.setattr(pace, "BASE", 0.01)
    monkeypatch.setattr(pace, "CAP", 0.05)


@pytest.fixture
async def client(server: Any) -> AsyncIterator[ChatClient]:
    made = ChatClient(server.endpoint(), patience_seconds=1.0)
    yield made
    await made.aclose()


async def test_answers_usage_and_identity(client: ChatClient) -> None:
    answer = await client.chat(ASK, n=3, seed=1)
    assert answer.texts == ["hi#0", "hi#1", "hi#2"] and answer.finish_reasons == ["stop"] * 3
    assert (client.usage.calls, client.usage.completion_tokens) == (1, 3)
    who = await client.identify()
    assert who.standin and who.owned_by == "flywheel-standin" and who.notice and who.model == "echo"


@pytest.mark.parametrize("fault", [{"status": 503, "first": 4}, {"malformed": True, "first": 3},
                                   {"status": 429, "retry_after": 0.05, "first": 3},
                                   {"status": 502, "inside": True, "first": 3}, {"finish": "abort", "first": 3},
                                   {"reset": True, "first": 3}, {"cut": True, "first": 3},
                                   {"hang_seconds": 0.1, "reset": True, "first": 2}])  # fmt: skip
async def test_what_passes_is_retried(server: Any, client: ChatClient, fault: dict[str, Any]) -> None:
    server.standin.faults.set(fault)
    assert (await client.chat(ASK)).text == "hi#0"
    assert client.usage.calls == 1


async def test_retry_after_is_honoured(server: Any, client: ChatClient) -> None:
    server.standin.faults.set({"status": 429, "retry_after": 0.6, "first": 1})
    started = time.monotonic()
    await client.chat(ASK)
    assert time.monotonic() - started >= 0.6


async def test_a_hanging_request_times_out_and_is_repeated(server: Any) -> None:
    client = ChatClient(server.endpoint(timeoutSeconds=0.2), patience_seconds=2.0)
    server.standin.faults.set({"hang_seconds": 5, "first": 1})
    started = time.monotonic()
    assert (await client.chat(ASK)).text == "hi#0"
    assert time.monotonic() - started < 2
    await client.aclose()


async def test_dead_endpoint_raises_after_patience_and_says_what_it_waits_for(server: Any) -> None:
    waits: list[str | None] = []
    client = ChatClient(server.endpoint(), patience_seconds=0.5, on_wait=waits.append)
    await client.chat(ASK)
    server.standin.faults.set({"status": 503})
    started = time.monotonic()
    with pytest.raises(EndpointUnavailable, match="has not answered"):
        await client.chat(ASK)
    assert 0.4 < time.monotonic() - started < 10
    assert waits and waits[-1] and "Teacher at http://127.0.0.1" in waits[-1] and "HTTP 503" in waits[-1]
    server.standin.faults.set({})
    again = ChatClient(server.endpoint(), patience_seconds=0.5, on_wait=waits.append)
    await again.chat(ASK)
    await client.aclose()
    await again.aclose()


async def test_a_dead_endpoint_never_drops_items(server: Any) -> None:
    client = ChatClient(server.endpoint(), patience_seconds=1.5)
    await client.chat(ASK)
    server.standin.faults.set({"status": 500})
    outcomes = await asyncio.gather(*(client.chat(ASK) for _ in range(40)), return_exceptions=True)
    assert {type(o) for o in outcomes} == {EndpointUnavailable}  # many more than POISON_TRIES tries each
    await client.aclose()


async def test_nobody_listening_is_an_endpoint_failure() -> None:

    client = ChatClient(ResolvedEndpoint(role="Solver", url="http://127.0.0.1:9/v1", model="m"), patience_seconds=0.3)
    with pytest.raises(EndpointUnavailable, match="Solver"):
        await client.chat(ASK)
    await client.aclose()


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_refusing_endpoint_stops_at_once_with_the_fix(server: Any, client: ChatClient, status: int) -> None:
    await client.chat(ASK)
    server.standin.faults.set({"status": status})
    with pytest.raises(EndpointUnavailable, match=r"check its (url|apiKey)") as refused:
        await client.chat(ASK)
    assert refused.value.reason == "EndpointRefused"


async def test_a_refused_request_is_dropped_not_retried(server: Any, client: ChatClient) -> None:
    await client.chat(ASK)
    server.standin.faults.set({"status": 400})
    with pytest.raises(ItemDropped) as dropped:
        await client.chat(ASK)
    assert dropped.value.reason == "request-refused"


async def test_structured_output_is_asked_for_and_given_up_where_unknown(server: Any, client: ChatClient) -> None:
    assert (await client.chat(ASK, schema={"type": "object"})).text == "hi#0 json"
    server.standin.faults.set({"status": 400, "first": 2})
    with pytest.raises(RequestRefused):  # refused with and without: the schema was not the reason
        await client.chat(ASK, schema={"type": "object"})
    assert (await client.chat(ASK, schema={"type": "object"})).text == "hi#0 json"
    server.standin.faults.set({"status": 400, "first": 1})
    assert (await client.chat(ASK, schema={"type": "object"})).text == "hi#0"
    assert (await client.chat(ASK, schema={"type": "object"})).text == "hi#0"


async def test_budget_stops_before_a_request(server: Any) -> None:
    client = ChatClient(server.endpoint(), lender=Account(1))
    await client.chat(ASK)
    before = server.standin.served
    with pytest.raises(BudgetExceeded, match=r"spec\.budget\.tokens"):
        await client.chat(ASK)
    assert server.standin.served == before
    await client.aclose()


async def test_concurrency_is_bounded() -> None:
    running_now, peak = 0, 0

    async def handle(_request: web.Request) -> web.Response:
        nonlocal running_now, peak
        running_now += 1
        peak = max(peak, running_now)
        await asyncio.sleep(0.01)
        running_now -= 1
        return web.json_response({"choices": [{"message": {"content": "x"}}], "data": []})

    app = web.Application()
    app.router.add_post("/v1/{rest:.*}", handle)
    async with TestServer(app) as running:
        url = str(running.make_url("/v1"))
        client = ChatClient(ResolvedEndpoint(role="Teacher", url=url, model="m", concurrency=5))
        await asyncio.gather(*(client.chat(ASK) for _ in range(60)))
        await client.aclose()
    assert peak == 5


async def test_permits_survive_cancelled_and_failed_requests(server: Any) -> None:
    client = ChatClient(server.endpoint(concurrency=2), patience_seconds=0.2)
    server.standin.faults.set({"hang_seconds": 3})
    for _ in range(5):
        task = asyncio.create_task(client.chat(ASK))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    server.standin.faults.set({})
    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(client.chat(ASK) for _ in range(200)))
    assert len(answers) == 200
    await client.aclose()


async def test_an_answer_of_another_shape_is_asked_for_again() -> None:
    """What a server does is weather: no answer of its own making, and no error of ours."""
    answers: list[Any] = [
        ["a list"],
        {"choices": [{"message": {"content": 3}}]},
        {"choices": [{"message": {"content": "4"}}]},
    ]

    async def handle(_request: web.Request) -> web.Response:
        return web.json_response(answers.pop(0))

    async def models(_request: web.Request) -> web.Response:
        return web.json_response({"data": ["no model", {"id": "m", "owned_by": "me"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as running:
        client = ChatClient(ResolvedEndpoint(role="Teacher", url=str(running.make_url("/v1")), model="m"))
        assert (await client.chat(ASK)).text == "4" and not answers
        assert (await client.identify()).owned_by == "me"
        await client.aclose()


class Reply(BaseModel):
    x: int


async def test_a_malformed_answer_is_repaired_once_then_dropped() -> None:
    replies = iter(['{"x": ', '```json\n{"x": 3}\n```', "no", "still no"])
    seen: list[int] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(len((await request.json())["messages"]))
        return web.json_response({"choices": [{"message": {"content": next(replies)}}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    async with TestServer(app) as running:
        client = ChatClient(ResolvedEndpoint(role="Teacher", url=str(running.make_url("/v1")), model="m"))
        assert await ask(client, ASK, Reply) == Reply(x=3)
        with pytest.raises(ItemDropped) as dropped:
            await ask(client, ASK, Reply)
        await client.aclose()
    assert dropped.value.reason == "invalid-answer" and seen == [1, 3, 1, 3]


@pytest.mark.parametrize(
    "text", ["", "x", '{"x": "three"}', '{"x": 3} and more', "[1]", '```{"x": 1}``` ```{"x": 2}```']
)
def test_parsing_is_strict(text: str) -> None:
    answer, wrong = parse(text, Reply)
    assert answer is None and wrong


@pytest.mark.parametrize("around", ["%s", "Here you are:\n%s\nAnything else?"])
def test_a_value_may_hold_a_fence_within_the_fence(around: str) -> None:
    class Note(BaseModel):
        text: str

    code = "Run:\n```\nls\n```"
    assert parse(around % f"```json\n{json.dumps({'text': code})}\n```", Note) == (Note(text=code), [])


@pytest.mark.parametrize(("value", "says"), [("sk\nlive", "line break"), ("Bearer sk-live", "write the key alone")])
async def test_a_key_that_cannot_be_sent_is_no_outage(monkeypatch: pytest.MonkeyPatch, value: str, says: str) -> None:
    """It was `the answer is not JSON`, retried for hours, though no request had left."""
    monkeypatch.setenv("FLYWHEEL_API_KEY_TEACHER", value)
    endpoint = ResolvedEndpoint(role="Teacher", url="http://h/v1", model="m", api_key_env="FLYWHEEL_API_KEY_TEACHER")
    with pytest.raises(ValidationFailure, match=says) as wrong:
        ChatClient(endpoint)
    assert "live" not in str(wrong.value)


async def test_a_request_that_cannot_be_made_is_a_matter_of_the_spec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYWHEEL_API_KEY_TEACHER", "sk-live")
    url = "http://robot:hunter2@127.0.0.1:9/v1"
    client = ChatClient(ResolvedEndpoint(role="Teacher", url=url, model="m", api_key_env="FLYWHEEL_API_KEY_TEACHER"))
    with pytest.raises(ValidationFailure, match="url and apiKey") as wrong:
        await client.chat(ASK)
    assert "hunter2" not in str(wrong.value)
    await client.aclose()


@pytest.mark.parametrize(
    ("base", "whole"),
    [
        ("https://h/v1", "https://h/v1/chat/completions"),
        ("https://h/v1///", "https://h/v1/chat/completions"),
        ("https://h/d?api-version=2024-06-01", "https://h/d/chat/completions?api-version=2024-06-01"),
        ("http://[::1]:8000/v1#f", "http://[::1]:8000/v1/chat/completions"),
    ],
)
def test_paths_are_joined_and_queries_kept(base: str, whole: str) -> None:
    assert joined(base, "/chat/completions") == whole


async def test_neither_prompt_nor_key_follows_a_redirect() -> None:
    asked: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=308, headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    async with TestServer(app) as running:
        client = ChatClient(ResolvedEndpoint(role="Teacher", url=str(running.make_url("/v1")), model="m"))
        with pytest.raises(EndpointUnavailable, match="/elsewhere"):
            await client.chat(ASK)
        await client.aclose()
    assert "/elsewhere" not in asked


async def test_headers_of_the_spec_go_with_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "k1")
    seen: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.headers)
        return web.json_response({"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    async with TestServer(app) as running:
        url = str(running.make_url("/v1"))
        client = ChatClient(
            ResolvedEndpoint(role="Teacher", url=url, model="m", headers={"X-Title": "a"}, api_key_env="KEY")
        )
        await client.chat(ASK)
        await client.aclose()
    assert all(one["X-Title"] == "a" for one in seen)
    assert all(one.getall("Authorization") == ["Bearer k1"] for one in seen)
    assert all(one.getall("Cache-Control") == ["no-cache"] for one in seen)
