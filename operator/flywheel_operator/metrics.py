"""Figures of the control plane for Prometheus: few, bounded in their labels, and none per object."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from flywheel_operator.ports.cache import CachedKube
from flywheel_operator.ports.kube import Kube
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
READS = Gauge("flywheel_api_reads", "Reads from the Kubernetes API since the start.", registry=REGISTRY)
HITS = Gauge("flywheel_cache_reads", "Reads that memory answered since the start.", registry=REGISTRY)
OBJECTS = Gauge("flywheel_cache_objects", "Objects in memory.", registry=REGISTRY)
DEPTH = Gauge("flywheel_queue_depth", "Keys that are due or in work.", registry=REGISTRY)
AGE = Gauge("flywheel_queue_oldest_seconds", "Age of the oldest due key.", registry=REGISTRY)


def page(queue: WorkQueue, api: Kube, kube: CachedKube) -> str:
    """The text that Prometheus reads."""
    values = ((DEPTH, queue.depth()), (AGE, queue.oldest_age()), (WRITES, api.writes), (READS, api.reads))
    for gauge, value in (*values, (HITS, kube.hits), (OBJECTS, len(kube.cache))):
        gauge.set(value)
    return generate_latest(REGISTRY).decode()
