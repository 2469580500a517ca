"""What every observer may use: reads of Kubernetes, the stores by namespace, results, nodes, and the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from flywheel_api.names import LABEL_OWNER_UID
from flywheel_operator.model import Meta, Object
from flywheel_operator.observe.attempts import Results
from flywheel_operator.observe.events import Words
from flywheel_operator.observe.keys import KeyBook
from flywheel_operator.observe.nodes import NodeBook
from flywheel_operator.observe.stores import StoreBook
from flywheel_operator.ports.kinds import KubeApi, Resource
from flywheel_operator.settings import OperatorConfig


@dataclass(frozen=True)
class Context:
    """Shared by the observers of all kinds."""

    kube: KubeApi
    stores: StoreBook
    results: Results
    config: OperatorConfig
    words: Words
    nodes: NodeBook
    keys: KeyBook

    async def owned(self, resource: Resource, meta: Meta) -> list[Object]:
        """Objects that carry our owner label."""
        return await self.kube.list(resource, meta.namespace, {LABEL_OWNER_UID: meta.uid})
