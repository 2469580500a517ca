"""kopf wiring only: session, settings, and watch events that become keys. kopf decides and stores nothing (law 1).

No change handlers, timers, daemons, peering or finalizers are registered, so kopf writes nothing to any object.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from flywheel_api import GROUP, VERSION
from flywheel_api.names import LABEL_MANAGED_BY, LABEL_OWNER_KIND, LABEL_OWNER_NAME, MANAGED_BY
from flywheel_api.resources import KINDS
from flywheel_operator.ports.kinds import JOBS, PODS, RAYCLUSTERS, RAYJOBS, RAYSERVICES, SERVICES, Resource
from flywheel_operator.ports.login import Login
from flywheel_operator.queue import Key, WorkQueue
from flywheel_operator.settings import OperatorConfig

CHILDREN: tuple[Resource, ...] = (JOBS, PODS, SERVICES, RAYJOBS, RAYSERVICES, RAYCLUSTERS)
OWN_KINDS = frozenset(kind.kind for kind in KINDS)
_LOGIN_PAUSE = 10.0


def operator_settings(config: OperatorConfig) -> kopf.OperatorSettings:
    """kopf's settings: no annotations, no events from logs, streams that cannot die unseen."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 30
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 60
    settings.networking.connect_timeout = 30
    settings.networking.enforce_retry_after = True
    settings.queueing.worker_limit = 64
    settings.queueing.idle_timeout = 1.0  # our handlers only add a key; workers need not stay
    settings.process.ultimate_exiting_timeout = 20
    settings.persistence.finalizer = f"{GROUP}/unused"
    for child in CHILDREN:
        selector = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
        group = child.api_version.rpartition("/")[0]
        settings.watching.label_selectors[f"{child.plural}.{group}" if group else child.plural] = selector
    return settings


Farewell = Callable[[dict[str, Any]], Awaitable[None]]


def build_registry(login: Login, queue: WorkQueue, farewell: Farewell) -> kopf.OperatorRegistry:
    """Handlers: every event is a key of ours, nothing more; a deleted object is told of what stays."""
    registry = kopf.OperatorRegistry()
    again = 0.0

    @kopf.on.login(registry=registry)
    async def session(**_: Any) -> kopf.AiohttpSession:
        """Asked for at the start, and after a 401 that new credentials did not help against: then not at once."""
        nonlocal again
        await asyncio.sleep(max(0.0, again - time.monotonic()))
        again = time.monotonic() + _LOGIN_PAUSE
        return kopf.AiohttpSession(server=login.server, aiohttp_session=login.session())

    async def own(type: str | None, body: kopf.Body, **_: Any) -> None:
        if type == "DELETED":
            await farewell(dict(body))
            return
        queue.add(Key(str(body["kind"]), str(body.metadata.namespace), str(body.metadata.name)))
        wake_owner(queue, body)

    async def child(body: kopf.Body, **_: Any) -> None:
        wake_owner(queue, body)

    for kind in KINDS:
        kopf.on.event(GROUP, VERSION, kind.plural, registry=registry)(own)
    for resource in CHILDREN:
        group, _, version = resource.api_version.rpartition("/")
        kopf.on.event(group, version, resource.plural, registry=registry, labels={LABEL_MANAGED_BY: MANAGED_BY})(child)
    return registry


def wake_owner(queue: WorkQueue, body: kopf.Body) -> None:
    """Adds the owner that an object's labels name."""
    labels = body.metadata.labels
    kind, name = labels.get(LABEL_OWNER_KIND), labels.get(LABEL_OWNER_NAME)
    if kind in OWN_KINDS and name:
        queue.add(Key(kind, str(body.metadata.namespace), name))


async def watch(login: Login, queue: WorkQueue, config: OperatorConfig, farewell: Farewell) -> None:
    """Runs kopf until it is told to stop (SIGTERM, SIGINT)."""
    await kopf.operator(
        registry=build_registry(login, queue, farewell),
        settings=operator_settings(config),
        standalone=True,
        clusterwide=not config.namespaces,
        namespaces=config.namespaces,
    )
