"""Benchmark: the operator in a running cluster (`make demo` leaves one): memory, writes at rest, time to a write."""

from __future__ import annotations

import queue
import time

import pytest

from cluster.kube import Kubectl
from demo.arrivals import Arrival, watching
from demo.settings import NAMESPACE
from perf import live
from perf.machine import middle, record

ROUNDS = 15
REST_S = 60


@pytest.fixture(scope="module")
def kube() -> Kubectl:
    found = live.connect()
    if found is None:
        pytest.skip("no local cluster with Flywheel is running: `make demo` leaves one")
    return found


@pytest.mark.timeout(180)
def test_rest(kube: Kubectl) -> None:
    rounds = kube.list("flywheelrounds", NAMESPACE)
    before = live.metric(kube, "flywheel_api_writes")
    time.sleep(REST_S)
    writes = live.metric(kube, "flywheel_api_writes") - before
    record(
        "operator_rest",
        {
            "what": "the operator's memory, and its writes to the Kubernetes API in a minute",
            "rounds": {r["metadata"]["name"]: r.get("status", {}).get("verdict") or "running" for r in rounds},
            "memory_mb": live.memory_mb(live.OPERATOR),
            "target_memory_mb": 150,
            "seconds": REST_S,
            "writes": writes,
            "target_writes_when_nothing_changes": 0,
        },
    )


@pytest.mark.timeout(180)
def test_event_to_write(kube: Kubectl) -> None:
    """From a round's creation, as a watch shows it, to the operator's first write of its status."""
    waits = []
    with watching(kube, "FlywheelRound") as arrivals:
        for number in range(ROUNDS):
            name = f"perf-{number}"
            kube.apply([_blocked(name)])
            waits.append(_first_write(arrivals, name))
            kube.delete("flywheelround", name, NAMESPACE)
    record(
        "event_to_write",
        {
            "what": "seconds from a new round (a watch's event) to the operator's first write of its status",
            "rounds": ROUNDS,
            "p50_s": round(middle(waits), 3),
            "max_s": round(max(waits), 3),
            "target_p50_s": 0.5,
        },
    )


def _first_write(arrivals: queue.Queue[Arrival], name: str) -> float:
    added = 0.0
    while True:
        at, _, change, found = arrivals.get(timeout=60)
        if found["metadata"]["name"] != name:
            continue
        if change == "ADDED":
            added = at
        if change == "MODIFIED" and found.get("status", {}).get("conditions"):
            return at - added


def _blocked(name: str) -> dict[str, object]:
    """A round that stops in Preflight: its base round does not exist."""
    return {
        "apiVersion": "flywheel.dev/v1alpha1",
        "kind": "FlywheelRound",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "campaign": "perf",
            "base": {"round": "does-not-exist"},
            "endpoints": [{"role": "Teacher", "url": "http://standin:8000/v1", "model": "standin"}],
            "reasoning": {"seeds": "builtin://numeracy"},
            "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
        },
    }
