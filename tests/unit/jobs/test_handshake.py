"""The handshake: each role is asked the shapes that stages send, and what it cannot do is said then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flywheel_api.results import EndpointFinding
from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.endpoints.asking import strict
from flywheel_jobs.endpoints.handshake import Handshake, shake
from flywheel_jobs.endpoints.samples import OPEN
from flywheel_jobs.endpoints.wire import Reply
from unit.jobs.virtual import Body, Wire, client, err, ok, run

LISTED = Reply(200, json.dumps({"data": [{"id": "m", "max_model_len": 40960}]}).encode())
JSON = '{"reply": "hi"}'


def found(server: Any, models: Reply = LISTED, tools: bool = True, **endpoint: Any) -> EndpointFinding:
    """What is found of a server that samples: it says the same here, and something else to an open question."""

    def samples(body: Body, number: int) -> Reply:
        return ok(f"Ann saw {number} boats.") if OPEN in str(body["messages"]) else server(body, number)

    async def go() -> EndpointFinding:
        made = client(Wire(samples, models), **endpoint)
        try:
            return await shake(made, tools)
        finally:
            await made.aclose()

    return run(go())


def plain(body: Body, number: int) -> Reply:
    """Takes two roles that take turns, one choice, no seed and no schema, and does not count tokens."""
    if "n" in body or "seed" in body or "response_format" in body:
        return err(400, "extra fields are not permitted")
    if any(m["role"] == "tool" for m in body["messages"]):
        return err(400, "roles must alternate user/assistant")
    return ok("hi", usage=None, model="m-2026")


def test_what_a_server_can_do() -> None:
    everything = found(lambda b, n: ok(*[JSON] * b.get("n", 1)))
    assert everything == EndpointFinding(role="Teacher", model="m", window=40960)
    least = found(plain, Reply(404))
    assert least.dump() == {
        "role": "Teacher", "model": "m-2026", "dialect": "UserTurns", "samples": "One",
        "sampling": "AsWritten", "seed": "Refused", "structuredOutput": "Refused", "usage": "Estimated",
    }  # fmt: skip
    assert found(lambda b, n: err(400, "top_p is not supported") if "top_p" in b else ok(JSON)).sampling == "OfItsOwn"
    assert found(lambda b, n: ok(*["hi"] * b.get("n", 1))).structured_output == "Ignored"
    assert found(lambda b, n: ok("hi")).samples == "One"  # n is ignored


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (JSON, "Json"),
        (f"<think>hm {JSON}</think>{JSON}", "Json"),
        (f"```json\n{JSON}\n```", "Json"),
        (f"<think>{JSON}", "Ignored"),
        ('{"word": "hi"}', "Ignored"),
        ('{"reply": 3}', "Ignored"),
        ('{"reply": "hi", "more": 1}', "Ignored"),
        ("hi", "Ignored"),
    ],
)
def test_structured_output_is_found_as_stages_read_it(text: str, finding: str) -> None:
    """A model that thinks, or writes a fence, was said to ignore the schema; any object to follow it."""
    assert found(lambda b, n: ok(*[text] * b.get("n", 1))).structured_output == finding
    assert strict(Handshake.model_json_schema())


@pytest.mark.parametrize(
    ("server", "says"),
    [
        (lambda b, n: err(402, "no balance left"), "pay"),
        (lambda b, n: err(404, "no such model"), "url and model"),
        (lambda b, n: err(400, "max_tokens is not supported"), "shape that stages send"),
        (lambda b, n: err(400, "no") if any("look_up" in str(m) for m in b["messages"]) else ok(JSON), "dialect"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_spent(server: Any, says: str) -> None:
    with pytest.raises(EndpointUnavailable, match=says) as refused:
        found(server)
    assert refused.value.reason == "EndpointRefused"


def thinks(tokens: int, form: str) -> Any:
    """A model that thinks for so many tokens, written in that form, before it answers JSON."""

    def server(body: Body, number: int) -> Reply:
        cut = body["max_tokens"] < tokens
        thought = "so " * min(tokens, body["max_tokens"])
        if form == "apart":
            choice = {"message": {"content": None if cut else JSON, "reasoning_content": thought}}
        else:
            text = ("<think>" if form == "marked" else "") + thought + ("" if cut else f"</think>{JSON}")
            choice = {"message": {"content": text}}
        choices = [
            {**choice, "index": n, "finish_reason": "length" if cut else "stop"} for n in range(body.get("n", 1))
        ]
        return Reply(200, json.dumps({"id": f"c{number}", "choices": choices}).encode())

    return server


@pytest.mark.parametrize("form", ["apart", "marked", "opened by the template"])
@pytest.mark.parametrize(
    ("tokens", "endpoint", "window", "finding"),
    [
        (500, {}, 40960, "Json"),
        (500, {}, None, "Json"),
        (5000, {}, 40960, "Unknown"),
        (500, {"maxTokens": 256}, 40960, "Unknown"),
        (500, {}, 512, "Unknown"),
        (500, {"maxTokens": 32}, 40960, "Unknown"),
    ],
)
def test_a_model_that_thinks_is_not_said_to_ignore_the_schema(
    tokens: int, endpoint: dict[str, Any], window: int | None, finding: str, form: str
) -> None:
    asked: list[int] = []

    def server(body: Body, number: int) -> Reply:
        if "response_format" in body:
            asked.append(body["max_tokens"])
        if body["max_tokens"] > (window or 1200) - 100:
            return err(400, "this model's maximum context length is smaller")
        return thinks(tokens, form)(body, number) if "response_format" in body else ok("hi")

    listed = Reply(200, json.dumps({"data": [{"id": "m", "max_model_len": window}]}).encode())
    got = found(server, listed, **endpoint)
    assert got.structured_output == finding and asked[0] == 64
    assert max(asked) <= min(1024, endpoint.get("maxTokens", 4096), (window or 2048) // 2) or max(asked) == 64
    assert set(asked) == {64, max(asked)}


def test_a_longer_answer_that_is_refused_costs_no_handshake() -> None:
    """A window that the server does not say."""

    def server(body: Body, number: int) -> Reply:
        if body["max_tokens"] > 100:
            return err(400, "this model's maximum context length is 512 tokens")
        return thinks(500, "apart")(body, number) if "response_format" in body else ok("hi")

    assert found(server, Reply(404)).structured_output == "Unknown"


def test_what_is_cut_and_what_is_not_json_is_told_apart() -> None:
    """One of two samples that ended by itself says enough; a long answer that is no JSON, at last, too."""

    def one(body: Body, number: int) -> Reply:
        choices = [
            {"index": 0, "message": {"content": "<think>so"}, "finish_reason": "length"},
            {"index": 1, "message": {"content": "Well, hi."}, "finish_reason": "stop"},
        ]
        return Reply(200, json.dumps({"id": f"c{number}", "choices": choices}).encode())

    assert found(one).structured_output == "Ignored"
    verbose = found(lambda b, n: ok(*["Sure."] * b.get("n", 1), finish="length" if b["max_tokens"] < 100 else "stop"))
    assert verbose.structured_output == "Ignored"


def test_a_round_without_tools_is_not_asked_for_them() -> None:
    assert found(lambda b, n: err(400, "x") if b["messages"][-1]["role"] == "tool" else ok(JSON), tools=False)
