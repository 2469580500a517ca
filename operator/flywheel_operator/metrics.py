"""Figures of the control plane for Prometheus: few, bounded in their labels, and none per object."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flywheel_operator.queue import WorkQueue

REGISTRY = CollectorRegistry()
RECONCILES = Counter("flywheel_reconciles", "Reconciles by kind and outcome.", ["kind", "outcome"], registry=REGISTRY)
SECONDS = Histogram(
    "flywheel_reconcile_seconds",
    "Duration of a reconcile.",
    ["kind"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
WRITES = Gauge("flywheel_api_writes", "Writes to the Kubernetes API since the start.", registry=REGISTRY)
DEPTH = Gauge("flywheel_queue_depth", "Keys that are due or in work.", registry=REGISTRY)
AGE = Gauge("flywheel_queue_oldest_seconds", "Age of the oldest due key.", registry=REGISTRY)


def page(queue: WorkQueue, writes: int) -> str:
    """The text that Prometheus reads."""
    DEPTH.set(queue.depth())
    AGE.set(queue.oldest_age())
    WRITES.set(writes)
    return generate_latest(REGISTRY).decode()
