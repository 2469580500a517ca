"""A small OpenAI-compatible server that plays the model roles from scripts: deterministic, and labelled as a stand-in.

It replaces models behind endpoints, never code that talks to them (docs/method.md, "Stand-ins"). Every answer is a
function of the request alone. GET /v1/models says `standin: true`; clients copy that into every manifest. Faults for
tests come from the environment or PUT /admin/faults (enabled by FLYWHEEL_STANDIN_ADMIN=1), and are off otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import time
from collections.abc import Sequence
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from flywheel_api.artifacts import STANDIN_NOTICE
from flywheel_jobs.core import logging as telemetry
from flywheel_jobs.core.version import code_version
from flywheel_standin import agentic, reasoning
from flywheel_standin.faults import Faults
from flywheel_standin.protocol import MODEL_NAME, OWNED_BY, Answer, Behaviour, ChatRequest

BEHAVIOURS: tuple[Behaviour, ...] = (reasoning.respond, agentic.respond)
UNKNOWN = "This stand-in has no script for that request."
MAX_BODY = 8 << 20
MAX_CHOICES = 256
log = telemetry.get_logger(__name__)


class SchemaForm(BaseModel):
    """The schema of a request for JSON."""

    schema_: dict[str, object] | None = Field(default=None, alias="schema")


class ResponseFormat(BaseModel):
    """What form of answer is asked for."""

    json_schema: SchemaForm | None = None


class ChatBody(BaseModel):
    """The body of POST /v1/chat/completions, as far as it is read."""

    model: str
    messages: list[dict[str, object]]
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    seed: int | None = None
    temperature: float | None = None
    response_format: ResponseFormat | None = None


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
        """POST /v1/chat/completions."""
        fault = await self.faults.strike(request)
        if fault is not None:
            return fault
        try:
            body = ChatBody.model_validate_json(await request.read())
            answers = self._answers(body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            message = f"bad request: {type(error).__name__}: {error}"[:300]
            return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=400)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        self.served += 1
        return web.json_response(self._completion(body, answers))

    def _answers(self, body: ChatBody) -> list[Answer]:
        form = body.response_format and body.response_format.json_schema
        asked = (
            ChatRequest(
                model=body.model,
                messages=body.messages,
                choice=choice,
                seed=body.seed,
                temperature=body.temperature or 0.0,
                schema=form.schema_ if form else None,
            )
            for choice in range(1 if body.n is None else body.n)
        )
        return [self._one(request) for request in asked]

    def _one(self, request: ChatRequest) -> Answer:
        answers = (behaviour(request) for behaviour in self.behaviours)
        return next((a for a in answers if a is not None), Answer(UNKNOWN))

    def _completion(self, body: ChatBody, answers: list[Answer]) -> dict[str, object]:
        prompt = sum(_tokens(str(m.get("content") or "")) for m in body.messages)
        written = sum(_tokens(a.text) for a in answers)
        return {
            "id": f"chatcmpl-standin-{next(self._ids)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.model,
            "standin": True,
            "choices": [
                {
                    "index": i,
                    "message": {"role": "assistant", "content": a.text},
                    "finish_reason": "stop",
                }
                for i, a in enumerate(answers)
            ],
            "usage": {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written},
        }

    async def set_faults(self, request: web.Request) -> web.Response:
        """PUT /admin/faults: a JSON object as in FLYWHEEL_STANDIN_FAULTS."""
        try:
            self.faults.set(await request.json())
        except (ValueError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response(self.faults.show())

    async def get_faults(self, _request: web.Request) -> web.Response:
        """GET /admin/faults."""
        return web.json_response(self.faults.show())


def _tokens(text: str) -> int:
    """About four characters a token; a stand-in has no tokenizer, and says so by being a stand-in."""
    return max(1, len(text) // 4)


def build(environ: dict[str, str] | None = None) -> web.Application:
    """The application as the environment configures it."""
    env = dict(os.environ) if environ is None else environ
    models = env.get("FLYWHEEL_STANDIN_MODELS", MODEL_NAME).split(",")
    faults = Faults(json.loads(env.get("FLYWHEEL_STANDIN_FAULTS", "{}")))
    delay = float(env.get("FLYWHEEL_STANDIN_DELAY_SECONDS", "0"))
    return StandIn(BEHAVIOURS, faults, models, delay).app(admin=env.get("FLYWHEEL_STANDIN_ADMIN") == "1")


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description="Serve scripted stand-ins for the model roles.")
    parser.add_argument("--host", help="one address; every one of both families if not given")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    telemetry.configure(command="standin")
    log.info("serving", port=args.port, standin=True, notice=STANDIN_NOTICE)
    web.run_app(build(), host=args.host, port=args.port, access_log=None, print=None, shutdown_timeout=5)
    return 0
