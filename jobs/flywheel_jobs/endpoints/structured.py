"""Answers of a shape: asked for with a JSON schema, parsed strictly, repaired once, else dropped and counted.

Every such request is an instruction and one JSON object of data, so that a scripted stand-in and a large model read the
same request and answer in the same format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.endpoints.dialect import SILENCE, Message
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.reading.jsontext import loads
from flywheel_jobs.reading.thought import split

M = TypeVar("M", bound=BaseModel)
_FENCE = re.compile(r"```(?:json)?(.*)```", re.DOTALL | re.IGNORECASE)  # to the last one: a value may hold others
_SHOWN = 8000  # characters of a wrong answer that the repair request shows
_NAMED = 8  # problems that it names


def messages_for(instruction: str, data: Mapping[str, object]) -> list[dict[str, str]]:
    """The request's messages: what to do, and the data as one JSON object."""
    return [
        {"role": "system", "content": instruction},
        {"role": "user", "content": json.dumps(data, ensure_ascii=False)},
    ]


@cache
def _schema_of(shape: type[BaseModel]) -> dict[str, Any]:
    """Worked out once: it takes pydantic longer than all else that a request costs here."""
    return shape.model_json_schema()


async def ask(
    client: ChatClient,
    messages: Sequence[Message],
    shape: type[M],
    what: str = "answer",
    problems: Callable[[M], list[str]] = lambda _answer: [],
    seed: int | None = None,
) -> M:
    """An answer of that shape in which `problems` finds nothing.

    Raises ItemDropped(`invalid-<what>`) when the answer is still wrong after one repair. Outages pass through as typed
    errors.
    """
    schema = _schema_of(shape)
    wrong: list[str] = []
    request = list(messages)
    for _ in range(2):
        text = (await client.chat(request, schema=schema, seed=seed)).text
        answer, wrong = parse(text, shape)
        if answer is not None:
            wrong = problems(answer)
            if not wrong:
                return answer
        complaint = (
            f"That answer is not right: {'; '.join(wrong[:_NAMED])}. Answer again with one JSON object of this schema "
            f"and nothing else: {json.dumps(schema)}"
        )
        request = [
            *messages,
            {"role": "assistant", "content": text[:_SHOWN] or SILENCE},
            {"role": "user", "content": complaint},
        ]
    raise ItemDropped(f"invalid-{what}", "; ".join(wrong)[:300])


def parse(text: str, shape: type[M]) -> tuple[M | None, list[str]]:
    """What the text says, as one JSON object of `shape`; or None and what is wrong.

    Thought is no part of it, nor are words around the only Markdown fence.
    """
    try:
        value = loads(_unfenced(split(text).text.strip()))
    except ValueError as error:
        return None, [f"the answer: Invalid JSON: {error}"[:200]]
    try:
        return shape.model_validate(value), []
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, e['loc'])) or 'the answer'}: {e['msg']}" for e in error.errors()]


def _unfenced(body: str) -> str:
    fenced = None if body.startswith("{") else _FENCE.search(body)
    return fenced[1] if fenced else body
