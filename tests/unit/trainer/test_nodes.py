"""Work on every node: a plain call on one, a task pinned to each of several (over a recorded Ray)."""

from __future__ import annotations

import sys
import time
import types
from typing import Any

import pytest

from flywheel_api.causes import Cause
from flywheel_api.ends import End
from flywheel_jobs.trainer import nodes, signals
from flywheel_jobs.trainer.nodes import LOOK_SECONDS, NodeLost, Nodes, Share, Stranding, shares
from flywheel_store.traffic import Meter


class RecordedRay(types.ModuleType):
    """The few calls that Nodes makes, run in place."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.pinned: list[str] = []
        self.actors = 0
        self.started: list[dict[str, Any]] = []
        self.living = {"n1": True, "n2": False, "n3": True}
        self.steps: list[int] = []  # bytes that the nodes move between two looks; a task ends when there are none left

    def is_initialized(self) -> bool:
        return bool(self.started)

    def init(self, **kwargs: Any) -> None:
        self.started.append(kwargs)

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": n, "Alive": alive, "NodeManagerAddress": f"10.0.0.{n[1]}"} for n, alive in self.living.items()
        ]

    def remote(self, **_options: Any) -> Any:
        def wrap(work: Any) -> Any:
            if isinstance(work, type):
                self.actors += 1
                return types.SimpleNamespace(remote=lambda: Actor(work()))

            def options(scheduling_strategy: Any) -> Any:
                self.pinned.append(scheduling_strategy.node_id)
                assert scheduling_strategy.soft is False
                return types.SimpleNamespace(remote=lambda *arguments: (work, arguments))

            return types.SimpleNamespace(options=options)

        return wrap

    def wait(self, tasks: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        if not self.steps:
            return tasks[:num_returns], tasks[num_returns:]
        tasks[0][1][0].add.remote(self.steps.pop(0))
        return [], tasks

    def get(self, pending: Any) -> Any:
        if not isinstance(pending, list):
            return pending
        return [work(*arguments) for work, arguments in pending]


class RayError(Exception):
    """Ray's own."""


class RayTaskError(RayError):
    """What a task raised."""


class Actor:
    """A Ray actor in place: `actor.method.remote(...)` is the method's answer."""

    def __init__(self, instance: Any) -> None:
        for name in ("add", "take"):
            setattr(self, name, types.SimpleNamespace(remote=getattr(instance, name)))


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> RecordedRay:
    fake = RecordedRay()
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
    errors = types.ModuleType("ray.exceptions")
    errors.RayError, errors.RayTaskError = RayError, RayTaskError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray.exceptions", errors)
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", strategies)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    return fake


def test_one_node_is_a_plain_call(ray: RecordedRay) -> None:
    assert Nodes(spread=False).each(lambda a: a + 1, 1) == [2]
    assert ray.started == []


def test_without_a_cluster_it_is_a_plain_call_too(ray: RecordedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS")
    assert Nodes(spread=True).each(lambda: 5) == [5]


def test_every_live_node_gets_its_task(ray: RecordedRay) -> None:
    both = Nodes(spread=True)
    assert both.each(lambda a: a * 2, 4) == [8, 8]
    assert ray.pinned == ["n1", "n3"]
    both.each(lambda: None)
    assert (len(ray.started), ray.actors) == (1, 1), "one connection and one actor for all calls"
    assert ray.started[0]["address"] == "auto"


def test_ranks_are_where_verl_puts_them() -> None:
    """Sorted by address as text, of nodes with GPUs; a head has none."""

    def node(name: str, address: str, gpus: float, alive: bool = True) -> dict[str, Any]:
        return {"NodeID": name, "NodeManagerAddress": address, "Alive": alive, "Resources": {"GPU": gpus, "CPU": 9.0}}

    head = {"NodeID": "head", "NodeManagerAddress": "10.0.0.1", "Alive": True, "Resources": {"CPU": 16.0}}
    nodes = [head, node("a", "10.0.0.9", 2), node("b", "10.0.0.10", 2), node("gone", "10.0.0.2", 2, alive=False)]
    found = shares(nodes, 2)
    assert found == {"head": Share(None, 2), "a": Share(1, 2), "b": Share(0, 2)}
    held = {name: [rank for rank in range(4) if share and share.holds(rank, 4)] for name, share in found.items()}
    assert held == {"head": [], "b": [0, 1], "a": [2, 3]}
    assert set(shares(nodes, 3).values()) == {None}, "one is away: nobody knows who gets which"


def test_bytes_that_nodes_move_are_told_while_they_move(ray: RecordedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Meter()
    monkeypatch.setattr(nodes, "MOVED", here)
    ray.steps = [5, 7]
    seen: list[int] = []
    wait = ray.wait
    monkeypatch.setattr(ray, "wait", lambda *a, **k: (seen.append(here.total), wait(*a, **k))[1])
    assert Nodes(spread=True).each(lambda: "done") == ["done", "done"]
    assert seen[:3] == [0, 5, 12]


def test_a_node_tells_what_it_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Meter()
    monkeypatch.setattr(nodes, "MOVED", there)
    monkeypatch.setattr(nodes, "REPORT_SECONDS", 0.01)
    total = nodes.Total()

    def work(size: int) -> str:
        there.add(size)
        for _ in range(500):
            if total._bytes:
                return "told while it worked"
            time.sleep(0.01)
        return "not told"

    there.add(1000)  # what an earlier task of this process moved
    assert nodes.metered(Actor(total), work, 7) == "told while it worked"
    there.add(1)
    assert (total.take(), total.take()) == (7, 0)


def test_a_lost_node_is_no_fault_of_the_program(ray: RecordedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_tasks: Any) -> None:
        raise RayError("the node died")

    monkeypatch.setattr(ray, "get", gone)
    with pytest.raises(NodeLost, match="the node died") as lost:
        Nodes(spread=True).each(len, "x")
    assert (lost.value.cause, lost.value.reason) == (Cause.INFRA, End.NODE_LOST)
    Nodes(spread=True).tell(signals.forget, "x")  # what a lost node need not know ends nothing


def test_an_error_of_any_node_is_raised(ray: RecordedRay) -> None:
    def work() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Nodes(spread=True).each(work)


def test_only_a_node_that_the_run_stands_on_can_be_lost(ray: RecordedRay) -> None:
    run = Nodes(spread=True)
    assert run.lost() == [], "before it has begun"
    run.need()
    assert run.lost() == []
    ray.living |= {"n3": False, "n4": True}
    assert run.lost() == ["10.0.0.3"], "whoever comes later takes the place of none"
    assert Nodes(spread=False).lost() == []


def test_verl_has_a_minute_to_say_itself_what_it_lost(ray: RecordedRay, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    run = Nodes(spread=True)
    run.need()
    watch = Stranding(run)
    assert watch.look() is None
    ray.living["n1"] = False
    seen = []
    for _ in range(16):
        clock[0] += LOOK_SECONDS
        seen.append(watch.look())
    assert seen[:12] == [None] * 12 and seen[13] is not None
    assert seen[13].reason == End.NODE_LOST and "10.0.0.1 was lost" in str(seen[13])
