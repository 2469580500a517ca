"""Faults that the stand-in shows when it is asked to, so that tests see real HTTP trouble."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from aiohttp import web

KNOWN = {"status", "share", "first", "retry_after", "hang_seconds", "malformed", "seed"}


class Faults:
    """Which requests go wrong and how.

    `status` (HTTP code), `malformed` (a body that is no JSON) or `hang_seconds`, for a `share` of requests (default
    all) or only for the `first` so many.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.set(config)

    def set(self, config: dict[str, Any]) -> None:
        """Takes a new configuration; {} is no fault. Raises ValueError for unknown keys."""
        unknown = set(config) - KNOWN
        if unknown:
            raise ValueError(f"unknown faults {sorted(unknown)}: use {sorted(KNOWN)}")
        self._config = dict(config)
        self._seen = 0
        self._rng = random.Random(config.get("seed", 0))

    def show(self) -> dict[str, Any]:
        """The configuration in force."""
        return dict(self._config)

    async def strike(self, _request: web.Request) -> web.StreamResponse | None:
        """The faulty response to this request, or None to serve it."""
        if not self._config:
            return None
        self._seen += 1
        if self._seen > self._config.get("first", float("inf")):
            return None
        if self._rng.random() >= self._config.get("share", 1.0):
            return None
        if "hang_seconds" in self._config:
            await asyncio.sleep(float(self._config["hang_seconds"]))
        if self._config.get("malformed"):
            return web.Response(text="<html>not json</html>", content_type="text/html")
        if "status" not in self._config:
            return None
        after = self._config.get("retry_after")
        headers = {} if after is None else {"Retry-After": str(after)}
        error = {"error": {"message": "injected fault", "type": "server_error"}}
        return web.json_response(error, status=int(self._config["status"]), headers=headers)
