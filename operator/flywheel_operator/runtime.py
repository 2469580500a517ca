"""Puts the parts together and runs them: ports, cache, queue, resync, probes, and the given watcher."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from flywheel_operator import metrics
from flywheel_operator.census import Census
from flywheel_operator.feed import Feed
from flywheel_operator.logs import get_logger
from flywheel_operator.observe.stores import Connect
from flywheel_operator.ports import http
from flywheel_operator.ports.cache import WATCHED, CachedKube, ReadCache
from flywheel_operator.ports.errors import PortError
from flywheel_operator.ports.kinds import KubeApi, Object, Resource
from flywheel_operator.ports.kube import Kube
from flywheel_operator.queue import Key, NotBefore, WorkQueue
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.settings import OperatorConfig
from flywheel_operator.subjects import subjects

log = get_logger(__name__)
Watch = Callable[[Callable[[str | None, Object], Awaitable[None]], OperatorConfig], Awaitable[None]]
_LISTED_WITHIN = 60.0  # seconds; then work begins all the same, with reads from the API
_KINDS_PAUSE = 5.0  # seconds between looks for kinds that are missing


def build_queue(kube: KubeApi, connect: Connect, config: OperatorConfig) -> WorkQueue:
    """A queue whose handler reconciles, counted and timed."""
    reconcile = Reconciler(kube, subjects(kube, connect, config), ended=metrics.count)

    async def handle(key: Key) -> float | NotBefore | None:
        started = time.perf_counter()
        outcome = "error"
        try:
            answer = await reconcile(key)
            outcome = "ok"
            return answer
        finally:
            metrics.RECONCILES.labels(key.kind, outcome).inc()
            metrics.SECONDS.labels(key.kind).observe(time.perf_counter() - started)

    return WorkQueue(handle)


async def resync(feed: Feed, listed: asyncio.Event, seconds: float) -> None:
    """Level-triggered: whatever the watch missed is found here."""
    while True:
        await feed.resync()
        listed.set()
        await asyncio.sleep(seconds)


async def serve(queue: WorkQueue, listed: asyncio.Event, workers: int) -> None:
    """Works on keys once everything was listed: until then each look would cost requests of its own."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LISTED_WITHIN):
            await listed.wait()
    await queue.run(workers)


def probe(queue: WorkQueue, config: OperatorConfig) -> http.Answer:
    """Alive means that keys are worked on, not that a port answers."""
    age = queue.oldest_age()
    if age > config.timing.stuck_after:
        return 503, "text/plain", f"a key has waited {age:.0f} s\n"
    return 200, "text/plain", f"ok, {queue.depth()} keys, oldest {age:.1f} s\n"


def ready(listed: asyncio.Event) -> http.Answer:
    """Ready once the configuration was taken and every object was listed: a rollout ends the old pod then."""
    return (200, "text/plain", "ok\n") if listed.is_set() else (503, "text/plain", "objects are not listed yet\n")


async def unserved(kube: KubeApi) -> frozenset[Resource]:
    """Watched kinds whose definitions are not there (yet): KubeRay's may be installed after the operator."""
    custom = [resource for resource in WATCHED if "." in resource.api_version]
    return frozenset(
        [resource for resource in custom if resource.plural not in await kube.served(resource.api_version)]
    )


async def until_kinds_come(kube: KubeApi, missing: frozenset[Resource], resync: float) -> None:
    """Returns when kinds that were `missing` are served, and the same ones at two looks.

    kopf asks what is served when a definition changes, which can be before the API server says so: of definitions that
    are created together it does not watch the last. Only a new start is sure to watch what has come.
    """
    came: frozenset[Resource] = frozenset()
    while True:
        await asyncio.sleep(_KINDS_PAUSE if missing else resync)
        try:
            now = await unserved(kube)
        except PortError as error:
            log.warning("cannot ask what is served", error=str(error))
            continue
        before, came, missing = came, missing - now, missing | now
        if came and came == before:
            log.info("kinds have come: starting anew, to watch them", kinds=sorted(resource.kind for resource in came))
            return


async def _missing(kube: KubeApi) -> frozenset[Resource]:
    """As `unserved`; all of them, if nobody answers."""
    try:
        return await unserved(kube)
    except PortError:
        return frozenset(WATCHED)


async def run(api: Kube, connect: Connect, config: OperatorConfig, watch: Watch) -> bool:
    """Runs until the watcher ends, or until it has to start anew; whether it has to."""
    kube = CachedKube(api, ReadCache())
    queue = build_queue(kube, connect, config)
    census = Census(kube.cache)
    feed, listed = Feed(kube, queue, config.namespaces), asyncio.Event()
    runner = await http.serve(
        config.http_port,
        {
            "/healthz": lambda: probe(queue, config),
            "/readyz": lambda: ready(listed),
            "/metrics": lambda: (200, "text/plain", metrics.page(queue, api, kube, census)),
        },
    )
    missing = await _missing(api)  # before the watch begins: what comes between the two costs a start, and is not lost
    work = [
        asyncio.ensure_future(watch(feed.see, config)),
        asyncio.create_task(resync(feed, listed, config.timing.resync)),
        asyncio.create_task(serve(queue, listed, config.workers)),
        came := asyncio.create_task(until_kinds_come(api, missing, config.timing.resync)),
    ]
    try:
        done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a worker that ended is a bug: leave with its error, the pod is restarted
        return came in done
    finally:
        for task in work:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        await runner.cleanup()
