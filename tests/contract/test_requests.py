"""Every request that any stage of a round sends, as OpenAI's own types and Mistral's validator read it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict, is_typeddict

from flywheel_api.common import Dialect
from flywheel_api.content import ROLES
from flywheel_api.sampling import NEUTRAL
from flywheel_api.stages import Stage
from flywheel_jobs.endpoints.dialect import render, tools_of

chat = pytest.importorskip("openai.types.chat")
request = pytest.importorskip("mistral_common.protocol.instruct.request")
validator = pytest.importorskip("mistral_common.protocol.instruct.validator")

Body = dict[str, Any]
OF_POOLS = {"top_k", "min_p", "repetition_penalty"}  # of vLLM, beyond OpenAI's: said to a pool of ours and nobody else


@functools.cache
def strict(of: Any) -> Any:
    """A type of OpenAI's that takes no key which it does not know, coerces nothing and looks into every list at once.

    As they are, pydantic reads an `Iterable` only when somebody walks it, keeps unknown keys and turns "3" into 3.
    """
    if is_typeddict(of):
        keys = {}
        for name, hint in get_type_hints(of, include_extras=True).items():
            inner = strict(get_args(hint)[0] if get_origin(hint) is Required else hint)
            needed = get_origin(hint) is Required or name in of.__required_keys__
            keys[name] = Required[inner] if needed else NotRequired[inner]
        typed_dict: Any = TypedDict  # by its call: the keys are only known here
        return with_config(ConfigDict(extra="forbid", strict=True))(typed_dict(of.__name__, keys))
    args = tuple(strict(arg) for arg in get_args(of))
    if get_origin(of) in (Iterable, Sequence):
        return list[args[0]]  # type: ignore[valid-type]
    if get_origin(of) in (list, dict, Union):
        return get_origin(of)[args]
    return of


@functools.cache
def openai_s() -> TypeAdapter[Any]:
    return TypeAdapter(strict(chat.completion_create_params.CompletionCreateParamsNonStreaming))


def read(body: Body) -> None:
    """Raises unless OpenAI's types take the whole body as it is."""
    openai_s().validate_python(body)


def for_text_only(body: Body) -> bool:
    """Whether it is in the dialect that is for servers which take results of tools without ids."""
    return any(m["role"] == "tool" and "tool_call_id" not in m for m in body["messages"])


def as_sent(body: Body) -> Body:
    """A body with the one thing that the dialect `Text` lacks of OpenAI's, by design: ids of results."""
    return body | {
        "messages": [m | {"tool_call_id": "id"} if m["role"] == "tool" else m for m in body["messages"]],
    }


def rendered(body: Body, dialect: Dialect) -> Body:
    """A body of the dialect `Text` in another."""
    told = {"tools": tools_of(body["messages"])} if dialect is Dialect.TOOLS and for_text_only(body) else {}
    return body | {"messages": render(body["messages"], dialect)} | told


def test_openai_s_own_types_take_it(asked: dict[Stage, list[Body]]) -> None:
    assert asked.keys() == ROLES.keys() and any(for_text_only(body) for body in asked[Stage.SOLVE_AGENTIC])
    for body in (body for bodies in asked.values() for body in bodies):
        text_only = for_text_only(body)
        read(as_sent(body) if text_only else body)
        for dialect in (Dialect.USER_TURNS, Dialect.TOOLS) if text_only else ():
            read(rendered(body, dialect))


def test_what_only_a_pool_is_told_is_known(asked: dict[Stage, list[Body]]) -> None:
    body = asked[Stage.MINE_REASONING][0]
    assert NEUTRAL.keys() - openai_s().json_schema()["properties"].keys() == OF_POOLS
    read(body | {name: value for name, value in NEUTRAL.items() if name not in OF_POOLS})


USER, CALL = {"role": "user", "content": "x"}, {"name": "f", "arguments": "{}"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
REFUSED: dict[str, Body] = {
    "no model": {"model": None},
    "no messages": {"messages": "abc"},
    "an unknown role": {"messages": [{"role": "bot", "content": "x"}]},
    "no content": {"messages": [{"role": "user"}]},
    "content of another type": {"messages": [{"role": "user", "content": 7}]},
    "an unknown key of a message": {"messages": [USER | {"bogus": 1}]},
    "a result without an id": {"messages": [{"role": "tool", "content": "x"}]},
    "calls that are a text": {"messages": [{"role": "assistant", "tool_calls": "abc"}]},
    "calls that are none": {"messages": [{"role": "assistant", "tool_calls": [{"bogus": 1}]}]},
    "a call without an id": {
        "messages": [{"role": "assistant", "tool_calls": [{"type": "function", "function": CALL}]}]
    },
    "arguments that are no text": {
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": {}}}],
            }
        ]
    },
    "tools that are none": {"tools": [{"bogus": 1}]},
    "an unknown key of a tool": {"tools": [TOOL | {"bogus": 1}]},
    "an unknown key": {"bogus": 1},
    "a number as text": {"n": "3"},
    "a temperature as text": {"temperature": "1"},
    "an unknown form": {"response_format": {"type": "xml"}},
    "a schema without a name": {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
    "metadata that is no text": {"metadata": {"case": {}}},
    **{f"{name}, which only a pool knows": {name: 1} for name in sorted(OF_POOLS)},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_a_request_that_openai_refuses_is_seen(change: Body) -> None:
    body: Body = {"model": "m", "messages": [USER], "n": 3, "temperature": 1.0, "tools": [TOOL]}
    read(body)
    with pytest.raises(ValidationError):
        read(body | change)


def test_mistral_s_validator_takes_it(asked: dict[Stage, list[Body]]) -> None:
    for body in (body for bodies in asked.values() for body in bodies):
        for dialect in (Dialect.USER_TURNS, Dialect.TOOLS):
            sent = rendered(body, dialect)
            validator.MistralRequestValidatorV3().validate_request(
                request.ChatCompletionRequest.from_openai(messages=sent["messages"], tools=sent.get("tools"))
            )
