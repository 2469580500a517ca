"""Model endpoints for tests: the stand-in server with a scripted policy, in a thread, on a loopback port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from flywheel_standin import agentic as script
from flywheel_standin import reasoning
from flywheel_standin.faults import Faults
from flywheel_standin.protocol import Answer, Behaviour, ChatRequest
from flywheel_standin.server import BEHAVIOURS, StandIn


def policy(request: ChatRequest) -> Answer | None:
    """A policy that is right about a third of the time, and otherwise mostly a wrong bare number."""
    if request.model != "policy":
        return None
    typed = reasoning.understand(request.last_user)
    rng = request.rng()
    point = rng.random()
    if typed is not None and point < 0.35:
        return Answer(str(typed.answer()))
    return Answer(str(rng.randint(100, 199)) if point < 0.8 else "I do not know")


def agentic_policy(skill: float) -> Behaviour:
    """A policy that does what is right with probability `skill` at its first turn, and else writes blindly."""

    def respond(request: ChatRequest) -> Answer | None:
        if request.model != "policy" or "case" not in request.metadata:
            return None
        first = request.messages[-1]["role"] == "user"
        return Answer(script.solve(request, rate=1 - skill if first else 0.0))

    return respond


@dataclass
class Endpoint:
    """A running endpoint; its faults and its count of answers can be read and set from the test's thread."""

    standin: StandIn
    port: int = 0
    models: Sequence[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What goes into the stage's configuration."""
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def serving(
    models: Sequence[str] = ("teacher", "policy"), extra: Sequence[Behaviour] = (policy,), delay_seconds: float = 0.0
) -> Iterator[Endpoint]:
    """Serves until the block ends."""
    endpoint = Endpoint(StandIn([*extra, *BEHAVIOURS], Faults({}), models, delay_seconds), models=models)
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(endpoint.standin.app(admin=True), access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", endpoint.port)
        await site.start()
        assert site._server is not None
        endpoint.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        return runner

    def serve() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
