"""Tables of the benchmark of scale: a row a figure, a column a run, and whether a target is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Row = tuple[str, str, str]  # title, path into a result, format
ROWS: tuple[Row, ...] = (
    ("objects in the API server", "objects", "d"),
    ("running stages", "running_stages", "d"),
    ("ramp: all have a first status, s", "ramp.first_status_s", ".1f"),
    ("ramp: first status, objects/s", "ramp.first_status_per_s", ".1f"),
    ("ramp: all live, s", "ramp.all_live_s", ".1f"),
    ("ramp: live, objects/s", "ramp.live_per_s", ".1f"),
    ("ramp: live at its end", "ramp.live", "d"),
    ("ramp: API writes per object", "ramp.writes_per_object", ".1f"),
    ("ramp: API writes/s", "ramp.writes_per_s", ".1f"),
    ("ramp: CPU of the API server, s", "ramp.cpu_s_of.kube-apiserver", ".1f"),
    ("ramp: CPU of the load, s", "ramp.cpu_s_of.load", ".1f"),
    ("ramp: CPU of the operator, ms/object", "ramp.cpu_ms_per_object", ".1f"),
    ("rest: API reads/s", "rest.api_reads_per_s", ".2f"),
    ("rest: API reads per running stage and s", "rest.api_reads_per_running_stage_and_s", ".3f"),
    ("rest: S3 reads/s", "rest.s3_reads_per_s", ".2f"),
    ("rest: S3 reads per running stage and s", "rest.s3_reads_per_running_stage_and_s", ".3f"),
    ("rest: API writes", "rest.api_writes", "d"),
    ("rest: CPU of the operator, s/s", "rest.cpu_s_per_s.operator", ".3f"),
    ("rest: memory of the operator, MB", "rest.rss_mb", ".0f"),
    ("live: flips/s", "live.event_to_write.per_second", ".1f"),
    ("live: flips that were answered", "live.event_to_write.answered", "d"),
    ("live: event to write p50, s", "live.event_to_write.p50_s", ".3f"),
    ("live: event to write p99, s", "live.event_to_write.p99_s", ".3f"),
    ("live: API reads per running stage and s", "live.api_reads_per_running_stage_and_s", ".3f"),
    ("live: S3 reads per running stage and s", "live.s3_reads_per_running_stage_and_s", ".3f"),
    ("live: API writes/s", "live.api_writes_per_s", ".1f"),
    ("live: CPU of the operator, s/s", "live.cpu_s_per_s.operator", ".3f"),
    ("live: CPU of the API server, s/s", "live.cpu_s_per_s.kube-apiserver", ".3f"),
    ("live: memory of the operator, MB", "live.rss_mb", ".0f"),
    ("burst: answered", "burst.answered", "d"),
    ("burst: flips/s", "burst.per_second", ".1f"),
    ("burst: event to write p99, s", "burst.p99_s", ".3f"),
    ("restart: steady after, s", "restart.steady_s", ".1f"),
    ("restart: memory, MB", "restart.rss_mb", ".0f"),
)


def at(result: Mapping[str, Any], path: str) -> Any:
    """The value at `a.b.c`, None where it ends early."""
    found: Any = result
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def show(columns: Mapping[str, Mapping[str, Any]], rows: Sequence[Row] = ROWS) -> str:
    """The table as text; a dash where a run has no such figure."""
    width = max(len(title) for title, _, _ in rows)
    lines = [" " * width + "".join(f"{name:>19}" for name in columns)]
    for title, path, form in rows:
        cells = [at(result, path) for result in columns.values()]
        if any(cell is not None for cell in cells):
            lines.append(f"{title:<{width}}" + "".join(f"{_text(cell, form):>19}" for cell in cells))
    return "\n".join(lines)


def _text(value: Any, form: str) -> str:
    return "-" if value is None else format(value, form)


def show_targets(judged: Sequence[Mapping[str, Any]]) -> str:
    """A line a target."""
    return "\n".join(
        f"{'PASS' if t['met'] else 'FAIL'}  {t['what']}: {_text(t['measured'], '.3g')} (target {t['target']:.3g})"
        for t in judged
    )
