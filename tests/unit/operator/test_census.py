"""Figures that a person can be woken by: where rounds are, whether they get further, what they use and hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus
from flywheel_operator import metrics
from flywheel_operator.census import Census
from flywheel_operator.ports.cache import ReadCache
from flywheel_operator.ports.kinds import OWN
from flywheel_operator.reconcile import Reconciler
from flywheel_operator.subjects import subjects
from unit.operator.world import NS, ROUND, START, World

Labels = tuple[tuple[str, str], ...]


def figures(cache: ReadCache, census: Census | None = None, now: float = 0.0) -> dict[str, dict[Labels, float]]:
    """As Prometheus reads the page."""
    registry = CollectorRegistry()
    registry.register(census or Census(cache, lambda: now))
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        found[family.name] = {tuple(sorted(s.labels.items())): s.value for s in family.samples}
    return found


def labels(**values: str) -> Labels:
    return tuple(sorted(values.items()))


async def cached(world: World, cache: ReadCache) -> ReadCache:
    for resource in OWN:
        for obj in await world.kube.list(resource, NS):
            cache.put(obj)
    return cache


async def test_a_round_is_counted_where_it_is_and_named_while_it_runs() -> None:
    world = World()
    world.apply_as("demo-r1", budget={"wallClock": "2h", "tokens": [{"role": "Teacher", "limit": "4000"}]})
    world.holding.add("Train")
    await world.run(until="TrainReasoning")
    for _ in range(3):
        await world.look()
        world.act()
        world.tick()
    cache = await cached(world, ReadCache())
    world.now = START
    clock = START.timestamp() + 3600
    found = figures(cache, now=clock)
    at = labels(kind="FlywheelRound", stage="TrainReasoning", reason="TrainReasoning", stalled="false")
    assert found["flywheel_objects"][at] == 1
    assert found["flywheel_objects"][labels(kind="RLJob", stage="Running", reason="Running", stalled="false")] == 1
    used = found["flywheel_round_budget_used_ratio"]
    one = {"namespace": NS, "name": "demo-r1"}
    tokens = found["flywheel_round_tokens"][labels(**one, role="Teacher")]
    assert tokens > 0 and used[labels(**one, budget="tokens:Teacher")] == tokens / 4000
    assert 0.45 < used[labels(**one, budget="wallClock")] <= 0.5
    assert labels(kind="FlywheelRound", **one) in found["flywheel_progress_age_seconds"]
    world.holding.clear()
    await world.run()
    found = figures(await cached(world, cache), now=clock)
    assert (
        found["flywheel_objects"][labels(kind="FlywheelRound", stage="Done", reason="Promoted", stalled="false")] == 1
    )
    names = ("flywheel_progress_age_seconds", "flywheel_round_budget_used_ratio", "flywheel_round_tokens")
    assert not any(found[name] for name in names), "what has ended is counted, not named"


def test_the_page_of_metrics_names_what_there_is() -> None:
    """docs/metrics.md and the code: no name in one of them only; alerts ask for names that there are."""
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    told = set(re.findall(r"flywheel_[a-z_]+", page))
    there = {family.name for family in Census(ReadCache()).collect()}
    for family in metrics.REGISTRY.collect():
        there.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert told == there


async def test_the_age_of_progress_grows_until_something_moves() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    cache = await cached(world, ReadCache())
    now = [1000.0]
    census = Census(cache, lambda: now[0])
    key = labels(kind="FlywheelRound", namespace=NS, name="demo-r1")

    def age() -> float:
        return figures(cache, census)["flywheel_progress_age_seconds"][key]

    assert age() == 0
    now[0] += 600
    assert age() == 600
    obj = world.get("FlywheelRound", "demo-r1")
    status: Any = obj["status"]
    usage = status["usage"] | {"wallClock": "9m"}
    world.kube.update("FlywheelRound", NS, "demo-r1", status=status | {"usage": usage})
    await cached(world, cache)
    assert age() == 600, "time that is written down is no progress"
    for stage in status["stages"]:
        stage["progress"] = "34/96 items" if stage["name"] == "EvaluateBase" else stage.get("progress")
    world.kube.update("FlywheelRound", NS, "demo-r1", status=status)
    await cached(world, cache)
    assert age() == 0


def test_gpus_that_are_held_and_those_that_work() -> None:
    """A training that loads, a pool that nobody asks, one that a stage asks, and one of a person's own."""

    def put(cache: ReadCache, kind: str, name: str, spec: object, status: object, **marks: str) -> None:
        cache.put(
            {
                "apiVersion": "flywheel.dev/v1alpha1",
                "kind": kind,
                "metadata": {"name": name, "namespace": NS, "uid": name, "resourceVersion": "1", "labels": marks},
                "spec": spec,
                "status": status,
            }
        )

    cache = ReadCache()
    stages = [{"name": "EvaluateBase", "state": "Running"}, {"name": "EvaluateCandidate", "state": "Pending"}]
    put(cache, "FlywheelRound", "r1", {}, {"stages": stages})
    serving = {"phase": "Running", "endpoint": "http://x/v1", "heldGpus": 2}
    mine = {"flywheel.dev/owner-uid": "r1"}
    put(cache, "RolloutPool", "asked", {}, serving, **mine, **{"flywheel.dev/stage": "serve-base"})
    put(cache, "RolloutPool", "idle", {}, serving, **mine, **{"flywheel.dev/stage": "serve-candidate"})
    put(cache, "RolloutPool", "loading", {}, {"phase": "Starting", "heldGpus": 2})
    put(cache, "RolloutPool", "own", {}, serving)
    shape = {"nodes": 2, "gpusPerNode": 8}
    put(cache, "RLJob", "trains", shape, {"phase": "Running", "runningSince": "2026-11-23T12:00:00Z", "heldGpus": 16})
    put(cache, "RLJob", "starts", shape, {"phase": "Starting", "heldGpus": 16})
    put(cache, "RLJob", "waits", shape, {"phase": "Queued"})
    found = figures(cache)["flywheel_gpus"]
    assert {(dict(k)["kind"], dict(k)["state"]): v for k, v in found.items()} == {
        ("RolloutPool", "held"): 8, ("RolloutPool", "busy"): 4, ("RLJob", "held"): 32, ("RLJob", "busy"): 16,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("FlywheelRound", {"usage": {"gpuHours": "many"}}),
        ("FlywheelRound", {"usage": {"tokens": [{"tokens": "3"}]}}),
        ("FlywheelRound", {"startedAt": "yesterday"}),
        ("FlywheelRound", {"stages": ["Prepare"]}),
        ("RolloutPool", {"conditions": [{"status": "True"}]}),
        ("RolloutPool", {"heldGpus": "two"}),
        ("RLJob", {"attempt": "first"}),
        ("RLJob", "running"),
    ],
)
async def test_an_object_that_cannot_be_read_costs_its_own_figures_only(kind: str, status: object) -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    cache = await cached(world, ReadCache())
    before = figures(cache)
    assert set(before["flywheel_unreadable_objects"].values()) == {0}
    meta = {"name": "odd", "namespace": NS, "uid": "odd", "resourceVersion": "1"}
    cache.put({"apiVersion": "flywheel.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": {}, "status": status})
    found = figures(cache)
    assert found.pop("flywheel_unreadable_objects")[labels(kind=kind)] == 1
    assert found == {name: family for name, family in before.items() if name != "flywheel_unreadable_objects"}


async def test_every_end_of_an_attempt_is_counted_once() -> None:
    world = World()
    ended: list[tuple[str, AttemptStatus]] = []
    made = subjects(world.kube, lambda settings: world.store, world.config, lambda: (world.now - START).total_seconds())
    world.reconcile = Reconciler(world.kube, made, lambda: world.now, lambda kind, one: ended.append((kind, one)))
    world.fail["SynthesizeReasoning"] = (Cause.VALIDATION, "InvalidInput")
    world.apply(ROUND)
    await world.run()
    assert [(kind, e.stage, e.cause) for kind, e in ended] == [
        ("FlywheelRound", "SynthesizeReasoning", Cause.VALIDATION)
    ]
    before = metrics.ATTEMPTS.labels("FlywheelRound", "SynthesizeReasoning", "Validation")._value.get()
    metrics.count(*ended[0])
    assert metrics.ATTEMPTS.labels("FlywheelRound", "SynthesizeReasoning", "Validation")._value.get() == before + 1


@pytest.mark.parametrize(
    ("kind", "stage"), [("RLJob", "Train"), ("RolloutPool", "Serve"), ("FlywheelRound", "SolveAgentic")]
)
def test_an_end_is_counted_under_what_was_done(kind: str, stage: str) -> None:
    ended = AttemptStatus(stage=stage if kind == "FlywheelRound" else None, attempt=1, cause=Cause.INFRA, reason="x")
    before = metrics.ATTEMPTS.labels(kind, stage, "Infra")._value.get()
    metrics.count(kind, ended)
    assert metrics.ATTEMPTS.labels(kind, stage, "Infra")._value.get() == before + 1
