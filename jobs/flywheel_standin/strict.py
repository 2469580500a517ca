"""What a chat request may say: what OpenAI refuses is refused here, with a body of the same shape.

Fields that OpenAI takes and a script has no use for (penalties, `user`, ...) are taken and do nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flywheel_jobs.reading.calls import render

MOST_CHOICES = 128
_RESULT = re.compile(r"<tool_response>\n(.*?)\n</tool_response>\s*", re.DOTALL)


class Refused(Exception):
    """A request that is not served."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


class Strict(BaseModel):
    """A number as a string is no number, and an unknown field is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Part(Strict):
    """A part of a message; a stand-in has no eyes or ears."""

    type: Literal["text"]
    text: str


class Called(Strict):
    """The function of a call."""

    name: str
    arguments: str


class Call(Strict):
    """A tool call of an assistant's turn."""

    id: str
    type: Literal["function"]
    function: Called


class Message(Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(min_length=1)] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[Call], Field(min_length=1)] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Its words."""
        return self.content if isinstance(self.content, str) else "".join(p.text for p in self.content or ())


class SchemaForm(Strict):
    """The schema of a request for JSON."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: dict[str, object] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """What form of answer is asked for."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaForm | None = None


class Function(Strict):
    """What can be called."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, object] | None = None
    strict: bool | None = None


class Tool(Strict):
    """A declared tool."""

    type: Literal["function"]
    function: Function


class StreamOptions(Strict):
    """How a stream ends."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


Penalty = Annotated[float, Field(ge=-2, le=2)] | None
Limit = Annotated[int, Field(ge=1)] | None


class ChatBody(Strict):
    """The body of POST /v1/chat/completions: OpenAI's fields, and no other."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    seed: int | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Limit = None
    max_completion_tokens: Limit = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: Annotated[list[Tool], Field(min_length=1)] | None = None
    tool_choice: str | dict[str, object] | None = None
    parallel_tool_calls: bool | None = None
    frequency_penalty: Penalty = None
    presence_penalty: Penalty = None
    logit_bias: dict[str, float] | None = None
    logprobs: Literal[False] | None = None
    metadata: dict[str, str] | None = None
    reasoning_effort: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None
    verbosity: str | None = None

    @property
    def limit(self) -> int | None:
        """Tokens of one choice at most."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> Sequence[str]:
        """What ends an answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or ()


def read(data: bytes, models: Sequence[str]) -> ChatBody:
    """The request. Raises Refused."""
    try:
        body = ChatBody.model_validate_json(data)
    except ValidationError as error:
        raise _refusal(error) from error
    if body.model not in models:
        text = f"The model `{body.model}` does not exist or you do not have access to it."
        raise Refused(text, code="model_not_found", status=404)
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise Refused("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.")
    if body.stream_options is not None and not body.stream:
        raise Refused("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if body.tool_choice is not None and not body.tools:
        raise Refused("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    _form(body)
    _talk(body.messages)
    return body


def _refusal(error: ValidationError) -> Refused:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "json_invalid":
        return Refused("We could not parse the JSON body of your request.")
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return Refused(f"Unrecognized request argument supplied: {where}", where, "unknown_parameter")
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    return Refused(f"Invalid value: {first['msg']} - '{where}'", where or None, code)


def _form(body: ChatBody) -> None:
    form = body.response_format
    if form is None:
        return
    if (form.type == "json_schema") != (form.json_schema is not None):
        raise Refused(f"response_format of type '{form.type}' and 'json_schema' do not fit.", "response_format")
    if form.type == "json_object" and not any("json" in m.text.lower() for m in body.messages):
        raise Refused("'messages' must contain the word 'json' in some form, to use 'response_format' of type "
                      "'json_object'.", "messages")  # fmt: skip
    if form.json_schema is not None:
        if not (form.json_schema.schema_ or {}).get("type") == "object":
            raise Refused(f"Invalid schema for response_format '{form.json_schema.name}': schema must be a JSON Schema "
                          "of 'type: \"object\"'.", "response_format", "invalid_json_schema")  # fmt: skip
        if form.json_schema.strict:
            _closed(form.json_schema.schema_, form.json_schema.name)


def _closed(schema: Any, name: str) -> None:
    """OpenAI's strict mode: closed objects whose fields are all required, and no defaults."""
    if isinstance(schema, list):
        for one in schema:
            _closed(one, name)
    if not isinstance(schema, Mapping):
        return
    fields = schema.get("properties", {}) if schema.get("type") == "object" else None
    if fields is not None:
        closed = schema.get("additionalProperties") is False and set(schema.get("required", ())) == set(fields)
        if not closed:
            raise Refused(f"Invalid schema for response_format '{name}': 'additionalProperties' is required to be "
                          "supplied and to be false, and 'required' to name every key.", "response_format",
                          "invalid_json_schema")  # fmt: skip
    if "default" in schema and not isinstance(schema["default"], Mapping):
        raise Refused(f"Invalid schema for response_format '{name}': 'default' is not permitted.", "response_format",
                      "invalid_json_schema")  # fmt: skip
    for key, value in schema.items():
        for one in value.values() if key in ("properties", "$defs") and isinstance(value, Mapping) else (value,):
            _closed(one, name)


def _talk(messages: Sequence[Message]) -> None:
    """Who may say what after whom: results of tools answer calls, every call is answered, somebody says something."""
    open_: set[str] = set()
    for place, message in enumerate(messages):
        where = f"messages.[{place}]"
        if message.role == "tool":
            if message.tool_call_id is None:
                text = "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'."
                raise Refused(text, f"{where}.tool_call_id")
            if message.tool_call_id not in open_:
                text = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise Refused(f"Invalid parameter: {text}", f"{where}.role")
            open_.discard(message.tool_call_id)
        elif open_:
            text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each of them"
            raise Refused(f"{text}: {', '.join(sorted(open_))}.", f"{where}.role")
        if message.content is None and not message.tool_calls:
            raise Refused("Invalid value for 'content': expected a string, got null.", f"{where}.content")
        if message.tool_calls and message.role != "assistant":
            raise Refused("'tool_calls' are of role 'assistant'.", f"{where}.tool_calls")
        open_ |= {call.id for call in message.tool_calls or ()}
    if open_:
        raise Refused("'tool_calls' of the last message have no response.", "messages")


def spoken(messages: Sequence[Message]) -> list[dict[str, object]]:
    """The conversation as scripts read it, whatever dialect it was sent in (docs/endpoints.md, "Dialects")."""
    turns: list[dict[str, object]] = []
    for message in messages:
        role, text = message.role, message.text
        for call in message.tool_calls or ():
            text += render(call.function.name, json.loads(call.function.arguments))
        while role == "user" and (result := _RESULT.match(text)):
            turns.append({"role": "tool", "content": result[1]})
            text = text[result.end() :]
        if text or role != "user" or not turns or turns[-1]["role"] != "tool":
            turns.append({"role": role, "content": text})
    return turns
