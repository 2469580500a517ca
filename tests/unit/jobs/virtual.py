"""A loop whose clock jumps to the next thing that is due, and an endpoint without a network: an hour in a second."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.endpoints.purse import Lent
from flywheel_jobs.endpoints.served import Steady
from flywheel_jobs.endpoints.transport import NoReply
from flywheel_jobs.endpoints.wire import Reply
from flywheel_standin import faults
from flywheel_standin.faults import Fault

T = TypeVar("T")
Body = Mapping[str, Any]
Play = Callable[[Body, int], Reply | Awaitable[Reply]]
_ids = itertools.count()
ASK = [{"role": "user", "content": "hi"}]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Nothing here waits: where nothing is ready, it is later at once."""

    _now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            due = min((h._when for h in self._scheduled if not h._cancelled), default=self._now)  # type: ignore[attr-defined]
            self._now = max(self._now, due)
        super()._run_once()  # type: ignore[misc]


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now() -> float:
    """Seconds of virtual time."""
    return asyncio.get_running_loop().time()


def most_in_a_minute(times: Sequence[float]) -> int:
    """How many of these times, in order, lie in one minute, wherever it begins."""
    return max(bisect_left(times, at + 60) - n for n, at in enumerate(times))


class Wire:
    """A transport that plays a function of (body, number of the request)."""

    def __init__(self, play: Play, models: Reply | None = None) -> None:
        self.play = play
        self.models = models or Reply(200, b'{"data": []}')
        self.bodies: list[Body] = []
        self.times: list[float] = []

    async def send(self, method: str, path: str, body: Body | None, seconds: float) -> Reply:
        if body is None:
            return self.models
        self.bodies.append(body)
        self.times.append(now())
        got = self.play(body, len(self.bodies) - 1)
        return await got if inspect.isawaitable(got) else got

    async def aclose(self) -> None:
        pass


def ok(*texts: str, finish: str = "stop", usage: tuple[int, int] | None = (3, 5), **more: Any) -> Reply:
    """A completion with these choices, and an id of its own unless `id` is given (empty: none)."""
    more = {"id": f"chat-{next(_ids)}"} | more
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        for i, text in enumerate(texts or ("hi",))
    ]
    counts = {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}} if usage else {}
    return Reply(200, json.dumps({"choices": choices, **counts, **more}).encode())


def err(status: int, message: str = "", **headers: str) -> Reply:
    """An error."""
    return Reply(status, json.dumps({"error": {"message": message}}).encode(), headers)


def spoiled(fault: Fault) -> Reply:
    """What a client gets of a fault of the stand-in's weather. Raises NoReply where that is nothing."""
    if fault.hang_seconds or fault.reset or fault.cut:
        raise NoReply("no answer" if fault.hang_seconds else "the connection ended", timed_out=fault.hang_seconds > 0)
    broken = faults.error(fault)
    if broken is None:
        return ok("", finish=fault.finish or "stop")
    status, headers, body = broken
    return Reply(status, body, {name.lower(): value for name, value in headers.items()})


def is_probe(body: Body) -> bool:
    """Whether it is the client's own small request."""
    return str(body["messages"][0]["content"]).startswith("Say ")


class Account:
    """A budget that nobody else uses."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    async def lend(self, committed: int, need: int, idle: bool) -> Lent:
        left = committed < self.limit
        return Lent(committed + need if left else committed, waits=False, said=f"{committed} of {self.limit} tokens")

    async def close(self, used: int) -> None:
        pass


def client(wire: Wire, patience: float = 120.0, steady: str | None = None, **endpoint: Any) -> ChatClient:
    """A client behind that wire."""
    fields = {"role": "Teacher", "url": "http://models.test/v1", "model": "m", **endpoint}
    resolved = ResolvedEndpoint.model_validate(fields)
    lender = None if resolved.token_limit is None else Account(resolved.token_limit)
    held = None if steady is None else Steady(steady)
    return ChatClient(resolved, patience, transport=wire, steady=held, lender=lender)


async def many(of: ChatClient, items: Iterable[object]) -> Counter[str]:
    """How requests for these items end."""
    work = [of.chat([{"role": "user", "content": str(item)}]) for item in items]
    ends = await asyncio.gather(*work, return_exceptions=True)
    return Counter(type(end).__name__ if isinstance(end, BaseException) else "answered" for end in ends)
