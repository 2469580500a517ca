"""Client of OpenAI-compatible endpoints: one per role, paced, bounded, counted.

It records what the endpoint says of itself, a model or a stand-in; only the latter is told what an item is about. How
one request comes to an answer is `line`'s, that several answers are several samples `samples`'.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel_api.artifacts import STANDIN_NOTICE, RoleUsage, ServedBy
from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.endpoints import line, wire
from flywheel_jobs.endpoints.asking import Ask, Learnt
from flywheel_jobs.endpoints.dialect import Message
from flywheel_jobs.endpoints.door import decide
from flywheel_jobs.endpoints.line import Line, WaitReport
from flywheel_jobs.endpoints.pace import Pace
from flywheel_jobs.endpoints.purse import Lender, Purse
from flywheel_jobs.endpoints.samples import Samples
from flywheel_jobs.endpoints.transport import Http, NoReply, Transport
from flywheel_jobs.endpoints.verdicts import Outcome, Signs
from flywheel_jobs.endpoints.wire import Answer
from flywheel_store.backoff import delay

CUT = frozenset({"length", "window"})
"""Finish reasons of a text that breaks off: at its own limit, or at the server's window."""
MODELS_SECONDS, MODELS_TRIES = 10.0, 3


@dataclass(frozen=True)
class ChatResult:
    """The `n` answers to one request, each a completion of its own. `finish_reasons` are stop, length or window."""

    texts: list[str]
    finish_reasons: list[str]
    thoughts: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The first answer."""
        return self.texts[0]

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> ChatResult:
        """The result of these choices."""
        return cls(
            [a.text for a in answers],
            [a.finish for a in answers],
            [a.thought for a in answers],
            [a.id for a in answers],
        )


class ChatClient:
    """One role's endpoint. Create inside a running loop; close with `aclose`."""

    def __init__(
        self,
        endpoint: ResolvedEndpoint,
        patience_seconds: float = 120.0,
        on_wait: WaitReport | None = None,
        transport: Transport | None = None,
        steady: str | None = None,
        pace: Pace | None = None,
        lender: Lender | None = None,
    ) -> None:
        """`steady`: the only model name that answers may have; the empty text takes the first one's.

        `pace`: of the endpoint, where several roles share it. `lender`: of the role's budget, where it has one.
        """
        self.endpoint = endpoint
        self.role = endpoint.role
        self.purse = Purse(endpoint.role, lender)
        self.pace = pace or Pace(endpoint.concurrency, endpoint.requests_per_minute)
        self.window: int | None = None  # tokens, once /models has said it
        self._transport = transport or Http(endpoint)
        self._line = Line(endpoint, self._transport, self.purse, self.pace, patience_seconds, on_wait, steady)
        self._samples = Samples(self._line)
        self._identity: asyncio.Task[ServedBy] | None = None

    async def chat(
        self,
        messages: Sequence[Message],
        n: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        schema: Mapping[str, object] | None = None,
        seeds: Sequence[int] = (),
        tools: Sequence[Mapping[str, object]] = (),
        about: Mapping[str, str] | None = None,
    ) -> ChatResult:
        """Exactly `n` completions; with `seeds`, one of its own for each.

        Raises EndpointUnavailable (the endpoint stays away, or refuses until a person acts), BudgetExceeded, and
        RequestRefused (an ItemDropped) when this request cannot be answered. `schema` asks for JSON of that schema
        where the server can; the text still has to be parsed. `tools` are those of the prompt, for dialect Tools.
        `about` is what a script needs to play the item: it goes, as `metadata`, to a server that says that it is a
        stand-in and to no other.
        """
        told = about if about is not None and (await self.identify()).standin else None
        ask = Ask(
            self.endpoint.model,
            tuple(messages),
            self.endpoint.temperature if temperature is None else temperature,
            self.endpoint.top_p,
            self.endpoint.max_tokens if max_tokens is None else max_tokens,
            schema,
            self.endpoint.written,
            tuple(tools),
            told,
        )
        self._start_identity()
        return ChatResult.of(await self._samples.of(ask, len(seeds) or n, seed, seeds))

    async def identify(self, again: bool = False) -> ServedBy:
        """What the endpoint says of itself in GET /models, which may be nothing; asked once, or `again`.

        A stand-in's answers say that they are scripted, under whatever name it was asked: that is never lost.
        """
        if again and self._identity is not None and self._identity.done():
            self._identity = None
        known = await asyncio.shield(self._start_identity())
        if self._line.scripted and not known.standin:
            return known.model_copy(update={"standin": True, "notice": STANDIN_NOTICE})
        return known

    @property
    def answered(self) -> Counter[str]:
        """Answers by the model that they name."""
        return self._line.answered

    @property
    def learnt(self) -> Learnt:
        """What the server turned out not to do."""
        return self._line.learnt

    @property
    def usage(self) -> RoleUsage:
        """What this process has used."""
        return self.purse.usage

    @property
    def tokens_used(self) -> int:
        """Tokens of this role in this process that count against a budget."""
        return self.purse.used

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._identity is not None:
            self._identity.cancel()
        await self._samples.aclose()
        await self._line.aclose()
        await self.purse.aclose()

    def _start_identity(self) -> asyncio.Task[ServedBy]:
        if self._identity is None:
            self._identity = asyncio.create_task(self._models())
        return self._identity

    async def _models(self) -> ServedBy:
        """Identity is a courtesy: whatever /models does, the requests are what counts."""
        for attempt in range(MODELS_TRIES):
            try:
                reply = await self._transport.send("GET", "/models", None, MODELS_SECONDS)
            except NoReply:
                reply = wire.Reply(503)
            if reply.status == 200 or decide(Signs(reply.status)).outcome not in (Outcome.BUSY, Outcome.OUTAGE):
                break
            await asyncio.sleep(delay(attempt, line.BACKOFF_BASE, line.BACKOFF_CAP))
        listed = wire.parsed(reply.body) if reply.status == 200 else None
        self.window = wire.window(listed, self.endpoint.model)
        return wire.served_by(listed, self.role, self.endpoint.model)
