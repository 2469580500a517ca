"""kopf wiring only: session, settings, and watch events handed on. kopf decides and stores nothing (law 1).

No change handlers, timers, daemons, peering or finalizers are registered, so kopf writes nothing to any object.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from flywheel_api import GROUP
from flywheel_operator.ports.cache import SELECTOR, WATCHED
from flywheel_operator.ports.kinds import CHILDREN, Object
from flywheel_operator.ports.login import Login
from flywheel_operator.settings import OperatorConfig

See = Callable[[str | None, Object], Awaitable[None]]
_LOGIN_PAUSE = 10.0


class _NoStorage(kopf.DiffBaseStorage):
    """kopf compares nothing, so it need not copy each body to find its essence: a third of its time per event."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:
        """Nothing is compared."""
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> None:
        """Nothing was stored."""

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is stored."""


def operator_settings() -> kopf.OperatorSettings:
    """kopf's settings: no annotations, no events from logs, streams that cannot die unseen."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 30
    settings.watching.chunk_size = 250
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 30
    settings.networking.enforce_retry_after = True
    # a worker per object that waits a second for more made events 6 s late (1,000 a second), and a list of 2,000 31 s
    settings.queueing.idle_timeout = 0.05
    settings.persistence.diffbase_storage = _NoStorage()
    settings.process.ultimate_exiting_timeout = 20
    settings.persistence.finalizer = f"{GROUP}/unused"
    for child in CHILDREN:
        group = child.api_version.rpartition("/")[0]
        selector = ",".join(f"{label}={value}" for label, value in SELECTOR.items())
        settings.watching.label_selectors[f"{child.plural}.{group}" if group else child.plural] = selector
    return settings


def build_registry(login: Login, see: See) -> kopf.OperatorRegistry:
    """A session of our login, and one handler for every event of every kind that is watched."""
    registry = kopf.OperatorRegistry()
    again = 0.0

    @kopf.on.login(registry=registry)
    async def session(**_: Any) -> kopf.AiohttpSession:
        """Asked for at the start, and after a 401 that new credentials did not help against: then not at once."""
        nonlocal again
        await asyncio.sleep(max(0.0, again - time.monotonic()))
        again = time.monotonic() + _LOGIN_PAUSE
        return kopf.AiohttpSession(server=login.server, aiohttp_session=login.session())

    async def hand_on(event: kopf.RawEvent, **_: Any) -> None:
        await see(event["type"], dict(event["object"]))

    for resource in WATCHED:
        group, _, version = resource.api_version.rpartition("/")
        kopf.on.event(group, version, resource.plural, registry=registry)(hand_on)
    return registry


async def watch(login: Login, see: See, config: OperatorConfig) -> None:
    """Runs kopf until it is told to stop (SIGTERM, SIGINT)."""
    await kopf.operator(
        registry=build_registry(login, see),
        settings=operator_settings(),
        standalone=True,
        clusterwide=not config.namespaces,
        namespaces=config.namespaces,
    )
