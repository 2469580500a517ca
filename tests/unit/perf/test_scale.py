"""The benchmark of scale counts, pairs and judges rightly; what it measures needs a real cluster."""

from __future__ import annotations

from collections import Counter

import pytest

from flywheel_api.round import FlywheelRoundSpec
from perf import compare
from perf.meter import Stretch, scrape, total
from perf.shapes import flywheel_round, held, live_round, round_name
from perf.table import at, show, show_targets

PAGE = """# HELP apiserver_request_total Requests
apiserver_request_total{code="200",resource="pods",verb="LIST"} 3
apiserver_request_total{code="200",resource="pods",verb="GET"} 2
apiserver_request_total_more{resource="pods"} 100
flywheel_queue_depth 4.0
"""


def test_counters_are_read_by_name_and_label() -> None:
    assert total(PAGE, "apiserver_request_total") == 5
    assert total(PAGE, "apiserver_request_total", verb="LIST") == 3
    assert total(PAGE, "flywheel_queue_depth") == 4
    assert [labels["verb"] for _, labels, _ in scrape(PAGE, "apiserver_request_total")] == ["LIST", "GET"]


def test_rates_are_per_second_and_per_running_stage() -> None:
    stretch = Stretch(
        10.0, Counter(GET=20, LIST=20, APPLY=5), s3=Counter(GetObject=30, PutObject=7), cpu={"operator": 1.0}
    )
    found = stretch.result(running=4)
    assert found["api_reads_per_s"] == 4.0 and found["api_reads_per_running_stage_and_s"] == 1.0
    assert found["s3_reads_per_s"] == 3.0 and found["s3_reads_per_running_stage_and_s"] == 0.75
    assert found["api_writes"] == 5 and found["cpu_s_per_s"] == {"operator": 0.1}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_rounds_are_valid(number: int) -> None:
    FlywheelRoundSpec.model_validate(flywheel_round(number, "perf")["spec"])


def test_rounds_are_held_where_their_shape_says() -> None:
    assert [round_name(n) for n in (0, 1, 2)] == ["serve-0000", "train-0001", "jobs-0002"]
    assert held("jobs-0002", "MineReasoning") and not held("jobs-0002", "Prepare")
    assert not held("train-0001", "MineReasoning")


def test_live_means_that_every_held_stage_has_its_child() -> None:
    stages = [{"name": n, "state": "Running", "child": {"kind": "Job"}} for n in ("EvaluateBase", "MineReasoning")]
    obj = {"metadata": {"name": "jobs-0002"}, "status": {"stages": stages}}
    assert live_round(obj)
    del stages[0]["child"]
    assert not live_round(obj)
    assert not live_round({"metadata": {"name": "jobs-0002"}})


def test_what_was_not_measured_is_not_met() -> None:
    assert compare.judge("x", None, 30.0)["met"] is False
    assert compare.judge("x", 30.0, 30.0)["met"] and compare.judge("x", 31.0, 30.0, more=True)["met"]
    assert not compare.judge("x", 31.0, 30.0)["met"]


def test_linear_is_one() -> None:
    def run(count: int) -> dict[str, object]:
        cpu = {"cpu_s_per_s": {"operator": count / 1000}, "rss_mb": 50 + count / 10}
        return {"count": count, "rest": cpu, "live": cpu, "ramp": {"cpu_ms_per_object": 9.0}}

    found = compare.linearity(run(100), run(1000))
    assert found["CPU at rest"] == 1.0 and found["CPU of the ramp"] == 1.0
    assert found["memory, KB per round"] == 100.0 and found["restart"] is None


def test_tables_show_what_is_there() -> None:
    text = show({"a": {"rest": {"api_writes": 3}}, "b": {}})
    assert text.splitlines()[1].split() == ["rest:", "API", "writes", "3", "-"]
    assert at({"a": {"b": 1}}, "a.b.c") is None
    assert show_targets([compare.judge("memory", 310.0, 300.0)]).startswith("FAIL  memory: 310")
