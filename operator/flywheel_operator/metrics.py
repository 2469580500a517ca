"""Figures of the control plane for Prometheus; those of rounds and trainings are in `census`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.registry import Collector

from flywheel_api.common import AttemptStatus
from flywheel_api.resources import POOL
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
ATTEMPTS = Counter(
    "flywheel_attempts_ended", "Attempts that ended, by cause.", ["kind", "stage", "cause"], registry=REGISTRY
)
WRITES = Gauge("flywheel_api_writes", "Writes to the Kubernetes API since the start.", registry=REGISTRY)
READS = Gauge("flywheel_api_reads", "Reads from the Kubernetes API since the start.", registry=REGISTRY)
HITS = Gauge("flywheel_cache_reads", "Reads that memory answered since the start.", registry=REGISTRY)
OBJECTS = Gauge("flywheel_cache_objects", "Objects in memory.", registry=REGISTRY)
DEPTH = Gauge("flywheel_queue_depth", "Keys that are due or in work.", registry=REGISTRY)
AGE = Gauge("flywheel_queue_oldest_seconds", "Age of the oldest due key.", registry=REGISTRY)


def count(kind: str, ended: AttemptStatus) -> None:
    """An attempt has ended, and its end is written down. Only rounds have several stages."""
    stage = ended.stage or ("Serve" if kind == POOL.kind else "Train")
    ATTEMPTS.labels(kind, stage, ended.cause.value).inc()


def page(queue: WorkQueue, api: Kube, kube: CachedKube, census: Collector) -> str:
    """The text that Prometheus reads."""
    values = ((DEPTH, queue.depth()), (AGE, queue.oldest_age()), (WRITES, api.writes), (READS, api.reads))
    for gauge, value in (*values, (HITS, kube.hits), (OBJECTS, len(kube.cache))):
        gauge.set(value)
    found = CollectorRegistry()
    found.register(census)
    return (generate_latest(REGISTRY) + generate_latest(found)).decode()
