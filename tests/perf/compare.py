"""Verdicts on the runs of the benchmark of scale: targets, linearity, and our operator beside KubeRay's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perf.table import at

Result = Mapping[str, Any]


def judge(what: str, measured: float | None, target: float, more: bool = False) -> dict[str, Any]:
    """A target with its verdict; `more` says that more is better. What was not measured is not met."""
    met = measured is not None and (measured >= target if more else measured <= target)
    return {"what": what, "measured": measured, "target": target, "met": met}


def of_issue(found: Result, count: int) -> list[dict[str, Any]]:
    """The targets of one run of ours."""
    memory = max(at(found, "live.rss_mb"), at(found, "restart.rss_mb"))
    return [
        judge("API reads per running stage and second", at(found, "rest.api_reads_per_running_stage_and_s"), 0.2),
        judge("S3 reads per running stage and second", at(found, "rest.s3_reads_per_running_stage_and_s"), 0.5),
        judge("API reads of the same, children changing", at(found, "live.api_reads_per_running_stage_and_s"), 0.2),
        judge("S3 reads of the same, children changing", at(found, "live.s3_reads_per_running_stage_and_s"), 0.5),
        judge("API writes at rest", at(found, "rest.api_writes"), 0),
        judge("memory of the operator, MB", memory, 300),
        judge("restart to steady, s", at(found, "restart.steady_s"), 30),
        judge("rounds that became live", at(found, "ramp.live"), count, more=True),
    ]


_COSTS = {
    "CPU at rest": "rest.cpu_s_per_s.operator",
    "CPU while live": "live.cpu_s_per_s.operator",
    "API reads at rest": "rest.api_reads_per_s",
    "S3 reads at rest": "rest.s3_reads_per_s",
    "CPU of the ramp": "ramp.cpu_ms_per_object",
    "restart": "restart.steady_s",
}
_PER_OBJECT = frozenset({"CPU of the ramp"})


def linearity(small: Result, large: Result) -> dict[str, float | None]:
    """Cost of a round among many over its cost among few: 1 is linear, less is better than that."""
    ratios: dict[str, float | None] = {}
    for name, path in _COSTS.items():
        few, many = at(small, path), at(large, path)
        scale = 1.0 if name in _PER_OBJECT else small["count"] / large["count"]
        ratios[name] = round(many / few * scale, 2) if few and many is not None else None
    grown = at(large, "live.rss_mb") - at(small, "live.rss_mb")
    ratios["memory, KB per round"] = round(1000 * grown / (large["count"] - small["count"]), 1)
    return ratios


def against(ours: Result, theirs: Result, part: str = "") -> list[dict[str, Any]]:
    """The same measures for both, or those of one part; KubeRay's figure is the target."""
    measures = {
        "first status, objects/s": "ramp.first_status_per_s",
        "live, objects/s": "ramp.live_per_s",
        "API writes of the ramp per second": "ramp.writes_per_s",
        "flips of a burst, objects/s": "burst.per_second",
    }
    return [
        judge(f"{name} (target: KubeRay's)", at(ours, path), at(theirs, path) or 0.0, more=True)
        for name, path in measures.items()
        if path.startswith(part)
    ]
