"""Three ways to write the same conversation, for servers and chat templates that do not take the first. Pure.

A conversation is kept as training sees it: calls in the assistant's text, their results as role `tool`. `Text` sends
just that; `UserTurns` sends results as user turns, for templates that know two roles which take turns; `Tools` sends
OpenAI's tool calls with ids. What comes back is text again in every dialect (`wire` writes calls back).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel_api.common import Dialect
from flywheel_jobs.reading.calls import parse

Message = Mapping[str, object]
SILENCE = "..."  # for an empty turn: strict servers take no empty content


def render(messages: Sequence[Message], dialect: Dialect) -> list[Message]:
    """The messages in a dialect."""
    if dialect is Dialect.USER_TURNS:
        return _user_turns(messages)
    return _tools(messages) if dialect is Dialect.TOOLS else list(messages)


def _user_turns(messages: Sequence[Message]) -> list[Message]:
    turns: list[Message] = []
    for message in messages:
        role, text = str(message["role"]), str(message.get("content") or SILENCE)
        if role == "tool":
            role, text = "user", f"<tool_response>\n{text}\n</tool_response>"
        if turns and turns[-1]["role"] == role:
            text = f"{turns.pop()['content']}\n\n{text}"
        turns.append({"role": role, "content": text})
    return turns


def _tools(messages: Sequence[Message]) -> list[Message]:
    turns: list[Message] = []
    for place, message in enumerate(messages):
        text = str(message.get("content") or "")
        answered = place + 1 < len(messages) and messages[place + 1]["role"] == "tool"
        turn = parse(text) if message["role"] == "assistant" and answered else None
        if turn is not None and turn.calls:
            call = turn.calls[0]  # a turn is one action
            function = {"name": call.name, "arguments": json.dumps(call.arguments)}
            listed = [{"id": _id(place), "type": "function", "function": function}]
            # words beside the call are left out: Mistral's validator takes one of the two
            turns.append({"role": "assistant", "content": None, "tool_calls": listed})
        elif message["role"] == "tool" and turns and turns[-1].get("tool_calls"):
            turns.append({"role": "tool", "tool_call_id": _id(place - 1), "content": text})
        elif message["role"] == "tool":
            turns.append({"role": "user", "content": text or SILENCE})
        else:
            turns.append({"role": message["role"], "content": text or SILENCE})
    return turns


def _id(place: int) -> str:
    """Nine letters and digits, as Mistral wants them."""
    return f"call{place:05d}"


def tools_of(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Declarations of the tools that a conversation calls, where nobody gives better ones."""
    names = {call.name for m in messages if m["role"] == "assistant" for call in parse(str(m.get("content"))).calls[:1]}
    anything = {"type": "object", "properties": {}, "additionalProperties": True}
    return [{"type": "function", "function": {"name": n, "parameters": anything}} for n in sorted(names)]
