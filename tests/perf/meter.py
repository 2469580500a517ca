"""What an operator asks and what it costs, over a stretch of time: API and S3 requests, CPU, memory."""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perf.rest import CUSTOM, Rest

_TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
READS, WRITES = ("GET", "LIST"), ("POST", "PUT", "PATCH", "APPLY", "DELETE")
# What an operator of rounds or Ray clusters has to do with. Leases, namespaces and the like are the API server's own.
RESOURCES = frozenset((*CUSTOM, "jobs", "pods", "services", "secrets", "events"))
S3_READS = ("Get", "Head", "List")
MINIO_METRICS = "/minio/metrics/v3/api/requests"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(text: str, *names: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of a page for Prometheus."""
    for line in text.splitlines():
        found = _SAMPLE.match(line) if line.startswith(names) else None
        if found and found.group(1) in names:
            yield found.group(1), dict(_LABEL.findall(found.group(2) or "")), float(found.group(3))


def total(text: str, name: str, /, **labels: str) -> float:
    """Sum of a metric over all series that have these labels."""
    return sum(v for _, found, v in scrape(text, name) if all(found.get(k) == x for k, x in labels.items()))


def page(url: str) -> str:
    """Text at an address on loopback; empty when nobody answers."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def servers() -> dict[str, int]:
    """Pids of etcd, API server and S3 server, which are children of this process."""
    wanted = {"etcd", "kube-apiserver", "minio"}
    found = {}
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name in wanted:
                found[name] = int(pid)
    return found


@dataclass
class Reading:
    """All counters at one moment."""

    at: float
    api: Counter[tuple[str, str]]
    s3: Counter[str]
    cpu: dict[str, float]


@dataclass
class Stretch:
    """What happened between two readings; the load's own requests are taken off."""

    seconds: float = 0.0
    api: Counter[str] = field(default_factory=Counter)
    by_resource: Counter[str] = field(default_factory=Counter)
    s3: Counter[str] = field(default_factory=Counter)
    cpu: dict[str, float] = field(default_factory=dict)
    rss: float = 0.0

    def rate(self, *verbs: str) -> float:
        """API requests per second."""
        return sum(self.api[v] for v in verbs) / self.seconds

    def s3_reads(self) -> float:
        """S3 reads per second; nobody but the operator reads."""
        return sum(v for name, v in self.s3.items() if name.startswith(S3_READS)) / self.seconds

    def result(self, running: int) -> dict[str, Any]:
        """For the JSON file; `running` is the number of running stages."""
        reads, s3 = self.rate(*READS), self.s3_reads()
        return {
            "seconds": round(self.seconds, 1),
            "api_per_s": {verb: round(n / self.seconds, 2) for verb, n in sorted(self.api.items()) if n},
            "api_reads_per_s": round(reads, 2),
            "api_writes": sum(self.api[v] for v in WRITES),
            "api_writes_per_s": round(self.rate(*WRITES), 2),
            "busiest": dict(self.by_resource.most_common(5)),
            "s3_reads_per_s": round(s3, 2),
            "api_reads_per_running_stage_and_s": round(reads / max(1, running), 4),
            "s3_reads_per_running_stage_and_s": round(s3 / max(1, running), 4),
            "cpu_s_per_s": {name: round(v / self.seconds, 3) for name, v in self.cpu.items()},
            "rss_mb": round(self.rss, 1),
        }


class Meter:
    """Reads the counters of one cluster and of the operator `pid`."""

    def __init__(self, rest: Rest, s3_url: str, pid: int) -> None:
        self.rest, self.s3_url, self.pid = rest, s3_url, pid

    async def reading(self) -> Reading:
        """All counters now."""
        api: Counter[tuple[str, str]] = Counter()
        for _, labels, value in scrape(await self.rest.page("/metrics"), "apiserver_request_total"):
            if labels.get("resource") in RESOURCES and labels["verb"] in (*READS, *WRITES):
                api[labels["verb"], labels["resource"]] += int(value)
        api.subtract(self.rest.asked)
        s3: Counter[str] = Counter()
        if self.s3_url:
            for _, labels, value in scrape(page(self.s3_url + MINIO_METRICS), "minio_api_requests_total"):
                s3[labels["name"]] += int(value)
        cpu = {"operator": cpu_seconds(self.pid), "load": sum(os.times()[:2])}
        cpu |= {name: cpu_seconds(pid) for name, pid in servers().items()}
        return Reading(time.monotonic(), api, s3, cpu)

    async def since(self, before: Reading) -> Stretch:
        """What happened since a reading."""
        now = await self.reading()
        found = Stretch(now.at - before.at, rss=rss_mb(self.pid))
        for (verb, resource), count in now.api.items():
            # a request of the load that is under way may be taken off before the API server counts it
            if (change := count - before.api[verb, resource]) > 0:
                found.api[verb] += change
                found.by_resource[f"{verb} {resource}"] += change
        found.s3 = now.s3 - before.s3
        found.cpu = {name: now.cpu[name] - before.cpu.get(name, 0.0) for name in now.cpu}
        return found


@contextmanager
def public_s3_metrics() -> Iterator[None]:
    """MinIO servers started in this block show their counters without a token."""
    name = "MINIO_PROMETHEUS_AUTH_TYPE"
    old = os.environ.get(name)
    os.environ[name] = "public"
    try:
        yield
    finally:
        os.environ.pop(name)
        if old is not None:
            os.environ[name] = old
