"""A handshake with one endpoint: tiny requests of the real shapes, before anything is spent (law 14)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from flywheel_api.common import Dialect
from flywheel_api.results import EndpointFinding
from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.endpoints.asking import SAMPLING
from flywheel_jobs.endpoints.dialect import Message
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.endpoints.llm import CUT, ChatClient, ChatResult
from flywheel_jobs.endpoints.structured import parse
from flywheel_jobs.reading.calls import render

TOKENS, THOUGHTFUL = 64, 1024  # of an answer; of one that was cut off at the first number, as in a thought


class Handshake(BaseModel):
    """An answer of one word."""

    model_config = ConfigDict(extra="forbid")
    reply: str


STRUCTURED: list[Message] = [
    {"role": "system", "content": "Answer JSON: reply (one word)."},
    {"role": "user", "content": '{"ask": "handshake"}'},
]
TOOLS: list[Message] = [
    {"role": "system", "content": "Look up what the customer asks for."},
    {"role": "user", "content": "Is booking 7 open?"},
    {"role": "assistant", "content": render("look_up", {"id": 7})},
    {"role": "tool", "content": "open"},
]


async def shake(client: ChatClient, with_tools: bool) -> EndpointFinding:
    """What the endpoint can do. Raises EndpointUnavailable when it stays away, or refuses what stages will send."""
    try:
        answer = await _structured(client, TOKENS)
        if _schema(answer) == "Unknown" and not client.learnt.no_schema:
            answer = await _longer(client, answer)
        if with_tools:  # how that ends says nothing: it is taken or refused
            await client.chat(TOOLS, seed=1, max_tokens=TOKENS)
    except RequestRefused as refused:
        raise EndpointUnavailable(
            f"a request of the shape that stages send is refused: {refused.detail}: check the endpoint's model and "
            "dialect, or name another one",
            reason="EndpointRefused",
        ) from refused
    await client.identify()  # it says the window
    learnt = client.learnt
    chosen = learnt.dialect if learnt.dialect is not Dialect.AUTO else Dialect.TEXT
    return EndpointFinding(
        role=client.role,
        model=next(iter(client.answered), client.endpoint.model)[:253],
        window=client.window,
        dialect=chosen,
        samples="One" if learnt.single else "Many",
        sampling="OfItsOwn" if learnt.takes_no & SAMPLING else "AsWritten",
        seed="Refused" if learnt.no_seed else "Accepted",
        structured_output="Refused" if learnt.no_schema else _schema(answer),
        usage="Estimated" if client.usage.estimated_tokens else "Reported",
    )


async def _structured(client: ChatClient, tokens: int) -> ChatResult:
    return await client.chat(STRUCTURED, n=2, seed=1, schema=Handshake.model_json_schema(), max_tokens=tokens)


async def _longer(client: ChatClient, short: ChatResult) -> ChatResult:
    """The answer with more tokens: not more than stages ask for, and with room for the prompt in the window."""
    await client.identify()  # it says the window
    most = min(THOUGHTFUL, client.endpoint.max_tokens, (client.window or 2 * THOUGHTFUL) // 2)
    try:
        return await _structured(client, most) if most > TOKENS else short
    except RequestRefused:  # a window that it does not say is too small for it; the shape was taken
        return short


def _schema(answer: ChatResult) -> Literal["Json", "Ignored", "Unknown"]:
    """What the schema came to, read as stages read it.

    What was cut off says nothing: a thought may be marked, told apart, or unmarked where the template opened it.
    """
    read = [parse(text, Handshake)[0] is not None for text in answer.texts]
    if all(read):
        return "Json"
    whole = [finish not in CUT for finish in answer.finish_reasons]
    return "Ignored" if any(w and not r for w, r in zip(whole, read, strict=True)) else "Unknown"
