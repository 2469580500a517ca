"""Gap between a stage's manifest and the next child: run beside a round, `python -m perf.gap [seconds]`.

The manifest's time is the S3 server's, the child's is when a watch showed it: both clocks are this machine's. A child
is paired with the last manifest among those its stage waits for; children that waited for something else too (a pool
that had to come up or go away) are left out.
"""

from __future__ import annotations

import queue
import sys
import time
from typing import Any

from minio import Minio

from demo.arrivals import watching
from demo.progress import verdict
from flywheel_api.artifacts import manifest_key
from flywheel_api.names import LABEL_STAGE, kebab
from flywheel_api.stages import PIPELINE, Runs, StageDef
from flywheel_jobs.storage.store import Store
from perf import live
from perf.machine import middle, record

Object = dict[str, Any]
GRACE_S = 15.0
STAGE_OF = {kebab(d.stage.value): d.stage.value for d in PIPELINE}  # as labels and keys have it


def committed(store: Store, round_: Object) -> dict[str, float]:
    """Unix time of the commit of each stage that the round made itself, by the clock of the S3 server."""
    namespace, times = round_["metadata"]["namespace"], dict[str, float]()
    at = store.settings
    client = Minio(at.endpoint, at.access_key, at.secret_key, secure=at.secure, region=at.region or None)
    for stage in round_["status"]["stages"]:
        if stage.get("manifest") and "reusedFrom" not in stage:
            key = store.settings.full_key(manifest_key(namespace, stage["contentKey"]))
            times[stage["name"]] = client.stat_object(store.settings.bucket, key).last_modified.timestamp()
    return times


def only_manifests(stage: StageDef) -> bool:
    """Whether a child waits for manifests alone: no pool it needs, none that must be gone, nothing of the operator."""
    runs = {d.stage: d.runs for d in PIPELINE}
    return stage.pool is None and stage.runs is Runs.JOB and all(runs[s] is not Runs.OPERATOR for s in stage.after)


def gaps(children: dict[str, float], times: dict[str, float]) -> dict[str, float]:
    """Seconds from the last awaited manifest to the child, by stage."""
    found: dict[str, float] = {}
    for stage in PIPELINE:
        awaited = [times[s.value] for s in stage.after if s.value in times]
        if stage.stage.value in children and awaited and only_manifests(stage):
            found[stage.stage.value] = round(children[stage.stage.value] - max(awaited), 3)
    return found


def follow(seconds: float) -> None:
    """Watches until the round is over (or `seconds` have passed), then reads the store and records the gaps."""
    kube = live.connect()
    if kube is None:
        sys.exit("no cluster with Flywheel is running: start one with `make demo`")
    children: dict[str, float] = {}
    last: Object = {}
    deadline = time.monotonic() + seconds
    began = time.time()
    with watching(kube, "FlywheelRound", "Job", "RLJob") as arrivals:
        while time.monotonic() < deadline:
            try:
                at, kind, change, found = arrivals.get(timeout=1)
            except queue.Empty:
                continue
            stage = STAGE_OF.get(found["metadata"].get("labels", {}).get(LABEL_STAGE, ""), "")
            if kind == "FlywheelRound":
                last = found
                if change == "MODIFIED" and verdict(found) and at - began > GRACE_S:
                    break
            elif change == "ADDED" and at - began > 1 and stage:
                children.setdefault(stage, at)
    found_gaps = gaps(children, committed(live.store(kube), last))
    values = sorted(found_gaps.values())
    record(
        "manifest_to_child",
        {
            "what": "seconds from a stage's manifest to the next child, for children that wait for manifests only",
            "gaps": found_gaps,
            "p50_s": middle(values) if values else None,
            "max_s": values[-1] if values else None,
            "target_p99_s": 2.0,
        },
    )


if __name__ == "__main__":
    follow(float(sys.argv[1]) if len(sys.argv) > 1 else 3600)
