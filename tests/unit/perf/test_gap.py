"""The benchmark of gaps pairs each child with the manifest that it really waited for."""

from __future__ import annotations

import pytest

from flywheel_api.stages import Stage
from perf.gap import STAGE_OF, gaps
from perf.machine import facts, middle


def test_a_child_waits_for_the_last_of_its_manifests() -> None:
    times = {"MineReasoning": 10.0, "MeasureReasoning": 30.0, "SolveAgentic": 20.0, "EvaluateCandidate": 50.0}
    children = {"Package": 30.4, "Gate": 51.0}
    assert gaps(children, times) == {"Package": pytest.approx(0.4), "Gate": pytest.approx(1.0)}


def test_children_that_waited_for_a_pool_are_left_out() -> None:
    times = {"Prepare": 10.0, "Package": 40.0, "EvaluateBase": 41.0}
    assert gaps({"EvaluateBase": 90.0, "TrainReasoning": 60.0, "Prepare": 5.0}, times) == {}


def test_labels_name_every_stage() -> None:
    assert STAGE_OF["train-reasoning"] == "TrainReasoning" and set(STAGE_OF.values()) == set(Stage)


def test_facts_name_no_machine() -> None:
    assert set(facts()) == {"cores", "memory_gb", "cpu", "python", "load_1min"}
    assert middle([3.0, 1.0, 2.0]) == 2.0
