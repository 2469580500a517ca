"""A small OpenAI-compatible server that plays the model roles from scripts: deterministic, strict, and labelled.

It replaces models behind endpoints, never code that talks to them (docs/method.md, "Stand-ins"). Every answer is a
function of the request alone. GET /v1/models says `standin: true`; clients copy that into every manifest. Weather comes
from --weather, from FLYWHEEL_STANDIN_WEATHER (a table's text) or from PUT /admin/faults (enabled by
FLYWHEEL_STANDIN_ADMIN=1), and is calm otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
from collections.abc import Mapping, Sequence

from aiohttp import web

from flywheel_api.artifacts import STANDIN_NOTICE
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.core.version import code_version
from flywheel_standin import agentic, faults, reasoning, strict
from flywheel_standin.completion import Completion
from flywheel_standin.faults import Fault, Faults
from flywheel_standin.protocol import MODEL_NAME, OWNED_BY, Answer, Behaviour, ChatRequest
from flywheel_standin.strict import ChatBody, Refused

BEHAVIOURS: tuple[Behaviour, ...] = (reasoning.respond, agentic.respond)
UNKNOWN = "This stand-in has no script for that request."
MAX_BODY = 8 << 20
log = telemetry.get_logger(__name__)


class StandIn:
    """The server's handlers."""

    def __init__(
        self, behaviours: Sequence[Behaviour], faults: Faults, models: Sequence[str], delay_seconds: float = 0.0
    ) -> None:
        self.behaviours = behaviours
        self.faults = faults
        self.models = list(models)
        self.delay_seconds = delay_seconds
        self.served = 0
        self._ids = itertools.count(1)

    def app(self, admin: bool) -> web.Application:
        """The routes; those under /admin only if asked for."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/healthz", self.health)
        app.router.add_get("/v1/models", self.list_models)
        app.router.add_post("/v1/chat/completions", self.chat)
        if admin:
            app.router.add_put("/admin/faults", self.set_faults)
            app.router.add_get("/admin/faults", self.get_faults)
        return app

    async def health(self, _request: web.Request) -> web.Response:
        """Liveness and readiness."""
        return web.json_response({"status": "ok", "served": self.served})

    async def list_models(self, _request: web.Request) -> web.Response:
        """GET /v1/models, with the label."""
        entry = {
            "object": "model",
            "owned_by": OWNED_BY,
            "standin": True,
            "notice": STANDIN_NOTICE,
            "version": code_version(),
        }
        return web.json_response({"object": "list", "data": [{"id": m, "created": 0, **entry} for m in self.models]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions, in the weather that is."""
        fault = self.faults.next(asyncio.get_running_loop().time())
        if fault is not None:
            await asyncio.sleep(fault.hang_seconds)
            broken = faults.error(fault)
            if broken is not None:
                status, headers, data = broken
                kind = "text/html" if fault.malformed else "application/json"
                return web.Response(status=status, headers=headers, body=data, content_type=kind)
            if fault.reset:
                return _gone(request)
        try:
            body = strict.read(await request.read(), self.models)
            made = self._completion(body, fault)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if fault is not None and fault.cut:
            return await _cut(request, made)
        self.served += fault is None or not fault.finish
        return await _streamed(request, made) if body.stream else web.json_response(made.whole())

    def _completion(self, body: ChatBody, fault: Fault | None) -> Completion:
        spoken = strict.spoken(body.messages)
        form = body.response_format and body.response_format.json_schema
        asked = (
            ChatRequest(
                model=body.model,
                messages=spoken,
                choice=choice,
                seed=body.seed,
                temperature=1.0 if body.temperature is None else body.temperature,
                schema=form.schema_ if form else None,
                metadata=body.metadata or {},
            )
            for choice in range(body.n or 1)
        )
        name = f"chatcmpl-standin-{next(self._ids)}"
        try:
            texts = [self._one(request).text for request in asked]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(f"no script can read it: {type(error).__name__}: {error}"[:300], "messages") from error
        return Completion.of(name, body, texts, fault.finish if fault is not None else None)

    def _one(self, request: ChatRequest) -> Answer:
        answers = (behaviour(request) for behaviour in self.behaviours)
        return next((a for a in answers if a is not None), Answer(UNKNOWN))

    async def set_faults(self, request: web.Request) -> web.Response:
        """PUT /admin/faults: a row of weather, or a list of them."""
        try:
            self.faults.set(await request.json())
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.faults.show())

    async def get_faults(self, _request: web.Request) -> web.Response:
        """GET /admin/faults."""
        return web.json_response(self.faults.show())


def _gone(request: web.Request) -> web.Response:
    """The connection ends."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _cut(request: web.Request, made: Completion) -> web.StreamResponse:
    """Half of a body, and the connection ends."""
    data = json.dumps(made.whole()).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    _gone(request)
    return response


async def _streamed(request: web.Request, made: Completion) -> web.StreamResponse:
    """Server-sent events."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for chunk in made.chunks():
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def build(environ: Mapping[str, str] | None = None, weather: str | None = None) -> web.Application:
    """The application as the environment configures it. Raises ValueError for weather that is none."""
    env = os.environ if environ is None else environ
    models = env.get("FLYWHEEL_STANDIN_MODELS", MODEL_NAME).split(",")
    table = faults.table(weather) if weather else faults.parsed(env.get("FLYWHEEL_STANDIN_WEATHER") or "[]")
    delay = float(env.get("FLYWHEEL_STANDIN_DELAY_SECONDS", "0"))
    return StandIn(BEHAVIOURS, Faults(table), models, delay).app(admin=env.get("FLYWHEEL_STANDIN_ADMIN") == "1")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="flywheel_standin", description="Serve scripted stand-ins for model roles.")
    parser.add_argument("--host", help="one address; every one of both families if not given")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--weather", metavar="NAME|FILE", help="a table of faults, of the house's or your own")
    args = parser.parse_args(argv)
    telemetry.configure(command="standin")
    try:
        app = build(weather=args.weather)
    except ValueError as error:
        parser.error(str(error))
    log.info("serving", port=args.port, standin=True, notice=STANDIN_NOTICE, weather=args.weather)
    web.run_app(app, host=args.host, port=args.port, access_log=None, print=None, shutdown_timeout=5)
    return 0
