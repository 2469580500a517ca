"""The end of a demo: the table of stages, the scores, the verdict, and result.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.kube import Kubectl, condition
from demo.progress import clock, seconds_between, verdict

Json = Mapping[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell; those after the second are right-aligned but the last."""
    widths = [max(len(str(r[i])) for r in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [
            str(cell).rjust(width) if 2 <= i < len(head) - 1 else str(cell).ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def stage_table(status: Json) -> list[str]:
    """Stages with seconds and counts."""
    rows = []
    for stage in status.get("stages") or []:
        counts = stage.get("counts") or {}
        dropped = ", ".join(f"{d['count']} {d['reason']}" for d in stage.get("dropped") or [])
        took = seconds_between(stage.get("startedAt"), stage.get("finishedAt"), datetime.now(UTC))
        rows.append(
            [
                stage["name"],
                stage.get("state", ""),
                clock(took),
                str(stage.get("attempt") or "-"),
                counts.get("in", "-"),
                counts.get("out", "-"),
                dropped or "-",
            ]
        )
    return table(("STAGE", "STATE", "TIME", "ATTEMPT", "IN", "OUT", "DROPPED"), rows)


def _span(interval: Sequence[str] | None) -> str:
    return f" [{float(interval[0]):.3f}, {float(interval[1]):.3f}]" if interval else ""


def _value(score: str | None, interval: Sequence[str] | None) -> str:
    return f"{float(score):.3f}{_span(interval)}" if score is not None else "-"


def score_table(status: Json) -> list[str]:
    """Base and candidate of each suite with their intervals, the gain and the gate."""
    rows = [
        [
            s["suite"],
            _value(s.get("base"), s.get("baseInterval")),
            _value(s.get("candidate"), s.get("candidateInterval")),
            _value(s.get("gain"), s.get("gainInterval")),
            s.get("gate") or "-",
        ]
        for s in status.get("scores") or []
    ]
    return table(("SUITE", "BASE", "CANDIDATE", "GAIN", "GATE"), rows) if rows else ["no suite was scored"]


def result(resource: Json, facts: Json) -> dict[str, Any]:
    """What result.json holds; `facts` are those that only the demo knows."""
    status = resource.get("status", {})
    model = status.get("model") or {}
    now = datetime.now(UTC)
    stages = {
        s["name"]: round(took, 1)
        for s in status.get("stages") or []
        if (took := seconds_between(s.get("startedAt"), s.get("finishedAt"), now)) is not None
    }
    return {
        "round": f"{resource['metadata']['namespace']}/{resource['metadata']['name']}",
        "uid": resource["metadata"]["uid"],
        "verdict": verdict(resource),
        "standin": bool(status.get("standin")),
        "model": {"digest": model.get("digest"), "address": model.get("uri")},
        "candidate": _candidate(status),
        "scores": status.get("scores") or [],
        "stages": stages,
        "round_seconds": seconds_between(status.get("startedAt"), status.get("finishedAt"), now),
        "usage": status.get("usage") or {},
        "report_address": status.get("report"),
        **facts,
    }


def _candidate(status: Json) -> str | None:
    """Digest of the trained model, promoted or not."""
    trained = {s["name"]: s.get("manifest") for s in status.get("stages") or []}
    return trained.get("TrainAgentic") or trained.get("TrainReasoning")


def show(resource: Json, kube: Kubectl, namespace: str, report: Path | None) -> None:
    """Prints the end of the demo."""
    status = resource.get("status", {})
    took = clock(seconds_between(status.get("startedAt"), status.get("finishedAt"), datetime.now(UTC)))
    print()
    print("\n".join(stage_table(status)))
    print()
    print("\n".join(score_table(status)))
    print()
    said = condition(resource, "Promoted").get("message") or condition(resource, "Ready").get("message") or ""
    print(f"Verdict after {took}: {verdict(resource)}. {said}".rstrip())
    if status.get("standin"):
        print("A scripted stand-in played the teacher; scores are not comparable to the paper.")
    model = status.get("model") or {}
    if model:
        print(f"Model     {model.get('uri')}")
        print(f"          {model.get('digest')}")
    elif _candidate(status):
        print(f"Candidate {_candidate(status)} (not promoted)")
    if report:
        print(f"Report    {report}")
    elif status.get("report"):
        print(f"Report    {status['report']}")
    print(f"Look      {kube.line} -n {namespace} get fwr,rlp,rlj")


def write(path: Path, content: Json) -> None:
    """Writes JSON whole or not at all."""
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(content, indent=2, sort_keys=False) + "\n")
    partial.replace(path)
