"""Client of OpenAI-compatible endpoints: one per role, paced, bounded, counted.

What a response is, `door` decides; this module does what follows (law 6). What is busy or out is asked again until the
endpoint has stayed away for its patience; an item is at fault only on evidence of its own. It does not know whether a
model or a stand-in answers; it records what the endpoint says of itself.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from flywheel_api.artifacts import STANDIN_NOTICE, RoleUsage, ServedBy
from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.core.errors import EndpointUnavailable, ItemDropped
from flywheel_jobs.core.logging import get_logger, redact
from flywheel_jobs.endpoints import wire
from flywheel_jobs.endpoints.asking import Ask, Learnt, Less
from flywheel_jobs.endpoints.dialect import Message
from flywheel_jobs.endpoints.door import Outcome, Signs, decide
from flywheel_jobs.endpoints.guard import Guard, kind_of
from flywheel_jobs.endpoints.pace import Pace
from flywheel_jobs.endpoints.purse import Purse
from flywheel_jobs.endpoints.transport import Http, NoReply, Transport
from flywheel_jobs.endpoints.wire import Answer, Read
from flywheel_store.backoff import delay

log = get_logger(__name__)
T = TypeVar("T")
WaitReport = Callable[[str | None], None]
BACKOFF_BASE, BACKOFF_CAP = 0.5, 15.0
SUSPECT = 4  # failures of one request, after which a small request of our own is asked between its tries
STRIKES = 8  # of those in a row answered while the request failed: by chance less than once in a million
PROBES = 4  # at most so many at once, drawn anew: behind a balancer that goes round, tries must not fall into step
LONGEST, SLOW_STRIKES = 8, 3  # a time-out doubles up to so many times itself; what is slower still is struck sooner
REPEATS = 3  # how often equal completions are asked for again
_CACHED = "several requests are answered by one completion: it comes from a cache, which must be switched off"
PROBE_TOKENS, MODELS_SECONDS, MODELS_TRIES = 8, 10.0, 3


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


class RequestRefused(ItemDropped):
    """The endpoint refuses this very request; `reason` is the door's word. Not final while the guard may still trip."""


@dataclass
class Trouble:
    """What one request has been through."""

    failures: int = 0
    timeouts: int = 0
    strikes: int = 0


class ChatClient:
    """One role's endpoint. Create inside a running loop; close with `aclose`."""

    def __init__(
        self,
        endpoint: ResolvedEndpoint,
        patience_seconds: float = 120.0,
        on_wait: WaitReport | None = None,
        already_used: int = 0,
        transport: Transport | None = None,
        steady: str | None = None,
        pace: Pace | None = None,
    ) -> None:
        """`steady`: the only model name that answers may have; the empty text takes the first one's.

        `pace`: of the endpoint, where several roles share it.
        """
        self.endpoint = endpoint
        self.role = endpoint.role
        self.purse = Purse(endpoint.role, endpoint.token_limit, already_used)
        self.pace = pace or Pace(endpoint.concurrency, endpoint.requests_per_minute)
        self.answered: Counter[str] = Counter()
        self._scripted = False
        self.learnt = Learnt(endpoint.dialect)
        self.window: int | None = None  # tokens, once /models has said it
        self._patience = patience_seconds
        self._on_wait = on_wait or (lambda _text: None)
        self._transport = transport or Http(endpoint)
        self._steady = steady
        self._guard, self._caches = Guard(), Guard()
        self._down_since: float | None = None
        self._time_out = endpoint.timeout_seconds
        self._probing: asyncio.Task[bool] | None = None
        self._identity: asyncio.Task[ServedBy] | None = None

    # ---- public ---------------------------------------------------------------------------------------------------
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
    ) -> ChatResult:
        """Exactly `n` completions; with `seeds`, one of its own for each.

        Raises EndpointUnavailable (the endpoint stays away, or refuses until a person acts), BudgetExceeded, and
        RequestRefused (an ItemDropped) when this request cannot be answered. `schema` asks for JSON of that schema
        where the server can; the text still has to be parsed. `tools` are those of the prompt, for dialect Tools.
        """
        ask = Ask(
            self.endpoint.model,
            tuple(messages),
            self.endpoint.temperature if temperature is None else temperature,
            self.endpoint.top_p,
            self.endpoint.max_tokens if max_tokens is None else max_tokens,
            schema,
            tuple(tools),
        )
        self._start_identity()
        wanted = len(seeds) or n
        found: list[Answer] = []
        known: set[str] = set()
        asked = repeats = 0
        while len(found) < wanted:
            missing = wanted - len(found)
            sizes = [1] * missing if seeds or self.learnt.single else [missing]
            ask_again = [self._answers(ask, size, _seed(seed, seeds, asked + k)) for k, size in enumerate(sizes)]
            asked += len(sizes)
            batches = await _all(ask_again)
            fresh = _distinct(batches, known)
            repeats += len(fresh) < len(batches)
            if repeats > REPEATS:
                raise self._drop("not-independent", _CACHED, self._caches)
            found += [answer for batch in fresh for answer in batch]
        if asked > 1:
            self._caches.trips(None)
        return ChatResult.of(found[:wanted])

    async def identify(self, again: bool = False) -> ServedBy:
        """What the endpoint says of itself in GET /models, which may be nothing; asked once, or `again`.

        A stand-in's answers say that they are scripted, under whatever name it was asked: that is never lost.
        """
        if again and self._identity is not None and self._identity.done():
            self._identity = None
        known = await asyncio.shield(self._start_identity())
        if self._scripted and not known.standin:
            return known.model_copy(update={"standin": True, "notice": STANDIN_NOTICE})
        return known

    @property
    def usage(self) -> RoleUsage:
        """What this process has used."""
        return self.purse.usage

    @property
    def tokens_used(self) -> int:
        """Tokens of this role in this stage so far, over all attempts."""
        return self.purse.used

    async def aclose(self) -> None:
        """Closes the connections."""
        for task in (self._identity, self._probing):
            if task is not None:
                task.cancel()
        await self._transport.aclose()

    # ---- one request ----------------------------------------------------------------------------------------------
    async def _answers(self, ask: Ask, count: int, seed: int | None) -> tuple[Answer, ...]:
        """At least one answer to a request for `count` of them."""
        trouble, less = Trouble(), Less(ask.parts(ask.body(count, seed, self.learnt), self.learnt))
        while True:
            body = ask.body(count, seed, self.learnt, less.without)
            read = await self._once(body, ask.reserve(count), self._limit(trouble), trouble)
            if read.outcome is Outcome.ANSWER:
                self._learn(ask, less, count, read)
                return read.answers[:count]
            if read.outcome is Outcome.BUSY or less.again(read, trouble.failures):
                continue
            if read.outcome is not Outcome.OUTAGE:
                raise self._end(read)
            await self._outage(read, trouble)

    async def _once(self, body: Mapping[str, object], tokens: int, seconds: float, trouble: Trouble) -> Read:
        """One try: in its turn, within the budget, counted."""
        async with self.pace.turn() as began:
            await self.purse.reserve(tokens)
            try:
                reply = await self._transport.send("POST", "/chat/completions", body, seconds)
                return self._came(body, reply, began)
            except NoReply as error:
                trouble.timeouts += error.timed_out
                if error.sent:
                    self.purse.broken(tokens)
                return Read(decide(Signs(0, broken=True)), str(error))
            finally:
                await self.purse.settle(tokens)

    def _came(self, body: Mapping[str, object], reply: wire.Reply, began: float) -> Read:
        """Reads a reply, and counts what it cost and says of the endpoint."""
        most = body.get("max_tokens")
        read = wire.read(reply, most if isinstance(most, int) else None)
        if read.outcome is Outcome.ANSWER:
            self._take(read, Ask.prompt(body), asyncio.get_running_loop().time() - began)
        elif read.outcome is Outcome.BUSY:
            self._busy(read, self.pace.busy(began, read.retry_after))
        elif reply.status == 200:
            self.purse.broken((read.tokens.prompt or 0) + (read.tokens.completion or 0))
        return read

    def _take(self, read: Read, prompt: int, seconds: float) -> None:
        named = read.answers[0].model or self.endpoint.model
        if self._steady is not None:
            self._steady = self._steady or named
            if named != self._steady:
                raise EndpointUnavailable(
                    f"{self._name()} answers as {named}, and as {self._steady} before: a score is of one model; serve "
                    "that one again",
                    reason="ServedModelChanged",
                )
        self.answered[named] += 1
        self._scripted = self._scripted or read.answers[0].standin
        self.purse.count(read, prompt, seconds)
        self.pace.answered()
        self._up()

    def _up(self) -> None:
        if self._down_since is not None:
            self._down_since = None
            self._on_wait(None)

    def _learn(self, ask: Ask, less: Less, count: int, read: Read) -> None:
        """What the server turned out not to do, and whether its window cuts."""
        for word in self.learnt.take(ask, less.without if less.sure else frozenset(), count > read.offered):
            log.info("the endpoint does not do everything", role=self.role, without=word)
        cut = next((a for a in read.answers if a.finish == "window"), None)
        tripped = self._guard.trips("window" if cut else None)
        if tripped:
            used = (read.tokens.prompt or 0) + (read.tokens.completion or 0)
            raise self._refuses(
                f"{tripped} answers were cut by the server's own window of about {used} tokens, before the "
                f"{ask.max_tokens} tokens that are asked for: give the server a larger one"
            )

    # ---- trouble --------------------------------------------------------------------------------------------------
    def _limit(self, trouble: Trouble) -> float:
        """The time-out of a request: the second one doubles, so that nothing is generated over and over in vain."""
        return self._time_out * min(LONGEST, 1 << max(0, trouble.timeouts - 1))

    def _down(self, read: Read, more: str) -> float:
        now = asyncio.get_running_loop().time()
        if self._down_since is None:
            self._down_since = now
        down = now - self._down_since
        self._on_wait(f"{self._name()}: {shown(read.said, 120)}; {more}, {down:.0f} of {self._patience:.0f} s")
        return down

    def _busy(self, read: Read, rest: float) -> None:
        down = self._down(read, f"resting {rest:.0f} s")
        if max(down, read.retry_after or 0.0) > self._patience:
            raise self._unavailable(read, down)

    async def _outage(self, read: Read, trouble: Trouble) -> None:
        """Waits before the next try. Raises when the endpoint stays away, or when the request is at fault."""
        trouble.failures += 1
        down = self._down(read, "retrying")
        if trouble.failures >= SUSPECT or down > self._patience:
            alive = await self._alive()
            trouble.strikes = trouble.strikes + 1 if alive else 0
            slow = 1 << max(0, trouble.timeouts - 1) > LONGEST
            if trouble.strikes >= (SLOW_STRIKES if slow else STRIKES):
                raise self._drop(
                    "request-refused",
                    f"failed {trouble.failures} times while others were answered: {shown(read.said)}",
                )
            if not alive and down > self._patience:
                raise self._unavailable(read, down)
        pause = delay(trouble.failures - 1, BACKOFF_BASE, BACKOFF_CAP)
        await asyncio.sleep(min(pause, max(0.1, self._patience - down + 0.1)))

    async def _alive(self) -> bool:
        """Whether small requests of our own are answered now; all that ask at once share them."""
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        # one of two replicas is dead and each try meets it, each probe the other: hence a number of probes by chance
        for _ in range(random.randint(1, PROBES)):
            # a number of its own, so that no cache answers for a dead server
            text = f"Say {random.randrange(10**6)}."
            ask = Ask(self.endpoint.model, ({"role": "user", "content": text},), 0.0, 1.0, PROBE_TOKENS)
            body = ask.body(1, None, self.learnt)
            read = await self._once(body, ask.reserve(1), self.endpoint.timeout_seconds, Trouble())
            if read.outcome is not Outcome.ANSWER:
                return False
        return True

    def _end(self, read: Read) -> Exception:
        if read.outcome is Outcome.ENDPOINT_REFUSED:
            return self._refuses(f"{shown(read.said)}: {read.row.advice}")
        return self._drop(read.row.word, read.said, most=read.outcome is not Outcome.ITEM_FILTERED)

    def _drop(self, word: str, said: str, guard: Guard | None = None, most: bool = True) -> Exception:
        tripped = (guard or self._guard).trips(kind_of(word, said), most)
        if tripped:
            return self._refuses(
                f"{tripped} requests were refused alike, so it is not the items: {shown(said)}: check the endpoint's "
                "model, sampling and limits"
            )
        return RequestRefused(word, f"{self._name()}: {shown(said)}")

    def _refuses(self, why: str) -> EndpointUnavailable:
        return EndpointUnavailable(f"{self._name()} refuses requests: {why}", reason="EndpointRefused")

    def _unavailable(self, read: Read, down: float) -> EndpointUnavailable:
        return EndpointUnavailable(
            f"{self._name()} has not answered for {down:.0f} s, last: {shown(read.said)}; the stage goes on from its "
            "finished items once the endpoint answers again"
        )

    def _name(self) -> str:
        return redact(f"{self.role} at {self.endpoint.url}")

    # ---- who answers ----------------------------------------------------------------------------------------------
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
            await asyncio.sleep(delay(attempt, BACKOFF_BASE, BACKOFF_CAP))
        listed = wire.parsed(reply.body) if reply.status == 200 else None
        self.window = wire.window(listed, self.endpoint.model)
        return wire.served_by(listed, self.role, self.endpoint.model)


def shown(said: str, most: int = 200) -> str:
    """A server's words as they may be shown: redacted whole, then cut."""
    return redact(said)[:most]


def _seed(seed: int | None, seeds: Sequence[int], number: int) -> int | None:
    if number < len(seeds):
        return seeds[number]
    first = seeds[0] if seeds else seed
    return None if first is None else (first + 7919 * number) % (1 << 31)


def _distinct(batches: Iterable[tuple[Answer, ...]], known: set[str]) -> list[tuple[Answer, ...]]:
    """Batches whose completion was not there before; a server without ids is believed."""
    fresh = []
    for batch in batches:
        if not batch[0].id or batch[0].id not in known:
            fresh.append(batch)
            known.add(batch[0].id)
    return fresh


async def _all(work: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """All results; the first error ends the others."""
    if len(work) == 1:
        return [await work[0]]
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
