"""A scripted endpoint in this process's loop, with faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp.test_utils import TestServer

from flywheel_api.stages import ResolvedEndpoint
from flywheel_standin.faults import Faults
from flywheel_standin.protocol import Answer, ChatRequest
from flywheel_standin.server import BEHAVIOURS, StandIn


@dataclass
class Server:
    standin: StandIn
    url: str

    def endpoint(self, **more: object) -> ResolvedEndpoint:
        return ResolvedEndpoint.model_validate(
            {"role": "Teacher", "url": self.url, "model": "echo", "timeoutSeconds": 2.0, **more}
        )


def echo(request: ChatRequest) -> Answer | None:
    if request.model != "echo":
        return None
    return Answer(f"{request.last_user}#{request.choice}" + (" json" if request.schema else ""))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    standin = StandIn([echo, *BEHAVIOURS], Faults({}), ["echo", "teacher"])
    async with TestServer(standin.app(admin=True)) as running:
        yield Server(standin, str(running.make_url("/v1")))
