"""What a controller is, and what controllers share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

from flywheel_api.base import ApiModel, StatusModel
from flywheel_api.names import LABEL_OWNER_UID
from flywheel_operator.observe.stores import StoreBook
from flywheel_operator.plan.types import Action, Meta, Plan, Timings
from flywheel_operator.ports.kinds import KubeApi, Object, Resource
from flywheel_operator.settings import OperatorConfig

Spec = TypeVar("Spec", bound=ApiModel, contravariant=True)
Status = TypeVar("Status", bound=StatusModel)


@dataclass(frozen=True)
class Context:
    """What every controller may use."""

    kube: KubeApi
    stores: StoreBook
    config: OperatorConfig

    @property
    def timings(self) -> Timings:
        """The planner's share of the configuration."""
        t, job = self.config.timing, self.config.job
        return Timings(
            poll=t.poll,
            preflight=t.preflight,
            back_off=t.back_off,
            back_off_limit=t.back_off_limit,
            manifest_grace=t.manifest_grace,
            stage_stall=job.stall_after_seconds,
            stage_startup=job.startup_seconds,
            stage_retries=job.retries,
        )

    async def owned(self, resource: Resource, meta: Meta) -> list[Object]:
        """Objects that carry our owner label."""
        return await self.kube.list(resource, meta.namespace, {LABEL_OWNER_UID: meta.uid})


class Controller(Protocol):
    """Observe (reads only), plan (pure), render (pure)."""

    @property
    def resource(self) -> Resource:
        """What is reconciled."""

    @property
    def spec_model(self) -> type[ApiModel]:
        """Its spec."""

    @property
    def status_model(self) -> type[StatusModel]:
        """Its status."""

    async def decide(self, meta: Meta, spec: Any, status: Any, now: datetime) -> tuple[Plan[Any], Any]:
        """Observe and plan; the second value is handed to `render`."""

    def render(self, meta: Meta, spec: Any, action: Action, status: Any, seen: Any) -> Object:
        """The body of a CREATE or APPLY action; `status` is the planned one, which has just been written."""


def meta_of(obj: Object) -> Meta:
    """Identity of an object."""
    m = obj["metadata"]
    return Meta(m["name"], m["namespace"], m["uid"], int(m.get("generation", 0)))
