"""One role's line to its endpoint: one request after another to an answer, through whatever weather there is.

What a response is, `door` decides; this module does what follows (law 6). What is busy or out is asked again until the
endpoint has stayed away for its patience; an item is at fault only on evidence of its own.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from flywheel_api.artifacts import ServedBy
from flywheel_api.common import Role
from flywheel_api.ends import End
from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.core.errors import EndpointUnavailable, ItemDropped
from flywheel_jobs.core.logging import get_logger, redact
from flywheel_jobs.endpoints import wire
from flywheel_jobs.endpoints.asking import LIMIT, LIMIT_TOO, Ask, Learnt, Less, N
from flywheel_jobs.endpoints.door import TOO_LONG, decide
from flywheel_jobs.endpoints.guard import ORDINARY, OWN, Guard, Limits, kind_of
from flywheel_jobs.endpoints.pace import Pace
from flywheel_jobs.endpoints.purse import Purse
from flywheel_jobs.endpoints.served import Rows, Steady, count
from flywheel_jobs.endpoints.transport import NoReply, Transport
from flywheel_jobs.endpoints.verdicts import Outcome, Signs
from flywheel_jobs.endpoints.wire import Answer, Read
from flywheel_store.backoff import delay

log = get_logger(__name__)
WaitReport = Callable[[str | None], None]
BACKOFF_BASE, BACKOFF_CAP = 0.5, 15.0
SUSPECT = 4  # failures of one request, after which a small request of our own is asked between its tries
STRIKES = 8  # of those in a row answered while the request failed: by chance less than once in a million
PROBES = 4  # at most so many at once, drawn anew: behind a balancer that goes round, tries must not fall into step
LONGEST, SLOW_STRIKES = 8, 3  # a time-out doubles up to so many times itself; what is slower still is struck sooner
PROBE_TOKENS = 8
OWN_TRIES = 3  # requests of our own, each with a pause before it, of which one has to be answered


class RequestRefused(ItemDropped):
    """The endpoint refuses this very request; `reason` is the door's word. Not final while the guard may still trip."""

    def __init__(self, reason: str, detail: str = "", role: Role | None = None) -> None:
        super().__init__(reason, detail)
        self.role = role


class WeightsChanged(EndpointUnavailable):
    """Another model answers where answers make a score, and nobody can tell since which answer."""


@dataclass
class Trouble:
    """What one request has been through."""

    tries: int = 0
    failures: int = 0
    timeouts: int = 0
    strikes: int = 0


class Line:
    """The requests of one role."""

    def __init__(
        self,
        endpoint: ResolvedEndpoint,
        transport: Transport,
        purse: Purse,
        pace: Pace,
        patience_seconds: float,
        on_wait: WaitReport | None = None,
        steady: Steady | None = None,
    ) -> None:
        """`steady`: the one model that answers may be of."""
        self.endpoint = endpoint
        self.purse = purse
        self.pace = pace
        self.answered: Rows = {}
        self.scripted = False
        self._redacted = functools.lru_cache(64)(redact)  # of few words, in each answer
        self.learnt = Learnt(endpoint.dialect)
        self._transport = transport
        self._patience = patience_seconds
        self._on_wait = on_wait or (lambda _text: None)
        self.steady = steady
        self._guard = Guard()
        self._down_since: float | None = None
        self._time_out = endpoint.timeout_seconds
        self._probing: asyncio.Task[bool] | None = None

    async def aclose(self) -> None:
        """Ends what still asks."""
        if self._probing is not None:
            self._probing.cancel()
        await self._transport.aclose()

    # ---- one request ----------------------------------------------------------------------------------------------
    async def answers(self, ask: Ask, count: int, seed: int | None) -> tuple[Answer, ...]:
        """At least one answer to a request for `count` of them; none where several were not there in time."""
        body = ask.body(count, seed, self.learnt)
        own_sampling = self.endpoint.role is Role.POLICY
        trouble, less = Trouble(), Less(ask.parts(body, self.learnt), own_sampling)
        while True:
            if trouble.tries:  # what was learnt meanwhile, by others too, is left out
                body = ask.body(count, seed, self.learnt, less.without)
            trouble.tries += 1
            read = await self._once(body, ask.reserve(count), self._limit(trouble), trouble)
            if read.outcome is Outcome.ANSWER:
                self._learn(ask, less, count, read)
                return read.answers[:count]
            if trouble.timeouts and N in body:
                return ()
            busy = read.outcome is Outcome.BUSY
            if (busy and not read.by_words) or (not busy and less.again(read, trouble.failures)):
                continue
            if read.outcome is not Outcome.OUTAGE and not read.by_words:
                raise await self._end(read, ask)
            await self._outage(read, trouble, ask)

    async def _once(self, body: Mapping[str, object], tokens: int, seconds: float, trouble: Trouble) -> Read:
        """One try: in its turn, within the budget, counted."""
        async with self.pace.turn() as began:
            await self.purse.reserve(tokens)
            try:
                reply = await self._transport.send("POST", "/chat/completions", body, seconds)
                return self._came(body, reply, began, trouble)
            except NoReply as error:
                trouble.timeouts += error.timed_out
                if error.sent:
                    self.purse.broken(tokens)
                return Read(decide(Signs(0, broken=True)), str(error))
            except asyncio.CancelledError:
                self.purse.broken(tokens)
                raise
            finally:
                await self.purse.settle(tokens)

    def _came(self, body: Mapping[str, object], reply: wire.Reply, began: float, trouble: Trouble) -> Read:
        """Reads a reply, and counts what it cost and says of the endpoint."""
        most = body.get(LIMIT, body.get(LIMIT_TOO))
        read = wire.read(reply, most if isinstance(most, int) else None)
        if read.outcome is Outcome.ANSWER:
            self._take(read, Ask.prompt(body), asyncio.get_running_loop().time() - began)
        elif read.outcome is Outcome.BUSY and not read.by_words:
            self._busy(read, self.pace.busy(began, read.retry_after))
        elif read.outcome is Outcome.BUSY and not trouble.strikes:
            self.pace.busy(began, None)
        elif reply.status == 200:
            self.purse.broken((read.tokens.prompt or 0) + (read.tokens.completion or 0))
        return read

    def _take(self, read: Read, prompt: int, seconds: float) -> None:
        named, by = self._redacted(read.answers[0].model), self._redacted(read.answers[0].fingerprint)
        named = named or self.endpoint.model
        if self.steady is not None:
            self.steady.named(named)
            self.check_steady()
        count(self.answered, ServedBy(role=self.endpoint.role, model=named, answers=1, fingerprint=by or None))
        self.scripted = self.scripted or read.answers[0].standin
        self.purse.count(read, prompt, seconds)
        self.pace.answered()
        self._up()

    def check_steady(self) -> None:
        """Raises EndpointUnavailable where another model than the first was seen, and answers make a score."""
        if self.steady is not None and self.steady.change:
            kind = WeightsChanged if self.steady.by_look else EndpointUnavailable  # a name is in each answer
            raise kind(
                f"{self._name()} answers {shown(self.steady.change, 400)}: a score is of one model; serve that "
                "one again",
                reason=End.SERVED_MODEL_CHANGED,
            )

    def _up(self) -> None:
        if self._down_since is not None:
            self._down_since = None
            self._on_wait(None)

    def _learn(self, ask: Ask, less: Less, count: int, read: Read) -> None:
        """What the server turned out not to do, and whether its window cuts."""
        for word in self.learnt.take(ask, less.without if less.sure else frozenset(), count > read.offered):
            log.info("the endpoint does not do everything", role=self.endpoint.role, without=word)
        cut = next((a for a in read.answers if a.finish == "window"), None)
        tripped = self._guard.trips("window" if cut else None, ORDINARY if self.steady is None else OWN)
        if tripped:
            used = (read.tokens.prompt or 0) + (read.tokens.completion or 0)
            raise self.refuses(
                f"{tripped} answers were cut by the server's own window of about {used} tokens, before the "
                f"{ask.max_tokens} tokens that are asked for: give the server a larger one"
            )

    # ---- trouble --------------------------------------------------------------------------------------------------
    def _limit(self, trouble: Trouble) -> float:
        """The time-out of a request: it doubles with each one, so that nothing is generated over and over in vain."""
        return self._time_out * min(LONGEST, 1 << trouble.timeouts)

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

    async def _outage(self, read: Read, trouble: Trouble, ask: Ask) -> None:
        """Waits before the next try. Raises when the endpoint stays away or refuses, or the request is at fault."""
        trouble.failures += 1
        down = self._down(read, "retrying")
        refused = read.outcome is Outcome.ENDPOINT_REFUSED
        if refused or trouble.failures >= SUSPECT or down > self._patience:
            alive = await (self._unlike(read, ask) if refused else self._alive())
            trouble.strikes = trouble.strikes + 1 if alive else 0
            slow = 1 << trouble.timeouts > LONGEST
            if trouble.strikes >= (SLOW_STRIKES if slow else STRIKES):
                said = f"failed {trouble.failures} times while others were answered: {shown(read.said)}"
                raise await self._dropped("request-refused", said, ask)
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
            ask = Ask(self.endpoint.model, (_ours(),), 0.0, 1.0, PROBE_TOKENS, written=self.endpoint.written)
            body = ask.body(1, None, self.learnt)
            read = await self._once(body, ask.reserve(1), self.endpoint.timeout_seconds, Trouble())
            if read.outcome is not Outcome.ANSWER:
                return False
        return True

    async def _unlike(self, read: Read, ask: Ask) -> bool:
        """Whether a request of our own is answered where words alone say that a person must act.

        Raises EndpointUnavailable where it is refused, too.
        """
        outcome = await self._ours(ask)
        if outcome in (Outcome.ANSWER, Outcome.BUSY, Outcome.OUTAGE):
            return outcome is Outcome.ANSWER
        raise await self._end(read, ask)

    async def _end(self, read: Read, ask: Ask) -> Exception:
        """The end of an item; of the stage where a person must act, or where what is ours is refused as well."""
        if read.outcome is Outcome.ENDPOINT_REFUSED:
            return self.refuses(f"{shown(read.said)}: {read.row.advice}")
        # where scores are made, a conversation that grows beyond the window is the model's doing
        own = read.outcome is Outcome.ITEM_FILTERED or (read.row.word == TOO_LONG and self.steady is not None)
        return await self._dropped(read.row.word, read.said, ask, OWN if own else ORDINARY)

    async def _dropped(self, word: str, said: str, ask: Ask, limits: Limits = ORDINARY) -> Exception:
        """The end of an item; of the stage where items end alike and a request of our own does not do better."""
        tripped = self._guard.trips(kind_of(word, said), limits)
        if tripped and not await self._answers_ours(ask):
            return self.refuses(
                f"{tripped} requests were refused alike, and ours as well, so it is not the items: {shown(said)}: "
                "check the endpoint's model, sampling and limits"
            )
        return self.drop(word, said)

    async def _answers_ours(self, ask: Ask) -> bool:
        """Whether one of a few small requests of our own is answered, of the same shape: what they ask is not odd.

        Items that are refused for good may come in a row: an attempt that goes on asks what is missing, and refused
        items are missing until the end.
        """
        outcome = Outcome.BUSY
        for pause in range(OWN_TRIES):
            await asyncio.sleep(pause)
            outcome = await self._ours(ask)
            if outcome is Outcome.ANSWER:
                return True
        return outcome is Outcome.BUSY

    async def _ours(self, ask: Ask) -> Outcome:
        """What becomes of a small request of our own, of the same shape."""
        ours = replace(ask, messages=(_ours(),), tools=(), metadata=None)
        body = ours.body(1, None, self.learnt)
        return (await self._once(body, ours.reserve(1), self.endpoint.timeout_seconds, Trouble())).outcome

    def drop(self, word: str, said: str) -> RequestRefused:
        """The end of an item."""
        return RequestRefused(word, f"{self._name()}: {shown(said)}", self.endpoint.role)

    def refuses(self, why: str) -> EndpointUnavailable:
        """The end of the stage until a person acts."""
        return EndpointUnavailable(f"{self._name()} refuses requests: {why}", reason="EndpointRefused")

    def _unavailable(self, read: Read, down: float) -> EndpointUnavailable:
        return EndpointUnavailable(
            f"{self._name()} has not answered for {down:.0f} s, last: {shown(read.said)}; the stage goes on from its "
            "finished items once the endpoint answers again"
        )

    def _name(self) -> str:
        return redact(f"{self.endpoint.role} at {self.endpoint.url}")


def _ours() -> dict[str, object]:
    """A small question, with a number of its own, so that no cache answers for a dead server."""
    return {"role": "user", "content": f"Say {random.randrange(10**6)}."}


def shown(said: str, most: int = 200) -> str:
    """A server's words as they may be shown: redacted whole, then cut."""
    return redact(said)[:most]
