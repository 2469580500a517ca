"""The resource types that the operator reads or writes, by API version and plural name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

from flywheel_api import API_VERSION
from flywheel_api.resources import POOL, RLJOB, ROUND

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A resource type; all are namespaced but nodes, which are listed in no namespace."""

    api_version: str
    kind: str
    plural: str

    @property
    def base(self) -> str:
        """`/api/v1` or `/apis/<group>/<version>`."""
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"


ROUNDS = Resource(API_VERSION, ROUND.kind, ROUND.plural)
POOLS = Resource(API_VERSION, POOL.kind, POOL.plural)
RLJOBS = Resource(API_VERSION, RLJOB.kind, RLJOB.plural)
RAY_API = "ray.io/v1"
RAYJOBS = Resource(RAY_API, "RayJob", "rayjobs")
RAYSERVICES = Resource(RAY_API, "RayService", "rayservices")
RAYCLUSTERS = Resource(RAY_API, "RayCluster", "rayclusters")
JOBS = Resource("batch/v1", "Job", "jobs")
PODS = Resource("v1", "Pod", "pods")
SERVICES = Resource("v1", "Service", "services")
SECRETS = Resource("v1", "Secret", "secrets")
CLAIMS = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
EVENTS = Resource("v1", "Event", "events")
NODES = Resource("v1", "Node", "nodes")

OWN = (ROUNDS, POOLS, RLJOBS)
CHILDREN = (JOBS, PODS, SERVICES, RAYJOBS, RAYSERVICES, RAYCLUSTERS)
BY_KIND = {r.kind: r for r in (*OWN, *CHILDREN, SECRETS, CLAIMS, EVENTS, NODES)}


class KubeApi(Protocol):
    """What the operator asks of Kubernetes. All calls raise the errors of `ports.errors`."""

    async def events(self, namespace: str, fields: dict[str, str]) -> list[Object]:
        """Events with all of these fields, such as `involvedObject.uid`; the API server reads all to find them."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object, or None when it or its type does not exist."""

    async def refresh(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """As `get`, but the API server is asked even where a cache could answer."""

    def pages(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> AsyncIterator[list[Object]]:
        """As `list` of the API server, in pages, so that a long list is never in memory as a whole."""

    async def list(
        self, resource: Resource, namespace: str | None, labels: dict[str, str] | None = None
    ) -> list[Object]:
        """Objects with all of these labels; empty when the type is not installed. None means every namespace."""

    async def create(self, body: Object) -> Object:
        """Create once. Conflict when the name is taken."""

    async def apply(self, body: Object) -> Object:
        """Server-side apply as the field manager `flywheel`."""

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> Object | None:
        """Delete exactly that incarnation; gone already is success. What is left while it ends, or None."""

    async def patch_status(self, obj: Object, status: Object) -> Object:
        """Server-side apply of the whole status; Conflict when `obj` is not the newest version."""

    async def served(self, api_version: str) -> frozenset[str]:
        """Plural names of the types that the cluster serves of that group and version; none when it has neither."""


def labels_of(obj: Object) -> dict[str, str]:
    """Labels, never None."""
    return dict(obj.get("metadata", {}).get("labels") or {})


def owner_uid(obj: Object) -> str | None:
    """The uid of the controlling owner."""
    for ref in obj.get("metadata", {}).get("ownerReferences") or []:
        if ref.get("controller"):
            return str(ref.get("uid"))
    return None
