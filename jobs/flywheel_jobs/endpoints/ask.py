"""Structured answers from a model: asked for with a JSON schema, parsed strictly, repaired once, then dropped."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.endpoints.llm import ChatClient

M = TypeVar("M", bound=BaseModel)
_FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)
INPUT = re.compile(r"<input>(.*?)</input>", re.DOTALL)


def messages_for(instruction: str, payload: Mapping[str, Any]) -> list[dict[str, str]]:
    """The request's messages: what to do, and the data as JSON inside <input> tags."""
    data = json.dumps(payload, ensure_ascii=False, sort_keys=True)
    return [{"role": "system", "content": instruction}, {"role": "user", "content": f"<input>{data}</input>"}]


def payload_of(messages: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The data of a request made by `messages_for`; None if there is none."""
    for message in messages:
        found = INPUT.search(str(message.get("content") or ""))
        if found:
            value = json.loads(found.group(1))
            return value if isinstance(value, dict) else None
    return None


async def ask(
    client: ChatClient,
    messages: list[dict[str, str]],
    shape: type[M],
    check: Callable[[M], list[str]] = lambda _value: [],
    reason: str = "invalid-answer",
    seed: int | None = None,
) -> M:
    """An answer of that shape which passes `check` (problems in words; empty is right).

    Raises ItemDropped(reason) when the answer is still wrong after one repair. Outages pass through as typed errors.
    """
    wrong: list[str] = []
    history = list(messages)
    for _ in range(2):
        result = await client.chat(history, schema=shape.model_json_schema(), seed=seed)
        text = str(result.texts[0])
        value, wrong = _read(text, shape)
        if value is not None:
            wrong = check(value)
            if not wrong:
                return value
        complaint = "Answer again, JSON only. Mend this: " + "; ".join(wrong[:8])
        history = [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": complaint}]
    raise ItemDropped(reason, "; ".join(wrong)[:300])


def _read(text: str, shape: type[M]) -> tuple[M | None, list[str]]:
    fenced = _FENCE.match(text)
    try:
        return shape.model_validate_json(fenced.group(1) if fenced else text), []
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()]
