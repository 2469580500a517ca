"""From the watch to the queue: an event is put into the read cache, then the keys that it concerns are added.

What a watch missed is found by lists: one per kind at the start (until then reads go to the API), one every resync.
"""

from __future__ import annotations

from flywheel_api.names import LABEL_OWNER_KIND, LABEL_OWNER_NAME
from flywheel_operator.execute import post_event
from flywheel_operator.logs import get_logger
from flywheel_operator.model import Note
from flywheel_operator.ports.cache import WATCHED, CachedKube, Wrote
from flywheel_operator.ports.errors import PortError
from flywheel_operator.ports.kinds import OWN, Object, labels_of
from flywheel_operator.queue import Key, WorkQueue

log = get_logger(__name__)
_OWN_KINDS = frozenset(resource.kind for resource in OWN)


class Feed:
    """Fills the cache behind `kube` and the queue."""

    def __init__(self, kube: CachedKube, queue: WorkQueue, namespaces: list[str]) -> None:
        self._kube, self._queue = kube, queue
        self._scope: list[str | None] = [*namespaces] or [None]

    async def see(self, event: str | None, obj: Object) -> None:
        """One event of the watch; its type is None for what was there when the watch began.

        What a look wrote wakes its object no second time, be it a status or a child: the look has said when it wants
        the next one. A status still wakes the owner, and a child that is ours has its first look.
        """
        echo = None if event == "DELETED" else self._kube.cache.echoes(obj)
        if event == "DELETED":
            self._kube.cache.remove(obj)
            if obj["kind"] in _OWN_KINDS:
                await self._report_deletion(obj)
        else:
            self._kube.cache.put(obj)
        self._wake(obj, own=event != "DELETED" and echo is not Wrote.STATUS, owner=echo is not Wrote.WHOLE)

    async def resync(self) -> None:
        """Lists every kind, which makes the cache what the API server has, and wakes every object of ours."""
        self._kube.cache.age()
        for namespace in self._scope:
            for resource in WATCHED:
                try:
                    if news := await self._kube.relist(resource, namespace):
                        log.info("listed", kind=resource.kind, namespace=namespace, news=news)
                except PortError as error:
                    log.warning("resync failed", kind=resource.kind, error=str(error))
        for kind, space, name in self._kube.cache.keys(OWN):
            self._queue.add(Key(kind, space, name))

    def _wake(self, obj: Object, own: bool, owner: bool) -> None:
        """Adds an object of ours where it has news, and the `owner` that its labels name where those are news to it."""
        meta, labels = obj["metadata"], labels_of(obj) if owner else {}
        if obj["kind"] in _OWN_KINDS and own:
            self._queue.add(Key(obj["kind"], meta["namespace"], meta["name"]))
        kind, name = labels.get(LABEL_OWNER_KIND), labels.get(LABEL_OWNER_NAME)
        if kind in _OWN_KINDS and name:
            self._queue.add(Key(kind, meta["namespace"], name))

    async def _report_deletion(self, obj: Object) -> None:
        """An Event says what a deletion leaves behind: children go with their owner, what is in the store stays."""
        status = obj.get("status") or {}
        kept = ["the results that it committed to the store, for whoever makes the same"]
        if (status.get("model") or {}).get("digest"):
            kept.append(f"its model {status['model']['digest']}")
        if status.get("report"):
            kept.append(f"its report {status['report']}")
        await post_event(self._kube, obj, Note("Deleted", f"children are removed; kept: {', '.join(kept)}"))
