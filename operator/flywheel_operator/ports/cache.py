"""Reads from the watch: what kopf is told anyway is kept here, and `CachedKube` answers from it.

Stale reads are safe: a status write is a compare-and-swap, names are facts, a child is created once. Own writes are
seen at once. Objects are kept as bytes (a fifth of the memory of dicts), so nobody can change what another one reads.
"""

from __future__ import annotations

import marshal
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from enum import StrEnum

from flywheel_api.names import ANNOTATION_PAGE, LABEL_MANAGED_BY, LABEL_OWNER_UID, LABEL_POOL, MANAGED_BY
from flywheel_operator.ports.errors import Conflict, NotFound
from flywheel_operator.ports.kinds import BY_KIND, CHILDREN, OWN, SERVICES, KubeApi, Object, Resource, labels_of

WATCHED = (*OWN, *CHILDREN)
SELECTOR = {LABEL_MANAGED_BY: MANAGED_BY}  # of children; what does not carry it is not ours and not watched
_KINDS = frozenset(resource.kind for resource in WATCHED)
_CHILD_KINDS = frozenset(resource.kind for resource in CHILDREN)
_WHOLE = frozenset(resource.kind for resource in (*OWN, SERVICES))
_INDEXED = (LABEL_OWNER_UID, LABEL_POOL)
_UNREAD = frozenset({"managedFields", "annotations"})
_CONTAINER = frozenset({"name", "image", "ready", "restartCount", "state", "lastState"})

Key = tuple[str, str, str]  # kind, namespace, name
Mark = tuple[str, int | None]  # uid and version; None is a version that is no number: taken as news
_FOREVER = 1 << 63


class Wrote(StrEnum):
    """What of an object we wrote ourselves: the watch repeats it."""

    STATUS = "Status"
    WHOLE = "Whole"


@dataclass(frozen=True, slots=True)
class _Entry:
    mark: Mark
    tokens: tuple[tuple[str, ...], ...]
    data: bytes
    wrote: Wrote | None = None


class ReadCache:
    """Objects by kind, namespace and name, the newest that was heard of, indexed by namespace, owner and pool."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._index: dict[tuple[str, ...], set[Key]] = {}
        self._complete: set[tuple[str, str | None]] = set()
        self._gone: dict[str, int] = {}  # uid: the version with which it went, against news from before that
        self._gone_before: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """A fresh copy, or None."""
        entry = self._entries.get((resource.kind, namespace, name))
        return _read(entry) if entry is not None else None

    def list(self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None) -> list[Object]:
        """Fresh copies of what has all of these labels, in the order of names."""
        wanted = labels or {}
        token: tuple[str, ...] = (resource.kind,) if namespace is None else (resource.kind, namespace)
        for label in _INDEXED:
            if namespace is not None and label in wanted:
                token = (resource.kind, namespace, label, wanted[label])
                break
        found = (_read(self._entries[key]) for key in sorted(self._index.get(token, ())))
        return [obj for obj in found if wanted.items() <= labels_of(obj).items()]

    def echoes(self, obj: Object) -> Wrote | None:
        """What of this very version was our own write: the watch tells us what we said."""
        known = self._entries.get(_key(obj))
        return known.wrote if known is not None and known.mark == _mark(obj) else None

    def put(self, obj: Object, wrote: Wrote | None = None) -> bool:
        """News of an object that exists, by our own write or not; whether it is news. Without our label it leaves."""
        key, mark = _key(obj), _mark(obj)
        labels = labels_of(obj)
        if key[0] in _CHILD_KINDS and not SELECTOR.items() <= labels.items():
            return self.remove(obj)
        known = self._entries.get(key)
        if _old(mark, self._gone.get(mark[0])) or _old(mark, self._gone_before.get(mark[0])):
            return False
        if known is not None and _old(mark, known.mark[1]):
            return False
        self._drop(key)
        tokens = [key[:1], key[:2], *((*key[:2], label, labels[label]) for label in _INDEXED if label in labels)]
        self._entries[key] = _Entry(mark, tuple(tokens), marshal.dumps(shrunk(obj)), wrote)
        for token in tokens:
            self._index.setdefault(token, set()).add(key)
        return True

    def remove(self, obj: Object) -> bool:
        """News that an object is gone, or not ours any more, as of its version; whether it is news."""
        key, (uid, version) = _key(obj), _mark(obj)
        if version is not None:
            self._gone[uid] = max(version, self._gone.get(uid, 0))
        known = self._entries.get(key)
        if known is None or known.mark[0] != uid or (known.mark[1] != version and _old((uid, version), known.mark[1])):
            return False
        self._drop(key)
        return True

    def forget(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """That incarnation is gone for good; news of it that are still on their way do not bring it back."""
        self._gone[uid] = _FOREVER
        known = self._entries.get((resource.kind, namespace, name))
        if known is not None and known.mark[0] == uid:
            self._drop((resource.kind, namespace, name))

    def uid(self, resource: Resource, namespace: str, name: str) -> str | None:
        """Which incarnation is known."""
        entry = self._entries.get((resource.kind, namespace, name))
        return entry.mark[0] if entry is not None else None

    def marks(self, resource: Resource, namespace: str | None) -> dict[Key, Mark]:
        """What is known of a kind now."""
        token = (resource.kind,) if namespace is None else (resource.kind, namespace)
        return {key: self._entries[key].mark for key in self._index.get(token, ())}

    def keys(self, resources: Iterable[Resource]) -> set[Key]:
        """Of all objects of these kinds."""
        return {key for resource in resources for key in self._index.get((resource.kind,), ())}

    def sweep(self, before: dict[Key, Mark], listed: set[Key]) -> int:
        """Drops what was there before a list, is not on it and has not changed since; how many that were."""
        missed = [k for k, mark in before.items() if k not in listed and (e := self._entries.get(k)) and e.mark == mark]
        for key in missed:
            self._drop(key)
        return len(missed)

    def age(self) -> None:
        """Called between two resyncs: memories of what is gone last for one to two of them."""
        self._gone_before, self._gone = self._gone, {}

    def complete(self, resource: Resource, namespace: str | None) -> None:
        """From now on, what is not here does not exist."""
        self._complete.add((resource.kind, namespace))

    def covers(self, resource: Resource, namespace: str | None) -> bool:
        """Whether that kind was listed and is watched there."""
        return bool({(resource.kind, None), (resource.kind, namespace)} & self._complete)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        for token in entry.tokens if entry is not None else ():
            keys = self._index[token]
            keys.discard(key)
            if not keys:
                del self._index[token]


class CachedKube:
    """Implements `KubeApi`: watched kinds are read from memory once they were listed, the rest from the API.

    A child that is not in memory is asked for by name: it may exist without our label.
    """

    def __init__(self, kube: KubeApi, cache: ReadCache) -> None:
        self._kube, self.cache = kube, cache
        self.hits = 0

    async def events(self, namespace: str, fields: dict[str, str]) -> list[Object]:
        """See KubeApi."""
        return await self._kube.events(namespace, fields)

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """See KubeApi."""
        if self.cache.covers(resource, namespace):
            found = self.cache.get(resource, namespace, name)
            if found is not None or resource in OWN:
                self.hits += 1
                return found
        return await self.refresh(resource, namespace, name)

    async def refresh(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """See KubeApi."""
        known = self.cache.uid(resource, namespace, name)
        found = await self._kube.refresh(resource, namespace, name)
        if found is not None and resource.kind in _KINDS:
            self.cache.put(found)
        elif found is None and known is not None:
            self.cache.forget(resource, namespace, name, known)
        return found

    def pages(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> AsyncIterator[list[Object]]:
        """See KubeApi."""
        return self._kube.pages(resource, namespace, labels)

    async def list(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        """See KubeApi."""
        if not self.cache.covers(resource, namespace):
            return await self._kube.list(resource, namespace, labels)
        self.hits += 1
        return self.cache.list(resource, namespace, labels)

    async def create(self, body: Object) -> Object:
        """See KubeApi."""
        try:
            return self._written(await self._kube.create(body), Wrote.WHOLE)
        except Conflict:
            await self._reread(body)
            raise

    async def apply(self, body: Object) -> Object:
        """See KubeApi."""
        return self._written(await self._kube.apply(body))

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> Object | None:
        """See KubeApi."""
        left = await self._kube.delete(resource, namespace, name, uid)
        if left is not None:
            return self._written(left)
        self.cache.forget(resource, namespace, name, uid)
        return None

    async def patch_status(self, obj: Object, status: Object) -> Object:
        """See KubeApi."""
        try:
            return self._written(await self._kube.patch_status(obj, status), Wrote.STATUS)
        except (Conflict, NotFound):
            await self._reread(obj)
            raise

    async def served(self, api_version: str) -> frozenset[str]:
        """See KubeApi."""
        return await self._kube.served(api_version)

    async def relist(self, resource: Resource, namespace: str | None) -> int:
        """Makes the cache what a list says, so that a missed event lives no longer; how much was news."""
        before, listed, news = self.cache.marks(resource, namespace), set(), 0
        async for page in self._kube.pages(resource, namespace, SELECTOR if resource in CHILDREN else None):
            listed |= {_key(obj) for obj in page}
            news += sum(self.cache.put(obj) for obj in page)
        news += self.cache.sweep(before, listed)
        self.cache.complete(resource, namespace)
        return news

    def _written(self, answer: Object, wrote: Wrote | None = None) -> Object:
        if answer["kind"] in _KINDS:
            self.cache.put(answer, wrote)
        return answer

    async def _reread(self, obj: Object) -> None:
        """Somebody else was there first: what they made of it is what the next look decides by."""
        if obj["kind"] in _KINDS:
            await self.refresh(BY_KIND[obj["kind"]], obj["metadata"]["namespace"], obj["metadata"]["name"])


def shrunk(obj: Object) -> Object:
    """What is kept of an object.

    Own kinds and Services: all but managed fields and annotations that are not read here. Of other children: metadata,
    the plain values of their spec, and their status; of a pod's container statuses what tells why it waits or ended.
    """
    kept = {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
    kept["metadata"] = {k: v for k, v in obj["metadata"].items() if k not in _UNREAD}
    page = (obj["metadata"].get("annotations") or {}).get(ANNOTATION_PAGE)
    if page is not None:
        kept["metadata"]["annotations"] = {ANNOTATION_PAGE: page}
    spec, status = obj.get("spec"), obj.get("status")
    if spec is not None:
        whole = obj["kind"] in _WHOLE
        kept["spec"] = spec if whole else {k: v for k, v in spec.items() if not isinstance(v, dict | list)}
    if status is not None:
        kept["status"] = status if obj["kind"] != "Pod" else {k: _pod_part(k, v) for k, v in status.items()}
    return kept


def _pod_part(name: str, value: object) -> object:
    if not name.endswith("ontainerStatuses") or not isinstance(value, list):
        return value
    return [{k: v for k, v in status.items() if k in _CONTAINER} for status in value]


def _read(entry: _Entry) -> Object:
    found: Object = marshal.loads(entry.data)
    return found


def _key(obj: Object) -> Key:
    meta = obj["metadata"]
    return sys.intern(obj["kind"]), sys.intern(meta["namespace"]), meta["name"]


def _mark(obj: Object) -> Mark:
    version = str(obj["metadata"]["resourceVersion"])
    return str(obj["metadata"]["uid"]), int(version) if version.isdigit() else None


def _old(mark: Mark, seen: int | None) -> bool:
    """Versions of one kind are ordered, over all its objects: whether that one is not newer than what was seen."""
    return mark[1] is not None and seen is not None and mark[1] <= seen
