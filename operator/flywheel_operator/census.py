"""What is under way, as figures that a person can be woken by: read at every scrape from the objects in memory.

Objects that have ended are counted and not named, so that figures by name are no more than what runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flywheel_api.base import parse_duration, parse_time
from flywheel_api.names import LABEL_OWNER_UID, LABEL_STAGE, kebab
from flywheel_operator.plan import graph
from flywheel_operator.ports.cache import ReadCache
from flywheel_operator.ports.kinds import POOLS, RLJOBS, ROUNDS, Object, labels_of

_NAMED = ["namespace", "name"]


class Census(Collector):
    """A collector of prometheus_client. It remembers since when an object's status has said what it says."""

    def __init__(self, cache: ReadCache, clock: Callable[[], float] = time.time) -> None:
        self._cache, self._clock = cache, clock
        self._since: dict[str, tuple[str, float]] = {}

    def collect(self) -> Iterator[Metric]:
        """All figures."""
        rounds, pools, jobs = (self._cache.list(kind, None) for kind in (ROUNDS, POOLS, RLJOBS))
        yield _counted([*rounds, *pools, *jobs])
        live = [o for o in rounds if not _status(o).get("finishedAt")]
        yield self._ages([*live, *(o for o in jobs if not _status(o).get("finishedAt"))])
        yield _budgets(live, self._clock())
        yield _tokens(live)
        yield _gpu_seconds(live)
        yield _gpus(rounds, pools, jobs)

    def _ages(self, objects: list[Object]) -> Metric:
        """Seconds since an object last got further, as far as this operator has seen; a restart begins at 0."""
        family = GaugeMetricFamily(
            "flywheel_progress_age_seconds", "Seconds since it last got further.", labels=["kind", *_NAMED]
        )
        now, seen = self._clock(), {}
        for obj in objects:
            uid, said = obj["metadata"]["uid"], _further(_status(obj))
            before = self._since.get(uid)
            seen[uid] = before if before is not None and before[0] == said else (said, now)
            family.add_metric([obj["kind"], *_name(obj)], now - seen[uid][1])
        self._since = seen
        return family


def _counted(objects: Iterable[Object]) -> Metric:
    """Objects by where they are, a stage or a phase, Done or Failed afterwards, and by what is said of them."""
    family = GaugeMetricFamily(
        "flywheel_objects",
        "Rounds, pools and RLJobs by stage or phase, reason of Ready, and whether a person must act.",
        labels=["kind", "stage", "reason", "stalled"],
    )
    found = Counter(_place(obj) for obj in objects)
    for labels, count in sorted(found.items()):
        family.add_metric(list(labels), count)
    return family


def _place(obj: Object) -> tuple[str, str, str, str]:
    status = _status(obj)
    said = {c["type"]: c for c in status.get("conditions") or []}
    stalled = said.get("Stalled", {}).get("status") == "True"
    stage = status.get("stage") or status.get("phase") or ""
    if status.get("finishedAt"):
        stage = "Failed" if "Failed" in (status.get("verdict"), status.get("phase")) else "Done"
    return obj["kind"], stage, said.get("Ready", {}).get("reason", ""), str(stalled).lower()


def _budgets(rounds: Iterable[Object], now: float) -> Metric:
    """Used shares of a round's limits; above 1 it ends."""
    family = GaugeMetricFamily(
        "flywheel_round_budget_used_ratio", "Used share of a budget of a running round.", labels=[*_NAMED, "budget"]
    )
    for obj in rounds:
        status, limits = _status(obj), (obj.get("spec") or {}).get("budget") or {}
        usage = status.get("usage") or {}
        used = {t["role"]: float(t["tokens"]) for t in usage.get("tokens") or []}
        if limits.get("gpuHours") and float(limits["gpuHours"]):
            share = float(usage.get("gpuHours") or 0) / float(limits["gpuHours"])
            family.add_metric([*_name(obj), "gpuHours"], share)
        if limits.get("wallClock") and status.get("startedAt"):
            took = now - parse_time(status["startedAt"]).timestamp()
            family.add_metric([*_name(obj), "wallClock"], took / parse_duration(limits["wallClock"]).total_seconds())
        for token in limits.get("tokens") or []:
            if float(token["limit"]):
                share = used.get(token["role"], 0.0) / float(token["limit"])
                family.add_metric([*_name(obj), f"tokens:{token['role']}"], share)
    return family


def _tokens(rounds: Iterable[Object]) -> Metric:
    family = GaugeMetricFamily("flywheel_round_tokens", "Tokens of a running round, by role.", labels=[*_NAMED, "role"])
    for obj in rounds:
        for entry in (_status(obj).get("usage") or {}).get("tokens") or []:
            family.add_metric([*_name(obj), entry["role"]], float(entry["tokens"]))
    return family


def _gpu_seconds(rounds: Iterable[Object]) -> Metric:
    family = GaugeMetricFamily("flywheel_round_gpu_seconds", "GPU-seconds of a running round.", labels=_NAMED)
    for obj in rounds:
        hours = float((_status(obj).get("usage") or {}).get("gpuHours") or 0)
        family.add_metric(_name(obj), hours * 3600)
    return family


def _gpus(rounds: Iterable[Object], pools: Iterable[Object], jobs: Iterable[Object]) -> Metric:
    """GPUs that pods hold, and those of them that do what they are held for.

    That is: a training's program runs, a stage asks the pool. Of a pool without a round nobody here knows who asks it:
    it counts as asked while it serves.
    """
    at_work = {o["metadata"]["uid"]: _running(o) for o in rounds}
    held, busy = Counter[str](), Counter[str]()
    for pool in pools:
        gpus, labels = int(_status(pool).get("heldGpus") or 0), labels_of(pool)
        held["RolloutPool"] += gpus
        if _status(pool).get("phase") == "Running" and _asked(labels, at_work):
            busy["RolloutPool"] += gpus
    for job in jobs:
        status = _status(job)
        gpus = int(status.get("heldGpus") or 0)
        held["RLJob"] += gpus
        busy["RLJob"] += gpus if status.get("phase") == "Running" else 0
    family = GaugeMetricFamily(
        "flywheel_gpus", "GPUs that pods hold, and how many of them are at work.", labels=["kind", "state"]
    )
    for kind in ("RolloutPool", "RLJob"):
        family.add_metric([kind, "held"], held[kind])
        family.add_metric([kind, "busy"], busy[kind])
    return family


def _asked(labels: dict[str, str], at_work: dict[str, set[str]]) -> bool:
    owner = labels.get(LABEL_OWNER_UID, "")
    if owner not in at_work:
        return True
    serving = next((p for p in graph.POOLS if kebab(p) == labels.get(LABEL_STAGE)), None)
    return serving is not None and bool(at_work[owner] & {user.value for user in graph.users_of(serving)})


def _running(obj: Object) -> set[str]:
    return {s["name"] for s in _status(obj).get("stages") or [] if s.get("state") == "Running"}


def _further(status: Object) -> str:
    """What changes when an object gets further, and not by time alone."""
    stages = [(s.get("name"), s.get("state"), s.get("attempt"), s.get("progress")) for s in status.get("stages") or []]
    return repr((stages, status.get("step"), status.get("checkpoint"), status.get("attempt"), status.get("phase")))


def _status(obj: Object) -> Object:
    return obj.get("status") or {}


def _name(obj: Object) -> list[str]:
    return [obj["metadata"]["namespace"], obj["metadata"]["name"]]
