"""One conversation in three dialects, checked by OpenAI's and Mistral's validators; chosen by what is accepted."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from flywheel_api.common import Dialect
from flywheel_jobs.agentic import drive
from flywheel_jobs.endpoints.dialect import render
from flywheel_jobs.endpoints.wire import Reply
from unit.agentic import world
from unit.jobs.virtual import Body, Wire, client, err, ok, run

OTHERS = [Dialect.USER_TURNS, Dialect.TOOLS]
CALL = '<tool_call>{"name": "get_booking", "arguments": {"id": 7}}</tool_call>'
TALK: list[dict[str, str]] = [
    {"role": "system", "content": "Tools: ..."},
    {"role": "user", "content": "Undo 7."},
    {"role": "assistant", "content": f"I look. {CALL}"},
    {"role": "tool", "content": "refundable"},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "Well?"},
    {"role": "assistant", "content": CALL},
    {"role": "tool", "content": ""},
]


def test_text_is_what_training_sees() -> None:
    assert render(TALK, Dialect.TEXT) == TALK == render(TALK, Dialect.AUTO)


def test_user_turns_alternate_and_are_never_empty() -> None:
    turns = render(TALK, Dialect.USER_TURNS)
    assert [t["role"] for t in turns] == ["system", *["user", "assistant"] * 3, "user"]
    assert all(t["content"] for t in turns) and "<tool_response>\nrefundable" in str(turns[3]["content"])


def test_tools_have_ids_that_are_answered() -> None:
    turns = render(TALK, Dialect.TOOLS)
    asked = [c["id"] for t in turns for c in t.get("tool_calls", [])]  # type: ignore[attr-defined]
    assert asked == [t["tool_call_id"] for t in turns if t["role"] == "tool"] and len(set(asked)) == 2
    assert turns[2]["content"] is None and turns[4]["content"]
    alone = render([*TALK[:2], {"role": "assistant", "content": CALL}, {"role": "user", "content": "?"}], Dialect.TOOLS)
    assert "tool_calls" not in alone[2]  # a call that nobody answered is refused by OpenAI


def roles(body: Body) -> list[str]:
    return [m["role"] for m in body["messages"]]


def openai(body: Body, number: int) -> Reply:
    for message in body["messages"]:
        if message["role"] == "tool" and "tool_call_id" not in message:
            return err(400, "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.")
    return ok(world.LOOK if number % 2 == 0 else "I cannot do that.")


def alternating(body: Body, number: int) -> Reply:
    talk = [r for r in roles(body) if r != "system"]
    if any(r not in ("user", "assistant") for r in talk) or any(a == b for a, b in itertools.pairwise(talk)):
        return err(400, "Unable to generate parser for this template. Conversation roles must alternate")
    return ok(world.LOOK if number % 2 == 0 else "I cannot do that.")


def openai_only(body: Body, number: int) -> Reply:
    """Takes tool calls, and nothing that looks like them in text."""
    if any("tool_response" in str(m.get("content")) for m in body["messages"]):
        return err(400, "write results of tools with role tool")
    return openai(body, number)


@pytest.mark.parametrize(
    ("server", "found"),
    [(openai, Dialect.USER_TURNS), (alternating, Dialect.USER_TURNS), (openai_only, Dialect.TOOLS),
     (lambda b, n: ok("I cannot do that."), Dialect.AUTO)],
)  # fmt: skip
def test_the_dialect_is_the_one_that_the_server_takes(server: Any, found: Dialect) -> None:
    wire = Wire(server)

    async def play() -> tuple[str, Dialect]:
        made = client(wire)
        for seed in (1, 2):
            episode = await drive.run(world.task(world.LOCKED), world.right(world.LOCKED), made, seed=seed)
        return str(episode.env.closed), made.learnt.dialect

    closed, dialect = run(play())
    assert closed == "answered" and dialect is found
    if found is Dialect.TOOLS:
        assert wire.bodies[-1]["tools"][0]["function"]["parameters"]["required"]  # the domain's own declarations


def test_a_dialect_of_the_spec_is_kept() -> None:
    wire = Wire(lambda b, n: ok("x"))
    run(drive.run(world.task(world.LOCKED), world.right(world.LOCKED), client(wire, dialect="Tools"), seed=1))
    assert wire.bodies[0]["messages"][2]["tool_calls"] if "tool" in roles(wire.bodies[0]) else True


def everything() -> list[Body]:
    """A request of each shape that stages send, in each dialect."""
    wire = Wire(lambda b, n: ok(world.LOOK if n % 3 == 0 else "x"))
    schema = {"title": "Reply", "type": "object", "properties": {"reply": {"type": "string"}}}

    async def ask() -> None:
        for dialect in Dialect:
            made = client(wire, dialect=dialect.value)
            await drive.run(world.task(world.LOCKED), world.right(world.LOCKED), made, seed=1)
            await made.chat(TALK)
            await made.chat(TALK[:2], n=4, seed=3, schema=schema)

    asyncio.run(ask())
    return wire.bodies


def test_every_request_is_one_that_openai_s_own_types_take() -> None:
    pydantic = pytest.importorskip("pydantic")
    chat = pytest.importorskip("openai.types.chat")
    whole = pydantic.TypeAdapter(chat.completion_create_params.CompletionCreateParamsNonStreaming)
    one = pydantic.TypeAdapter(chat.ChatCompletionMessageParam)
    taken = 0
    for body in everything():
        whole.validate_python({k: v for k, v in body.items() if k != "messages"} | {"messages": []})
        if any(m["role"] == "tool" and "tool_call_id" not in m for m in body["messages"]):
            continue  # dialect Text: refused, and Auto takes another then
        for message in body["messages"]:
            one.validate_python(message)
            taken += 1
    assert taken > 30
    with pytest.raises(pydantic.ValidationError, match="tool_call_id"):
        one.validate_python({"role": "tool", "content": "x"})


@pytest.mark.parametrize("dialect", OTHERS)
def test_mistral_s_validator_takes_both_other_dialects(dialect: Dialect) -> None:
    request = pytest.importorskip("mistral_common.protocol.instruct.request")
    validator = pytest.importorskip("mistral_common.protocol.instruct.validator")
    talk = list(render(TALK, dialect))
    asked = request.ChatCompletionRequest.from_openai(messages=talk)
    validator.MistralRequestValidatorV3().validate_request(asked)
