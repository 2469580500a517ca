"""Every request that any stage of a round sends, as OpenAI's own types and Mistral's validator read it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from flywheel_api.common import Dialect
from flywheel_api.content import ROLES
from flywheel_api.stages import Stage
from flywheel_jobs.endpoints.dialect import render

chat = pytest.importorskip("openai.types.chat")
request = pytest.importorskip("mistral_common.protocol.instruct.request")
validator = pytest.importorskip("mistral_common.protocol.instruct.validator")

Body = dict[str, Any]


def for_text_only(body: Body) -> bool:
    """Whether it is in the dialect that is for servers which take results of tools without ids."""
    return any(m["role"] == "tool" and "tool_call_id" not in m for m in body["messages"])


def test_openai_s_own_types_take_it(asked: dict[Stage, list[Body]]) -> None:
    whole: TypeAdapter[Any] = TypeAdapter(chat.completion_create_params.CompletionCreateParamsNonStreaming)
    one: TypeAdapter[Any] = TypeAdapter(chat.ChatCompletionMessageParam)
    assert asked.keys() == ROLES.keys() and any(for_text_only(body) for body in asked[Stage.SOLVE_AGENTIC])
    for body in (body for bodies in asked.values() for body in bodies):
        whole.validate_python(body | {"messages": []})
        for dialect in (Dialect.USER_TURNS, Dialect.TOOLS) if for_text_only(body) else (Dialect.TEXT,):
            for message in render(body["messages"], dialect):
                one.validate_python(message)


def test_mistral_s_validator_takes_it(asked: dict[Stage, list[Body]]) -> None:
    for body in (body for bodies in asked.values() for body in bodies):
        for dialect in (Dialect.USER_TURNS, Dialect.TOOLS):
            talk = list(render(body["messages"], dialect))
            validator.MistralRequestValidatorV3().validate_request(
                request.ChatCompletionRequest.from_openai(messages=talk, tools=body.get("tools"))
            )
