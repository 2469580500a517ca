"""Work on every node: a plain call on one, a task pinned to each of several (over a recorded Ray)."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from flywheel_jobs.trainer.nodes import Nodes


class RecordedRay(types.ModuleType):
    """The few calls that Nodes makes, run in place."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.pinned: list[str] = []
        self.started: list[dict[str, Any]] = []

    def is_initialized(self) -> bool:
        return bool(self.started)

    def init(self, **kwargs: Any) -> None:
        self.started.append(kwargs)

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": "n1", "Alive": True}, {"NodeID": "n2", "Alive": False}, {"NodeID": "n3", "Alive": True}]

    def remote(self, **_options: Any) -> Any:
        def wrap(work: Any) -> Any:
            def options(scheduling_strategy: Any) -> Any:
                self.pinned.append(scheduling_strategy.node_id)
                assert scheduling_strategy.soft is False
                return types.SimpleNamespace(remote=lambda *arguments: (work, arguments))

            return types.SimpleNamespace(options=options)

        return wrap

    def get(self, pending: list[Any]) -> list[Any]:
        return [work(*arguments) for work, arguments in pending]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> RecordedRay:
    fake = RecordedRay()
    strategies = types.ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
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
    nodes = Nodes(spread=True)
    assert nodes.each(lambda a: a * 2, 4) == [8, 8]
    assert ray.pinned == ["n1", "n3"]
    nodes.each(lambda: None)
    assert len(ray.started) == 1, "one connection for all calls"
    assert ray.started[0]["address"] == "auto"


def test_an_error_of_any_node_is_raised(ray: RecordedRay) -> None:
    def work() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Nodes(spread=True).each(work)
