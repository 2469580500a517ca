"""Work that must happen on every Ray node: fetching inputs, uploading what a node's ranks wrote.

On one node it is a plain call. On several, each call is a Ray task pinned to its node, and the bytes that it moves are
told here as they move: a long transfer on any node is progress of the run (law 8).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flywheel_api.ends import End
from flywheel_jobs.core.errors import InfraError
from flywheel_jobs.core.logging import get_logger
from flywheel_store.traffic import MOVED, Meter

T = TypeVar("T")
REPORT_SECONDS = 5.0
LOOK_SECONDS = 5.0  # between two looks at Ray's nodes
OUTLIVES_SECONDS = 60.0  # how long verl may take to end by itself after a node of its own is lost: it knows why
log = get_logger(__name__)


class NodeLost(InfraError):
    """A Ray node went while something of it was wanted."""


@dataclass(frozen=True)
class Share:
    """Which of the nodes that train this one is, in verl's order of ranks; None for a head that trains nothing."""

    number: int | None
    of: int

    def holds(self, rank: int, world_size: int) -> bool:
        """Whether a rank runs on this node: each has as many, one node after the other."""
        return self.number is not None and rank * self.of // world_size == self.number


class Nodes:
    """The nodes of the run. `spread` False: this process's node does everything (a CPU job on its head).

    `trainers`: how many of them train.
    """

    def __init__(self, spread: bool, trainers: int = 1) -> None:
        self.spread = spread and bool(os.environ.get("RAY_ADDRESS"))
        self._trainers = trainers
        self._total: Any = None  # one actor for all calls: each is a process
        self._needed: dict[str, str] = {}

    def each(self, work: Callable[..., T], *arguments: Any) -> list[T]:
        """Results of `work(*arguments)` from every node; the first error of any node is raised.

        `work` must be importable on the nodes (a module-level function of the image) and may be called twice.
        """
        return self.each_own(work, lambda _share: arguments)

    def tell(self, work: Callable[..., None], *arguments: Any) -> None:
        """`each` for what a node that is lost need not know any more."""
        try:
            self.each(work, *arguments)
        except NodeLost as error:
            log.warning("a node was not told", what=work.__name__, error=str(error))

    def need(self) -> None:
        """The nodes of now are those that a run stands on: one that comes later takes the place of none."""
        self._needed = self._alive()

    def lost(self) -> list[str]:
        """Addresses of nodes that a run stands on and that are gone, as Ray's head sees it (after some 15 s)."""
        alive = self._alive() if self._needed else {}
        return [address for node, address in self._needed.items() if node not in alive]

    def _alive(self) -> dict[str, str]:
        """Ids of the nodes that live, with their addresses; none where one process does everything."""
        if not self.spread:
            return {}
        return {node["NodeID"]: node["NodeManagerAddress"] for node in _connected().nodes() if node["Alive"]}

    def each_own(self, work: Callable[..., T], arguments: Callable[[Share | None], tuple[Any, ...]]) -> list[T]:
        """The same with arguments by node. None: which ranks will run there is not known."""
        if not self.spread:
            return [work(*arguments(None))]
        from ray.exceptions import RayError, RayTaskError

        try:
            return self._everywhere(work, arguments)
        except RayTaskError:
            raise  # of the work itself, and of its own class
        except RayError as error:
            raise NodeLost(f"while its {work.__name__} ran: {error}", End.NODE_LOST) from error

    def _everywhere(self, work: Callable[..., T], arguments: Callable[[Share | None], tuple[Any, ...]]) -> list[T]:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ray = _connected()
        self._total = total = self._total or ray.remote(num_cpus=0)(Total).remote()
        remote = ray.remote(num_cpus=0, max_retries=1)(metered)
        tasks = [
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)).remote(
                total, work, *arguments(share)
            )
            for node, share in shares(ray.nodes(), self._trainers).items()
        ]
        waiting = list(tasks)
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1, timeout=REPORT_SECONDS)
            ray.get(ready)  # raises what a node raised, at once
            MOVED.add(ray.get(total.take.remote()))
        results: list[T] = ray.get(tasks)
        return results


class Stranding:
    """Whether verl waits for a node that is lost: its sampler asks dead servers again and again, and never ends."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._looked = float("-inf")
        self._since: float | None = None

    def look(self) -> NodeLost | None:
        """The error of the attempt, once verl has had time to end by itself."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        lost = self._nodes.lost()
        if not lost:
            return None
        if self._since is None:  # for good: a node that starts anew is another one to Ray
            log.warning("a Ray node of the training is lost", addresses=lost)
            self._since = now
        if now - self._since < OUTLIVES_SECONDS:
            return None
        return NodeLost(
            f"the Ray node {', '.join(lost)} was lost, and verl still waited for it after {OUTLIVES_SECONDS:.0f} s",
            End.NODE_LOST,
        )


def _connected() -> Any:
    import ray

    if not ray.is_initialized():
        ray.init(address="auto", namespace="flywheel", log_to_driver=True, logging_level="warning")
    return ray


def shares(nodes: list[dict[str, Any]], trainers: int) -> dict[str, Share | None]:
    """Ids of the nodes that live, with their shares; None where other nodes train than should.

    verl numbers ranks by the address of the node that has the GPUs, as text (`sort_placement_group_by_node_ip`).
    """
    alive = [node for node in nodes if node["Alive"]]
    training = sorted(
        (node["NodeManagerAddress"], node["NodeID"]) for node in alive if node.get("Resources", {}).get("GPU", 0) > 0
    )
    if len(training) != trainers:
        return {node["NodeID"]: None for node in alive}
    number = {node: position for position, (_, node) in enumerate(training)}
    return {node["NodeID"]: Share(number.get(node["NodeID"]), trainers) for node in alive}


class Total:
    """A Ray actor: bytes that the nodes have moved since they were last asked for."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, more: int) -> None:
        """A node has moved more bytes."""
        self._bytes += more

    def take(self) -> int:
        """The bytes so far, which are then forgotten."""
        taken, self._bytes = self._bytes, 0
        return taken


def metered(total: Any, work: Callable[..., T], *arguments: Any) -> T:
    """`work`, on a node; the bytes that it moves there go to `total` meanwhile."""
    over = threading.Event()
    reporter = threading.Thread(target=_report, args=(total, MOVED, over), daemon=True)
    reporter.start()
    try:
        return work(*arguments)
    finally:
        over.set()
        reporter.join()


def _report(total: Any, meter: Meter, over: threading.Event) -> None:
    told = meter.total
    while True:
        last = over.wait(REPORT_SECONDS)
        moved = meter.total - told
        if moved:
            total.add.remote(moved)
            told += moved
        if last:
            return
