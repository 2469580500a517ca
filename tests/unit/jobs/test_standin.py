"""The stand-in server: labelled, deterministic, strict, and with faults only where asked for."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types.chat import ChatCompletion

from flywheel_api.artifacts import STANDIN_NOTICE
from flywheel_api.common import Dialect
from flywheel_jobs.__main__ import COMMANDS, main
from flywheel_jobs.endpoints.dialect import Message, render
from flywheel_jobs.reading.calls import render as render_call
from flywheel_jobs.reasoning import roles
from flywheel_standin import strict
from flywheel_standin.faults import Faults
from flywheel_standin.protocol import MODEL_NAME
from flywheel_standin.server import build

MODEL = MODEL_NAME
SOLVE = {"model": MODEL, "messages": roles.solver_messages("8+9"), "n": 3, "seed": 4}


async def call(url: str, body: Any = None, method: str = "POST") -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.request(method, url, json=body) as response:
        return response.status, await response.json(content_type=None)


async def test_every_model_is_labelled() -> None:
    async with TestServer(build({"FLYWHEEL_STANDIN_MODELS": "teacher,solver"})) as server:
        status, listing = await call(str(server.make_url("/v1/models")), method="GET")
        assert status == 200 and [m["id"] for m in listing["data"]] == ["teacher", "solver"]
        for entry in listing["data"]:
            assert entry["standin"] is True and entry["owned_by"] == "flywheel-standin"
            assert entry["notice"] == STANDIN_NOTICE
        status, health = await call(str(server.make_url("/healthz")), method="GET")
        assert status == 200 and health["status"] == "ok"


async def test_equal_requests_get_equal_answers_and_each_choice_its_own() -> None:
    async with TestServer(build({})) as server:
        url = str(server.make_url("/v1/chat/completions"))
        _, one = await call(url, SOLVE)
        _, two = await call(url, SOLVE)
        assert one["choices"] == two["choices"] and len(one["choices"]) == 3
        assert all("<answer>17</answer>" in c["message"]["content"] for c in one["choices"])
        assert one["standin"] is True and one["usage"]["completion_tokens"] > 0
        guesses = {**SOLVE, "messages": roles.solver_messages("8+ some number"), "n": 8}
        _, ill = await call(url, guesses)
        assert len({c["message"]["content"] for c in ill["choices"]}) > 1


def said(*turns: Any, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": t} if isinstance(t, str) else t for t in turns]
    return {"model": MODEL, "messages": messages, **more}


def form(**more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", **more}}


OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
CLOSED = {**OPEN, "required": ["a"], "additionalProperties": False}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
JSON = {"type": "json_object"}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "x"}
REFUSED: dict[str, tuple[Any, str]] = {
    "no object": ([], "object"),
    "nothing": ({}, "model"),
    "no messages": ({"model": MODEL}, "messages"),
    "messages that are none": (said() | {"messages": 3}, "messages"),
    "empty messages": (said(), "messages"),
    "unknown field": (said("x", top_k=20), "Unrecognized request argument supplied: top_k"),
    "unknown field of a message": (said({"role": "user", "content": "x", "weight": 1}), "weight"),
    "unknown role": (said({"role": "human", "content": "x"}), "role"),
    "no content": (said({"role": "user", "content": None}), "content"),
    "no parts": (said({"role": "user", "content": []}), "content"),
    "n of 0": (said("x", n=0), "n"),
    "n of 129": (said("x", n=129), "n"),
    "n as text": (said("x", n="2"), "n"),
    "temperature above 2": (said("x", temperature=2.1), "temperature"),
    "temperature below 0": (said("x", temperature=-0.1), "temperature"),
    "top_p above 1": (said("x", top_p=1.1), "top_p"),
    "max_tokens of 0": (said("x", max_tokens=0), "max_tokens"),
    "two limits": (said("x", max_tokens=3, max_completion_tokens=3), "same time"),
    "five stops": (said("x", stop=list("abcde")), "stop"),
    "seed as text": (said("x", seed="1"), "seed"),
    "form of no type": (said("x", response_format={}), "response_format"),
    "form of an unknown type": (said("x", response_format={"type": "yaml"}), "response_format"),
    "form without its schema": (said("x", response_format={"type": "json_schema"}), "response_format"),
    "schema without a name": (said("x", response_format={"type": "json_schema", "json_schema": {}}), "name"),
    "schema of a bad name": (said("x", response_format=form(name="a b", schema=CLOSED)), "name"),
    "schema of no object": (said("x", response_format=form(schema={"type": "string"})), "Invalid schema"),
    "strict and open": (said("x", response_format=form(schema=OPEN, strict=True)), "additionalProperties"),
    "json without the word": (said("x", response_format={"type": "json_object"}), "word"),
    "no tools": (said("x", tools=[]), "tools"),
    "a choice of no tools": (said("x", tool_choice="auto"), "tool_choice"),
    "a result without an id": (said("x", {"role": "tool", "content": "y"}), "tool_call_id"),
    "a result of no call": (said("x", RESULT), "response to a preceding message"),
    "a call without a result": (said("x", CALLS, "y"), "must be followed by tool messages"),
    "a call at the end": (said("x", CALLS), "no response"),
    "options of no stream": (said("x", stream_options={"include_usage": True}), "stream"),
}


@pytest.mark.parametrize(("body", "says"), REFUSED.values(), ids=REFUSED)
async def test_what_openai_refuses_is_refused_in_its_shape(body: Any, says: str) -> None:
    async with TestServer(build({})) as server:
        status, answer = await call(str(server.make_url("/v1/chat/completions")), body)
    assert status == 400 and says in answer["error"]["message"] + str(answer["error"]["param"])
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert answer["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [
        said("x", n=128, temperature=2, top_p=0, seed=-1, stop="y", user="u", max_completion_tokens=9),
        said(
            {"role": "developer", "content": [{"type": "text", "text": "json"}]},
            response_format={"type": "json_object"},
        ),
        said("x", CALLS, RESULT, "y", tools=[{"type": "function", "function": {"name": "f", "parameters": OPEN}}]),
        said("x", response_format=form(schema=OPEN, strict=False)),
        said("x", response_format=form(schema=CLOSED, strict=True), stream=False),
    ],
)
async def test_what_openai_takes_is_taken(body: Any) -> None:
    async with TestServer(build({})) as server:
        status, answer = await call(str(server.make_url("/v1/chat/completions")), body)
    assert status == 200, answer
    ChatCompletion.model_validate(answer, strict=True)


async def test_it_knows_only_its_models() -> None:
    async with TestServer(build({"FLYWHEEL_STANDIN_MODELS": "teacher,solver"})) as server:
        url = str(server.make_url("/v1/chat/completions"))
        assert (await call(url, {**SOLVE, "model": "solver"}))[0] == 200
        status, answer = await call(url, {**SOLVE, "model": "gpt"})
    assert status == 404 and answer["error"] == {
        "message": "The model `gpt` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    }


async def test_an_answer_ends_at_its_limit_and_usage_says_so() -> None:
    async with TestServer(build({})) as server:
        url = str(server.make_url("/v1/chat/completions"))
        _, whole = await call(url, SOLVE)
        text, used = whole["choices"][0]["message"]["content"], whole["usage"]
        need = used["completion_tokens"] // 3
        assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]
        for limit, finish in ((need, "stop"), (need - 1, "length"), (1, "length")):
            _, short = await call(url, {**SOLVE, "max_tokens": limit})
            assert {c["finish_reason"] for c in short["choices"]} == {finish}
            assert all(text.startswith(c["message"]["content"]) for c in short["choices"])
            assert short["usage"]["completion_tokens"] == 3 * limit
        _, stopped = await call(url, {**SOLVE, "stop": [" from"]})
        assert stopped["choices"][0]["message"]["content"] == "Computed"


async def test_openais_own_client_streams_with_usage_and_meets_its_errors() -> None:
    async with (
        TestServer(build({})) as server,
        AsyncOpenAI(api_key="none", base_url=str(server.make_url("/v1")), max_retries=0) as client,
    ):
        whole = await client.chat.completions.create(**SOLVE)
        texts, ends, usage = ["", "", ""], dict[int, str](), None
        options = {"stream": True, "stream_options": {"include_usage": True}}
        async for chunk in await client.chat.completions.create(**SOLVE, **options):
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                ends |= {choice.index: choice.finish_reason} if choice.finish_reason else {}
        assert texts == [c.message.content for c in whole.choices]
        assert ends == {0: "stop", 1: "stop", 2: "stop"} and usage == whole.usage
        with pytest.raises(NotFoundError):
            await client.chat.completions.create(**{**SOLVE, "model": "gpt"})
        with pytest.raises(BadRequestError):
            await client.chat.completions.create(**SOLVE, temperature=3)


TALK: list[Message] = [
    {"role": "system", "content": "Tools: get_booking, cancel, refund"},
    {"role": "user", "content": "Undo booking 7."},
    {"role": "assistant", "content": render_call("get_booking", {"id": 7})},
    {"role": "tool", "content": "refundable"},
]


@pytest.mark.parametrize("dialect", [Dialect.USER_TURNS, Dialect.TOOLS])
def test_a_script_reads_every_dialect_alike(dialect: Dialect) -> None:
    body = {"model": MODEL, "messages": render(TALK, dialect)}
    assert strict.spoken(strict.read(json.dumps(body).encode(), [MODEL]).messages) == TALK


async def test_an_unknown_request_is_answered_as_unknown() -> None:
    async with TestServer(build({})) as server:
        url = str(server.make_url("/v1/chat/completions"))
        _, answer = await call(url, said("Write a poem"))
        assert "no script" in answer["choices"][0]["message"]["content"]


async def test_faults_need_the_admin_switch() -> None:
    async with (
        TestServer(build({})) as server,
        aiohttp.ClientSession() as session,
        session.put(server.make_url("/admin/faults"), json={}) as response,
    ):
        assert response.status == 404
    async with TestServer(build({"FLYWHEEL_STANDIN_ADMIN": "1"})) as server:
        url = str(server.make_url("/admin/faults"))
        assert (await call(url, {"status": 503, "first": 1}, "PUT"))[0] == 200
        chat = str(server.make_url("/v1/chat/completions"))
        assert [(await call(chat, SOLVE))[0] for _ in range(2)] == [503, 200]
        status, answer = await call(url, {"stauts": 503}, "PUT")
        assert status == 400 and "stauts" in answer["error"]
        assert (await call(url, [{"finish": "abort", "first": 1}, {"status": 503, "share": 0}], "PUT"))[0] == 200


def test_faults_refuse_unknown_keys() -> None:
    with pytest.raises(ValueError, match="use"):
        Faults({"typo": 1})


def test_commands_are_listed_and_unknown_ones_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)
    with pytest.raises(SystemExit) as ended:
        main(["no-such"])
    assert ended.value.code == 2
