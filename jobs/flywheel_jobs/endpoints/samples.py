"""Several answers to one question, each a sample of its own: what a cache gives twice is one.

Equal ids are one completion. Other ids are no proof of another one, since a cache may give its answers fresh ones; and
equal texts say little: a short answer is often the same. So the server is asked a question of ours that nobody has
asked, several times with other seeds and at temperature 1: if these come out word for word alike as well, nothing is
sampled there. A script, which says that it is one, is not asked.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Iterable, Sequence
from typing import TypeVar

from flywheel_api.common import Role
from flywheel_api.sampling import ONE_BY_ONE
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.endpoints.asking import Ask
from flywheel_jobs.endpoints.guard import Guard, Limits
from flywheel_jobs.endpoints.line import Line, RequestRefused
from flywheel_jobs.endpoints.wire import Answer

log = get_logger(__name__)
T = TypeVar("T")
CACHES = Limits(back=2, start=5, trip=10)  # items whose samples were one: each was asked about again already
SHARED = "not-independent"
REPEATS = 3  # how often equal completions are asked for again
LATE = 3  # requests for several samples in a row that were out of time: then all are asked for one by one
ALIKE = 20  # items in a row whose samples are word for word alike: then it is looked at (again)
OPEN, OPEN_ASKED, OPEN_TOKENS = "Write one sentence with a name, a place and a number of your own choice.", 6, 64
CACHED = "several requests are answered by one completion: it comes from a cache, which must be switched off"
ONE_TEXT = (
    "several requests are answered by one text, a question of our own too: it comes from a cache, or the server does "
    "not sample; switch that off"
)


class Samples:
    """Independent answers over one line."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._caches = Guard()
        self._alike = ALIKE - 1  # the first time it is looked at once
        self._choices_alike = self._late = 0
        self._looking: asyncio.Task[None] | None = None

    async def of(self, ask: Ask, n: int, seed: int | None, seeds: Sequence[int]) -> list[Answer]:
        """Exactly `n` answers, with `seeds` one request for each."""
        found: list[Answer] = []
        known: set[str] = set()
        asked = repeats = 0
        apart = bool(seeds) or self._long(ask)
        while len(found) < n:
            missing = n - len(found)
            sizes = [1] * missing if apart or self._line.learnt.single else [missing]
            ask_again = [self._line.answers(ask, size, _seed(seed, seeds, asked + k)) for k, size in enumerate(sizes)]
            asked += len(sizes)
            batches = await _all(ask_again)
            if self._out_of_time(sizes, batches):
                apart = True
                continue
            fresh = _distinct(batches, known)
            repeats += len(fresh) < len(batches)
            if repeats > REPEATS:
                always = self._caches.trips(CACHED, CACHES)
                raise self._line.refuses(f"for {always} items {CACHED}") if always else self._line.drop(SHARED, CACHED)
            found += [answer for batch in fresh for answer in batch]
        if asked > 1:
            self._caches.trips(None)
        if n > 1 and ask.temperature > 0:
            await self._doubt(found[:n], asked)
        return found[:n]

    def _long(self, ask: Ask) -> bool:
        """Whether samples of the policy go one by one: one that is lost is then lost alone, and pace counts each."""
        return self._line.endpoint.role is Role.POLICY and ask.max_tokens > ONE_BY_ONE

    def _out_of_time(self, sizes: Sequence[int], batches: Sequence[tuple[Answer, ...]]) -> bool:
        """Whether one request for several samples had no answer in time: one of them may be long, and all were lost.

        Asked for one by one, each has the whole time and only the long one is asked again. Where that goes on, the
        server is too slow for several, and the prompts that single requests cost more are the lesser loss.
        """
        if sizes[0] == 1:
            return False
        self._late = 0 if batches[0] else self._late + 1
        if self._late == LATE:
            self._line.learnt.single = True
            log.info("several samples are never in time: they are asked for one by one", role=self._line.endpoint.role)
        return not batches[0]

    async def _doubt(self, found: Sequence[Answer], asked: int) -> None:
        """Looks at samples that are all alike. Raises EndpointUnavailable where nothing is sampled."""
        alike = len({(a.text, a.thought) for a in found}) == 1
        if asked == 1:
            # n choices of one seed are one choice: then they are asked for one by one, which costs nobody anything
            self._choices_alike = self._choices_alike + 1 if alike else 0
            if self._choices_alike == ALIKE and not self._line.learnt.single:
                self._line.learnt.single = True
                log.info("all choices are always alike: they are asked for one by one", role=self._line.endpoint.role)
        elif not self._line.scripted and not self._may_be_sharp(found):
            self._alike = self._alike + 1 if alike else 0
            if self._alike >= ALIKE:
                await self._look()

    def _may_be_sharp(self, found: Sequence[Answer]) -> bool:
        """Whether it is the model that says one thing only, whatever it is asked: a policy may have learnt just that.

        That is for the gate to judge, and no reason to refuse its server; so for a policy the server's ids decide.
        """
        return self._line.endpoint.role is Role.POLICY and all(a.id for a in found)

    async def _look(self) -> None:
        """Asks our own question; all that doubt at once share it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._open_question())
        await asyncio.shield(self._looking)

    async def _open_question(self) -> None:
        messages = ({"role": "user", "content": f"{OPEN} ({random.randrange(10**9)})"},)
        ask = Ask(self._line.endpoint.model, messages, 1.0, 1.0, OPEN_TOKENS, written=self._line.endpoint.written)
        texts = set()
        try:
            for _ in range(OPEN_ASKED):  # one after the other: a cache has to know the first one
                answer, *_rest = await self._line.answers(ask, 1, random.randrange(1 << 31))
                texts.add((answer.text, answer.thought))
                if len(texts) > 1:
                    break
        except RequestRefused:
            texts.clear()  # that says nothing about samples
        if len(texts) == 1:
            raise self._line.refuses(ONE_TEXT)
        self._alike = 0

    async def aclose(self) -> None:
        """Ends what still asks."""
        if self._looking is not None:
            self._looking.cancel()


def _seed(seed: int | None, seeds: Sequence[int], number: int) -> int | None:
    if number < len(seeds):
        return seeds[number]
    first = seeds[0] if seeds else seed
    return None if first is None else (first + 7919 * number) % (1 << 31)


def _distinct(batches: Iterable[tuple[Answer, ...]], known: set[str]) -> list[tuple[Answer, ...]]:
    """Batches whose completion was not there before, as far as ids tell."""
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
