"""Puts the parts together and runs them: ports, controllers, queue, resync, probes, and the given watcher."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from flywheel_operator import metrics
from flywheel_operator.execute import post_event
from flywheel_operator.logs import get_logger
from flywheel_operator.model import Note
from flywheel_operator.observe.stores import Connect
from flywheel_operator.ports import http
from flywheel_operator.ports.errors import PortError
from flywheel_operator.ports.kinds import OWN, KubeApi, Object
from flywheel_operator.ports.kube import Kube
from flywheel_operator.queue import Key, WorkQueue
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.settings import OperatorConfig
from flywheel_operator.subjects import subjects

log = get_logger(__name__)
Farewell = Callable[[Object], Awaitable[None]]
Watch = Callable[[WorkQueue, OperatorConfig, Farewell], Awaitable[None]]


def build_queue(kube: KubeApi, connect: Connect, config: OperatorConfig) -> WorkQueue:
    """A queue whose handler reconciles, counted and timed."""
    reconcile = Reconciler(kube, subjects(kube, connect, config))

    async def handle(key: Key) -> float | None:
        started = time.perf_counter()
        outcome = "error"
        try:
            delay = await reconcile(key)
            outcome = "ok"
            return delay
        finally:
            metrics.RECONCILES.labels(key.kind, outcome).inc()
            metrics.SECONDS.labels(key.kind).observe(time.perf_counter() - started)

    return WorkQueue(handle)


async def resync(kube: KubeApi, queue: WorkQueue, config: OperatorConfig) -> None:
    """Every object, every five minutes: whatever a watch missed is found here."""
    everywhere: list[str | None] = [None]
    while True:
        try:
            for namespace in [*config.namespaces] or everywhere:
                for resource in OWN:
                    for obj in await kube.list(resource, namespace):
                        meta = obj["metadata"]
                        queue.add(Key(resource.kind, meta["namespace"], meta["name"]))
        except PortError as error:
            log.warning("resync failed", error=str(error))
        await asyncio.sleep(config.timing.resync)


async def say_farewell(kube: KubeApi, obj: Object) -> None:
    """Tells what a deletion leaves behind: children go with their owner, what lies in the store stays."""
    uid, status = obj["metadata"]["uid"], obj.get("status") or {}
    kept = [f"what it wrote to the store under runs/{uid}/"]
    if (status.get("model") or {}).get("digest"):
        kept.append(f"its model {status['model']['digest']}")
    if status.get("report"):
        kept.append(f"its report {status['report']}")
    await post_event(kube, obj, Note("Deleted", f"children are removed; kept: {', '.join(kept)}"))


def probe(queue: WorkQueue, config: OperatorConfig) -> http.Answer:
    """Alive means that keys are worked on, not that a port answers."""
    age = queue.oldest_age()
    if age > config.timing.stuck_after:
        return 503, "text/plain", f"a key has waited {age:.0f} s\n"
    return 200, "text/plain", f"ok, {queue.depth()} keys, oldest {age:.1f} s\n"


async def run(kube: Kube, connect: Connect, config: OperatorConfig, watch: Watch) -> None:
    """Runs until the watcher ends."""
    queue = build_queue(kube, connect, config)
    runner = await http.serve(
        config.http_port,
        {
            "/healthz": lambda: probe(queue, config),
            "/metrics": lambda: (200, "text/plain", metrics.page(queue, kube.writes)),
        },
    )
    work = [asyncio.create_task(queue.run(config.workers)), asyncio.create_task(resync(kube, queue, config))]
    watcher = asyncio.ensure_future(watch(queue, config, lambda obj: say_farewell(kube, obj)))
    try:
        done, _ = await asyncio.wait([watcher, *work], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a worker that ended is a bug: leave with its error, the pod is restarted
    finally:
        for task in (watcher, *work):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await runner.cleanup()
