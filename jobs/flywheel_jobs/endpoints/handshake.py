"""A handshake with one endpoint: tiny requests of the real shapes, before anything is spent (law 14)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from flywheel_api.common import Dialect
from flywheel_api.results import EndpointFinding
from flywheel_jobs.core.errors import EndpointUnavailable
from flywheel_jobs.endpoints.asking import SAMPLING
from flywheel_jobs.endpoints.dialect import Message
from flywheel_jobs.endpoints.line import RequestRefused
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.structured import parse
from flywheel_jobs.reading.calls import render

TOKENS = 64


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
        answer = await client.chat(STRUCTURED, n=2, seed=1, schema=Handshake.model_json_schema(), max_tokens=TOKENS)
        if with_tools:
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
    json = all(parse(text, Handshake)[0] is not None for text in answer.texts)  # as stages read it
    return EndpointFinding(
        role=client.role,
        model=next(iter(client.answered), client.endpoint.model)[:253],
        window=client.window,
        dialect=chosen,
        samples="One" if learnt.single else "Many",
        sampling="OfItsOwn" if learnt.takes_no & SAMPLING else "AsWritten",
        seed="Refused" if learnt.no_seed else "Accepted",
        structured_output="Refused" if learnt.no_schema else "Json" if json else "Ignored",
        usage="Estimated" if client.usage.estimated_tokens else "Reported",
    )
