"""Work that must happen on every Ray node: fetching inputs, uploading what a node's ranks wrote.

On one node it is a plain call. On several, each call is a Ray task pinned to its node. The second path is written for
clusters with GPU workers and could not be run where this was built (one machine, no GPU).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Nodes:
    """The nodes of the run. `spread` False: this process's node does everything (a CPU job on its head)."""

    def __init__(self, spread: bool) -> None:
        self.spread = spread and bool(os.environ.get("RAY_ADDRESS"))

    def each(self, work: Callable[..., T], *arguments: Any) -> list[T]:
        """Results of `work(*arguments)` from every node; the first error of any node is raised.

        `work` must be importable on the nodes (a module-level function of the image) and may be called twice.
        """
        if not self.spread:
            return [work(*arguments)]
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if not ray.is_initialized():
            ray.init(address="auto", namespace="flywheel", log_to_driver=True, logging_level="warning")
        remote = ray.remote(num_cpus=0, max_retries=1)(work)
        alive = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        pending = [
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)).remote(
                *arguments
            )
            for node in alive
        ]
        results: list[T] = ray.get(pending)
        return results
