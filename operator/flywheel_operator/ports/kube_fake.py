"""Kubernetes in memory, for tests: uids, resource versions, owner garbage collection, and crashes at chosen writes."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import AsyncIterator, Callable

from flywheel_api import API_VERSION
from flywheel_operator.ports.errors import Conflict, NotFound
from flywheel_operator.ports.kinds import BY_KIND, RAY_API, Object, Resource, labels_of

Key = tuple[str, str, str]


def _copied(value: Object) -> Object:
    """A copy down to the leaves, as a request over the wire makes one; six times as fast as `copy.deepcopy`."""
    copy: Object = pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    return copy


class FakeKube:
    """Implements `KubeApi`. `before_write` and `after_write` may raise, which plays a crash around an effect."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.api_versions = {API_VERSION, RAY_API}
        self.log: list[tuple[str, str, str]] = []
        self.before_write: Callable[[str, str], None] = lambda verb, kind: None
        self.after_write: Callable[[str, str], None] = lambda verb, kind: None
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)

    @property
    def writes(self) -> int:
        """How many writes were asked for."""
        return len(self.log)

    def seed(self, body: Object) -> Object:
        """Put an object there as a user or another controller would; not logged as a write of ours."""
        return self._insert(body)

    async def events(self, namespace: str, fields: dict[str, str]) -> list[Object]:
        """See KubeApi."""
        found = [obj for (kind, space, _), obj in self.objects.items() if (kind, space) == ("Event", namespace)]

        def has(event: Object) -> Object:
            about = event.get("involvedObject", {})
            return {"reason": event.get("reason")} | {f"involvedObject.{k}": v for k, v in about.items()}

        return [_copied(event) for event in found if fields.items() <= has(event).items()]

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """See KubeApi."""
        found = self.objects.get((resource.kind, namespace, name))
        return _copied(found) if found is not None else None

    async def refresh(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """See KubeApi."""
        return await self.get(resource, namespace, name)

    async def pages(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> AsyncIterator[list[Object]]:
        """See KubeApi. An object a page."""
        for obj in await self.list(resource, namespace, labels):
            yield [obj]

    async def list(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        """See KubeApi."""
        wanted = (labels or {}).items()
        return [
            _copied(obj)
            for (kind, space, _), obj in sorted(self.objects.items())
            if kind == resource.kind and namespace in (None, space) and wanted <= labels_of(obj).items()
        ]

    async def create(self, body: Object) -> Object:
        """See KubeApi."""
        return self._write("create", body["kind"], body["metadata"]["name"], lambda: self._insert(body))

    async def apply(self, body: Object) -> Object:
        """See KubeApi. Replaces `spec`; enough for the one Service that is applied."""

        def do() -> Object:
            key = (body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])
            if key not in self.objects:
                return self._insert(body)
            merged = self.objects[key] | {"spec": body.get("spec", {})}
            if merged != self.objects[key]:
                self._store(key, merged)
            return _copied(self.objects[key])

        return self._write("apply", body["kind"], body["metadata"]["name"], do)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> Object | None:
        """See KubeApi. Dependents go at once, as the garbage collector would see to."""

        def do() -> Object:
            found = self.objects.get((resource.kind, namespace, name))
            if found is not None and found["metadata"]["uid"] == uid:
                self.remove(resource.kind, namespace, name)
            return {}

        self._write("delete", resource.kind, name, do)
        return None

    async def patch_status(self, obj: Object, status: Object) -> Object:
        """See KubeApi."""
        meta = obj["metadata"]

        def do() -> Object:
            key = (obj["kind"], meta["namespace"], meta["name"])
            found = self.objects.get(key)
            if found is None:
                raise NotFound(f"{key} is gone")
            same = ("uid", "resourceVersion")
            if any(found["metadata"][field] != meta[field] for field in same):
                raise Conflict(f"{key} has changed")
            if found.get("status") != status:
                self._store(key, found | {"status": _copied(status)})
            return _copied(self.objects[key])

        return self._write("status", obj["kind"], meta["name"], do)

    async def served(self, api_version: str) -> frozenset[str]:
        """See KubeApi."""
        known = self.api_versions
        return frozenset(r.plural for r in BY_KIND.values() if r.api_version == api_version and api_version in known)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Take an object and everything it owns away."""
        gone = self.objects.pop((kind, namespace, name), None)
        if gone is None:
            return
        uid = gone["metadata"]["uid"]
        for (k, space, n), obj in list(self.objects.items()):
            if any(ref["uid"] == uid for ref in obj["metadata"].get("ownerReferences", [])):
                self.remove(k, space, n)

    def update(self, kind: str, namespace: str, name: str, **parts: Object) -> None:
        """Replace top-level parts (status=..., spec=...) as others would; a new spec is a new generation."""
        key = (kind, namespace, name)
        changed = self.objects[key] | _copied(parts)
        if changed.get("spec") != self.objects[key].get("spec"):
            meta = changed["metadata"]
            changed["metadata"] = meta | {"generation": int(meta.get("generation", 1)) + 1}
        self._store(key, changed)

    def _write(self, verb: str, kind: str, name: str, do: Callable[[], Object]) -> Object:
        self.before_write(verb, kind)
        self.log.append((verb, kind, name))
        result = do()
        self.after_write(verb, kind)
        return result

    def _insert(self, body: Object) -> Object:
        meta = body["metadata"]
        key = (body["kind"], meta["namespace"], meta["name"])
        if key in self.objects:
            raise Conflict(f"{key} already exists")
        assert body["kind"] in BY_KIND, body["kind"]
        fresh = _copied(body)
        fresh["metadata"].setdefault("uid", f"00000000-0000-4000-8000-{next(self._uids):012d}")
        fresh["metadata"].setdefault("generation", 1)
        self._store(key, fresh)
        return _copied(fresh)

    def _store(self, key: Key, obj: Object) -> None:
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = obj
