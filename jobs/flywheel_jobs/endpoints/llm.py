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
from flywheel_jobs.core.clock import now
from flywheel_jobs.core.logging import get_logger, redact
from flywheel_jobs.endpoints import line, wire
from flywheel_jobs.endpoints.asking import Ask, Learnt
from flywheel_jobs.endpoints.dialect import Message
from flywheel_jobs.endpoints.door import decide
from flywheel_jobs.endpoints.line import Line, WaitReport
from flywheel_jobs.endpoints.pace import Pace
from flywheel_jobs.endpoints.purse import Lender, Purse
from flywheel_jobs.endpoints.samples import Samples
from flywheel_jobs.endpoints.served import Rows, Steady, kept, other
from flywheel_jobs.endpoints.transport import Http, NoReply, Transport
from flywheel_jobs.endpoints.verdicts import Outcome, Signs
from flywheel_jobs.endpoints.wire import Answer
from flywheel_store.backoff import delay

log = get_logger(__name__)
CUT = frozenset({"length", "window"})
"""Finish reasons of a text that breaks off: at its own limit, or at the server's window."""
MODELS_SECONDS, MODELS_TRIES = 10.0, 3
_WORDS = ("owned_by", "notice", "weights", "root")
LOOK_SECONDS = 60.0  # from one look at /models to the next


def _shown(found: ServedBy) -> ServedBy:
    """What a server says of itself, without the key that it was sent."""
    return found.model_copy(update={name: redact(said) for name in _WORDS if (said := getattr(found, name))})


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
        steady: Steady | None = None,
        pace: Pace | None = None,
        lender: Lender | None = None,
    ) -> None:
        """`steady`: the one model that answers may be of, where they make a score.

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
        self._known = ServedBy(role=endpoint.role, model=endpoint.model)
        self._identity: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = 0.0  # of the loop's clock

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
        await asyncio.shield(self._start_identity())
        return self.known

    def look(self) -> None:
        """Looks at GET /models again in the background, where that was a minute ago. A look is one try.

        What it does not say stays known; where answers make a score, other weights end the next of them.
        """
        asked = self._identity is not None and self._identity.done()
        going = self._looking is not None and not self._looking.done()
        if asked and not going and asyncio.get_running_loop().time() - self._looked_at >= LOOK_SECONDS:
            self._looking = asyncio.create_task(self._models(1))

    def check_steady(self) -> None:
        """Raises EndpointUnavailable where another model than the first was seen, and answers make a score."""
        self._line.check_steady()

    @property
    def known(self) -> ServedBy:
        """What the endpoint has said of itself until now."""
        if self._line.scripted and not self._known.standin:
            return self._known.model_copy(update={"standin": True, "notice": STANDIN_NOTICE})
        return self._known

    @property
    def changed(self) -> bool:
        """Whether another model than the first was seen, where answers make a score."""
        return self._line.steady is not None and bool(self._line.steady.change)

    @property
    def said_at(self) -> str:
        """When the server last said weights, and those that answers must be of; empty if it never did."""
        return self._line.steady.said_at if self._line.steady is not None else ""

    @property
    def answers(self) -> Rows:
        """Answers by who they say gave them."""
        return self._line.answered

    @property
    def answered(self) -> Counter[str]:
        """Answers by the model that they name."""
        named = Counter[str]()
        for row in self._line.answered.values():
            named[row.model] += row.answers
        return named

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
        for task in (self._identity, self._looking):
            if task is not None:
                task.cancel()
        await self._samples.aclose()
        await self._line.aclose()
        await self.purse.aclose()

    def _start_identity(self) -> asyncio.Task[None]:
        if self._identity is None:
            self._identity = asyncio.create_task(self._models(MODELS_TRIES))
        return self._identity

    async def _models(self, tries: int) -> None:
        """Identity is a courtesy: whatever /models does, the requests are what counts."""
        self._looked_at = asyncio.get_running_loop().time()
        asked_at = now()
        for attempt in range(tries):
            try:
                reply = await self._transport.send("GET", "/models", None, MODELS_SECONDS)
            except NoReply:
                reply = wire.Reply(503)
            if reply.status == 200 or decide(Signs(reply.status)).outcome not in (Outcome.BUSY, Outcome.OUTAGE):
                break
            await asyncio.sleep(delay(attempt, line.BACKOFF_BASE, line.BACKOFF_CAP))
        listed = wire.parsed(reply.body) if reply.status == 200 else None
        self.window = wire.window(listed, self.endpoint.model) or self.window
        found = _shown(wire.served_by(listed, self.role, self.endpoint.model))
        if self._line.steady is not None:
            self._line.steady.looked(found, asked_at)
        if (differ := other(self._known, found)) is not None:
            log.warning("the served model changed", role=self.role, now=differ[1], before=differ[0])
        self._known = kept(self._known, found)
