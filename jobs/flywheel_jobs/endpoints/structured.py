"""Structured output: asked for by schema, parsed strictly, repaired once, else dropped and counted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.endpoints.llm import ChatClient

M = TypeVar("M", bound=BaseModel)
MALFORMED = "malformed-answer"
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_SHOWN = 1500  # characters of the bad answer that the repair request shows


async def chat_model(
    client: ChatClient, messages: Sequence[Mapping[str, Any]], kind: type[M], seed: int | None = None, **options: Any
) -> M:
    """One answer as `kind`. Raises ItemDropped("malformed-answer") if the repaired answer does not parse either."""
    schema = kind.model_json_schema()
    first = await client.chat(messages, seed=seed, schema=schema, **options)
    try:
        return parse(first.text, kind)
    except ValueError as error:
        repair = [
            *messages,
            {"role": "assistant", "content": first.text[:_SHOWN]},
            {"role": "user", "content": _complaint(error, schema)},
        ]
    second = await client.chat(repair, seed=seed, schema=schema, **options)
    try:
        return parse(second.text, kind)
    except ValueError as error:
        raise ItemDropped(MALFORMED, str(error)[:300]) from error


def parse(text: str, kind: type[M]) -> M:
    """The whole text as one JSON object of `kind`; a Markdown fence around it is taken off. Raises ValueError."""
    body = text.strip()
    fenced = _FENCE.match(body)
    try:
        return kind.model_validate_json(fenced.group(1) if fenced else body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "the answer"
        raise ValueError(f"{where}: {first['msg']}") from error


def _complaint(error: ValueError, schema: Mapping[str, Any]) -> str:
    return (
        f"That could not be read: {error}. Answer again with one JSON object of this schema and nothing else: "
        f"{json.dumps(schema)}"
    )
