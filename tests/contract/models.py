"""Model endpoints for tests: the stand-in server with a scripted policy, in a thread, on a loopback port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from contract.thread_server import served
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
    with served(endpoint.standin.app(admin=True)) as endpoint.port:
        yield endpoint
