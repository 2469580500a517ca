"""Faults that the stand-in shows when it is asked to, so that tests see real HTTP trouble."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from aiohttp import web
from pydantic import BaseModel, ConfigDict


class Fault(BaseModel):
    """What goes wrong, for a `share` of requests or only for the `first` so many."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    status: int | None = None  # HTTP code
    malformed: bool = False  # a body that is no JSON
    hang_seconds: float = 0.0
    retry_after: float | None = None
    share: float = 1.0
    first: int | None = None
    seed: int = 0


class Faults:
    """The fault in force, and how many requests have seen it."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self.set(config)

    def set(self, config: Mapping[str, object]) -> None:
        """Takes a new fault; {} is none. Raises ValueError for unknown keys."""
        if unknown := sorted(set(config) - set(Fault.model_fields)):
            raise ValueError(f"unknown faults {unknown}: use {sorted(Fault.model_fields)}")
        self._fault = Fault.model_validate(config)
        self._seen = 0
        self._rng = random.Random(self._fault.seed)

    def show(self) -> dict[str, object]:
        """The fault in force, as it was given."""
        return self._fault.model_dump(exclude_unset=True)

    async def strike(self, _request: web.Request) -> web.StreamResponse | None:
        """The faulty response to this request, or None to serve it."""
        fault = self._fault
        self._seen += 1
        if (fault.first is not None and self._seen > fault.first) or self._rng.random() >= fault.share:
            return None
        await asyncio.sleep(fault.hang_seconds)
        if fault.malformed:
            return web.Response(text="<html>not json</html>", content_type="text/html")
        if fault.status is None:
            return None
        headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
        error = {"error": {"message": "injected fault", "type": "server_error"}}
        return web.json_response(error, status=fault.status, headers=headers)
