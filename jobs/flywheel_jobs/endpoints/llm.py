"""Client of OpenAI-compatible endpoints: one per role, pooled, bounded, counted.

It keeps the endpoint's concurrency and rate, repeats what may pass (429, 5xx, time-outs, broken connections) with
jittered back-off, and gives up with a typed error once the endpoint has stayed away for its patience. An outage
never becomes an answer (law 6). It does not know whether a model or a stand-in answers; it records what the endpoint
says of itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import aiohttp
from pydantic import BaseModel, ValidationError

from flywheel_api.artifacts import RoleUsage, ServedBy
from flywheel_api.stages import ResolvedEndpoint
from flywheel_jobs.core.errors import BudgetExceeded, EndpointUnavailable, ItemDropped
from flywheel_jobs.core.logging import get_logger, redact
from flywheel_jobs.endpoints.wire import Completion, Listing, TokenCount
from flywheel_store.backoff import delay

log = get_logger(__name__)

M = TypeVar("M", bound=BaseModel)
Message = Mapping[str, object]
Body = dict[str, object]
WaitReport = Callable[[str | None], None]
BACKOFF_BASE, BACKOFF_CAP = 0.5, 15.0
POISON_TRIES = 6  # failures of one request while the endpoint gives as many answers to others: the request is at fault
REFUSED_CONFIG = frozenset({401, 403, 404, 405})
REPEATABLE = frozenset({408, 409, 425, 429})


@dataclass(frozen=True)
class ChatResult:
    """The `n` answers to one request."""

    texts: list[str]
    finish_reasons: list[str]

    @property
    def text(self) -> str:
        """The first answer."""
        return self.texts[0]


class RequestRefused(ItemDropped):
    """The endpoint refuses this very request (400, 413, 422), or fails on it again and again but answers others."""

    def __init__(self, detail: str) -> None:
        super().__init__("request-refused", detail)


class Again(Exception):
    """This try failed in a way that may pass; `after` seconds were asked for by the server."""

    def __init__(self, why: str, after: float | None = None) -> None:
        super().__init__(why)
        self.after = after


class ChatClient:
    """One role's endpoint. Create inside a running loop; close with `aclose`."""

    def __init__(
        self,
        endpoint: ResolvedEndpoint,
        patience_seconds: float = 120.0,
        on_wait: WaitReport | None = None,
        already_used: int = 0,
    ) -> None:
        self.endpoint = endpoint
        self.role = endpoint.role
        self.usage = RoleUsage(role=endpoint.role)
        self.served_by: ServedBy | None = None
        self._patience = patience_seconds
        self._on_wait = on_wait or (lambda _text: None)
        self._already_used = already_used
        self._slots = asyncio.Semaphore(endpoint.concurrency)
        self._pace = Pace(endpoint.requests_per_minute)
        self._identity = asyncio.Lock()
        self._schema_refused = False
        self._down_since: float | None = None
        self._answers = 0
        self._session: aiohttp.ClientSession | None = None
        self._base = endpoint.url.rstrip("/")

    # ---- public ---------------------------------------------------------------------------------------------------
    async def chat(
        self,
        messages: Sequence[Message],
        n: int = 1,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        schema: Mapping[str, object] | None = None,
    ) -> ChatResult:
        """Asks for `n` completions.

        Raises EndpointUnavailable after the patience, BudgetExceeded before a request once the budget is used up, and
        RequestRefused (an ItemDropped) when this request cannot be answered. `schema` asks for JSON of that schema
        where the server can; the text still has to be parsed.
        """
        body: Body = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "temperature": self.endpoint.temperature if temperature is None else temperature,
            "top_p": self.endpoint.top_p,
            "max_tokens": self.endpoint.max_tokens if max_tokens is None else max_tokens,
        }
        if n > 1:
            body["n"] = n
        if seed is not None:
            body["seed"] = seed
        if schema is not None and not self._schema_refused:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": dict(schema), "strict": True},
            }
        async with self._slots:
            await self._know_server()
            answer = await self._request("POST", "/chat/completions", Completion, body)
        if not answer.choices:
            raise RequestRefused(f"{self._name()} answered without choices")
        return ChatResult(
            texts=[c.message.content or "" for c in answer.choices],
            finish_reasons=[c.finish_reason or "" for c in answer.choices],
        )

    async def identify(self) -> ServedBy:
        """What the endpoint says of itself in GET /v1/models; asked once."""
        await self._know_server()
        assert self.served_by is not None
        return self.served_by

    @property
    def tokens_used(self) -> int:
        """Tokens of this role in this stage so far, prompt and completion, over all attempts."""
        return self._already_used + self.usage.prompt_tokens + self.usage.completion_tokens

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ---- one logical request --------------------------------------------------------------------------------------
    async def _request(self, method: str, path: str, shape: type[M], body: Body | None = None) -> M:
        attempt, answers_before = 0, self._answers
        by_schema = body is not None and "response_format" in body
        while True:
            self._check_budget()
            await self._pace.turn()
            sent = time.monotonic()
            try:
                answer = await self._once(method, path, shape, body)
            except Again as error:
                await self._wait(error, attempt, self._answers - answers_before)
                attempt += 1
                continue
            self._answers += 1
            if by_schema and body is not None and "response_format" not in body and not self._schema_refused:
                log.info("endpoint without structured output: answers are only parsed", role=self.role)
                self._schema_refused = True
            if self._down_since is not None:
                self._down_since = None
                self._on_wait(None)
            if isinstance(answer, Completion) and answer.choices is not None:
                self._count(answer.usage or TokenCount(), time.monotonic() - sent)
            return answer

    async def _once(self, method: str, path: str, shape: type[M], body: Body | None) -> M:
        try:
            async with self._open_session().request(method, self._base + path, json=body) as response:
                if response.status == 200:
                    return shape.model_validate_json(await response.read())
                await self._raise_for(response, body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Again(f"{type(error).__name__} {error}".strip()[:200]) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "body"
            raise Again(f"the answer cannot be read: {where}: {first['msg']}"[:200]) from error
        raise AssertionError("unreachable")

    async def _raise_for(self, response: aiohttp.ClientResponse, body: Body | None) -> None:
        status = response.status
        detail = f"HTTP {status} {redact((await response.text())[:200])}".strip()
        if status in REPEATABLE or status >= 500:
            raise Again(detail, parse_retry_after(response.headers.get("Retry-After")))
        if status in REFUSED_CONFIG:
            raise EndpointUnavailable(
                f"{self._name()} refuses requests ({detail}): check the endpoint's url, model and apiKey in the round",
                reason="EndpointRefused",
            )
        if body is not None and body.pop("response_format", None) is not None:
            raise Again(detail, 0.0)  # without a schema it may answer
        raise RequestRefused(f"{self._name()}: {detail}")

    async def _wait(self, error: Again, attempt: int, answered_meanwhile: int) -> None:
        now = time.monotonic()
        if self._down_since is None:
            self._down_since = now
        down = now - self._down_since
        if down > self._patience:
            raise EndpointUnavailable(
                f"{self._name()} has not answered for {down:.0f} s, last: {redact(str(error))}; the stage goes on from "
                "its finished items once the endpoint answers again"
            ) from error
        if attempt + 1 >= POISON_TRIES and answered_meanwhile >= POISON_TRIES:
            raise RequestRefused(f"{self._name()} failed {attempt + 1} times on one request: {error}") from error
        if error.after != 0.0:
            self._on_wait(f"{self._name()}: {redact(str(error))[:120]}; retrying, {down:.0f} of {self._patience:.0f} s")
        pause = delay(attempt, BACKOFF_BASE, BACKOFF_CAP) if error.after is None else error.after
        await asyncio.sleep(min(pause, max(0.1, self._patience - down + 0.1)))

    # ---- parts ----------------------------------------------------------------------------------------------------
    def _name(self) -> str:
        return redact(f"{self.role} at {self._base}")

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            key = os.environ.get(self.endpoint.api_key_env, "") if self.endpoint.api_key_env else ""
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self.endpoint.concurrency + 1, ttl_dns_cache=30),
                timeout=aiohttp.ClientTimeout(total=self.endpoint.timeout_seconds, sock_connect=10),
                headers={"Authorization": f"Bearer {key}"} if key else {},
                trust_env=False,
            )
        return self._session

    def _check_budget(self) -> None:
        limit = self.endpoint.token_limit
        if limit is not None and self.tokens_used >= limit:
            raise BudgetExceeded(
                f"{self.role} has used {self.tokens_used} tokens and the round's budget leaves {limit}: raise "
                f"spec.budget.tokens for role {self.role}"
            )

    async def _know_server(self) -> None:
        if self.served_by is not None:
            return
        async with self._identity:
            if self.served_by is None:
                self.served_by = (await self._models()).served_by(self.role, self.endpoint.model)

    async def _models(self) -> Listing:
        try:
            return await self._request("GET", "/models", Listing)
        except (RequestRefused, EndpointUnavailable) as error:
            # some gateways serve completions only; a dead one is found by the request that follows
            if isinstance(error, EndpointUnavailable) and error.reason != "EndpointRefused":
                raise
            return Listing()

    def _count(self, used: TokenCount, seconds: float) -> None:
        self.usage = self.usage.model_copy(
            update={
                "calls": self.usage.calls + 1,
                "prompt_tokens": self.usage.prompt_tokens + (used.prompt_tokens or 0),
                "completion_tokens": self.usage.completion_tokens + (used.completion_tokens or 0),
                "seconds": self.usage.seconds + seconds,
            }
        )


class Pace:
    """At most so many requests a minute, evenly spaced; None does not pace."""

    def __init__(self, per_minute: int | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Waits for this request's turn. A cancelled wait only leaves its slot unused; nothing has to be returned."""
        if not self._gap:
            return
        now = time.monotonic()
        mine = max(now, self._next)
        self._next = mine + self._gap
        if mine > now:
            await asyncio.sleep(mine - now)


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, at most ten minutes; None if absent or a date (back-off then decides)."""
    try:
        return None if value is None else min(600.0, max(0.05, float(value)))
    except ValueError:
        return None
