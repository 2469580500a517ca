"""Six failures as people meet them, over many attempts, through the real observation and the real plan.

What each costs is printed as a table (`pytest -s`): attempts, GPU-hours on two nodes of eight, the final sentence.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from flywheel_api.artifacts import Failure, Manifest, Owner, Progress
from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.results import TrainingResult
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_jobs.core.errors import HeadLost
from flywheel_jobs.trainer.failures import diagnose
from flywheel_operator.model import Act, Meta, Record, RLJobSeen, RunState, Timings
from flywheel_operator.observe.rayjobs import run_of
from flywheel_operator.plan.rljob import is_open, plan_rljob
from unit.operator.world import NS, START

Object = dict[str, Any]
LOOK = timedelta(minutes=10)
GPUS = 16
SPEC = RLJobSpec.model_validate(
    {
        "model": "sha256:" + "a" * 64,
        "data": {"train": ["sha256:" + "b" * 64]},
        "reward": {"type": "Math"},
        "nodes": 2,
        "gpusPerNode": 8,
        "retries": {"limit": 3},
        "wallClock": "60d",
    }
)


@dataclass
class Scene:
    """What is to be seen of an attempt: the RayJob's status, its pods, and what the store says."""

    rayjob: Object
    pods: list[Object] = field(default_factory=list)
    record: Record = field(default_factory=Record)
    holds_gpus: bool = True


Script = Callable[[int, float, datetime], Scene]
"""Attempt, hours since it was created, moment."""


@dataclass
class Life:
    """A whole RLJob: its status at the end, and what it cost."""

    status: RLJobStatus
    hours: float = 0.0
    gpu_hours: float = 0.0
    created: int = 0

    @property
    def reason(self) -> str:
        found = find_condition(self.status.conditions, ConditionType.READY)
        assert found is not None
        return found.reason


def play(script: Script, until: float = 24 * 60) -> Life:
    """Until the job ends, or so many hours are over."""
    life, now, born = Life(RLJobStatus()), START, START
    meta = Meta("train", NS, "uid-1", 1)
    while life.status.finished_at is None and life.hours < until:
        attempt, run, record = life.status.attempt, None, Record()
        scene: Scene | None = None
        if is_open(life.status):
            scene = script(attempt, (now - born) / timedelta(hours=1), now)
            job = {"kind": "RayJob", "metadata": {"name": f"train-a{attempt}", "uid": f"u{attempt}"}}
            run, record = run_of(job | {"status": scene.rayjob}, None, scene.pods), scene.record
        plan = plan_rljob(meta, SPEC, life.status, RLJobSeen(run=run, record=record), now, Timings())
        life.status = plan.status
        if any(a.act is Act.CREATE for a in plan.actions):
            born, life.created = now, life.created + 1
        now += LOOK
        life.hours += LOOK / timedelta(hours=1)
        if scene is not None and scene.holds_gpus and run is not None and run.state is not RunState.QUEUED:
            life.gpu_hours += GPUS * LOOK / timedelta(hours=1)
    return life


def pod(**status: Any) -> Object:
    return {"kind": "Pod", "metadata": {"name": "train-head", "uid": "p"}, "spec": {"nodeName": "n1"}, "status": status}


def progress(step: int, now: datetime) -> Progress:
    at = format_time(now)
    return Progress(step=step, checkpoint_step=step, checkpoint_digest="sha256:c", updated_at=at, heartbeat_at=at)


def at_work(now: datetime, step: int = 0) -> Scene:
    record = Record(progress=progress(step, now) if step else None, advanced_at=now)
    return Scene({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, [pod(phase="Running")], record)


def failed(pods: list[Object], now: datetime, record: Record, message: str = "", reason: str = "AppFailed") -> Scene:
    status = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": reason, "message": message}
    return Scene(status, pods, record)


def told(cause: Cause, reason: str, message: str, now: datetime) -> Record:
    return Record(failure=Failure(cause=cause, reason=reason, message=message, at=format_time(now)))


def head_killed_for_memory(attempt: int, hours: float, now: datetime) -> Scene:
    if hours < 2:
        return at_work(now)
    killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    head = pod(phase="Running", containerStatuses=[{"name": "ray-head", "state": {"running": {}}, "lastState": killed}])
    error = HeadLost("its Ray head was lost; the next attempt resumes")
    lost = told(error.cause, error.reason, str(error), now)
    return failed([head], now, lost, "entry point: exit code: 66")


def evicted_for_its_own_limit(attempt: int, hours: float, now: datetime) -> Scene:
    if hours < 3:
        return at_work(now)
    words = 'Usage of EmptyDir volume "shm" exceeds the limit "16Gi". '
    evicted = pod(phase="Failed", reason="Evicted", message=words)
    return failed([evicted], now, Record(), reason="JobStatusCheckTimeoutExceeded")


def init_loops(state: Object, message: str = "", code: int = 1, reason: str = "Error") -> Script:
    last = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    entry = {"name": "fetch-model", "image": "i", "restartCount": 4, "state": state, "lastState": last}

    def script(attempt: int, hours: float, now: datetime) -> Scene:
        return Scene({"jobDeploymentStatus": "Initializing"}, [pod(phase="Pending", initContainerStatuses=[entry])])

    return script


DAMAGED = Failure(cause=Cause.VALIDATION, reason="CorruptArtifact", message="blob 12 is damaged", at=format_time(START))
LOOPS = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
fetch_told = init_loops(LOOPS, json.dumps(DAMAGED.dump()), 64)
gpu_runtime_broken = init_loops(
    {"waiting": {"reason": "RunContainerError", "message": "nvml error: driver not loaded"}},
    "nvidia-container-cli: initialization error: nvml error: driver not loaded", 128, "StartError",
)  # fmt: skip


def suspended_by_kueue(attempt: int, hours: float, now: datetime) -> Scene:
    if now - START < timedelta(hours=29):
        return Scene({"jobDeploymentStatus": "Suspended"}, [], holds_gpus=False)
    return done(attempt, now)


def waits_for_a_node(words: str) -> Script:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words}

    def script(attempt: int, hours: float, now: datetime) -> Scene:
        if now - START < timedelta(hours=29):
            waiting = [pod(phase="Pending", conditions=[unscheduled])]
            return Scene({"jobDeploymentStatus": "Initializing"}, waiting, holds_gpus=False)
        return done(attempt, now)

    return script


def module_missing(attempt: int, hours: float, now: datetime) -> Scene:
    if hours < 0.2:
        return at_work(now)
    return failed([pod(phase="Running")], now, of_log(now, "ModuleNotFoundError: No module named 'my_rewards'"))


def unpickled(attempt: int, hours: float, now: datetime) -> Scene:
    if hours < 0.2:
        return at_work(now)
    line = "(TaskRunner pid=5) ray.exceptions.RaySystemError: System error: No module named 'transformers_modules'"
    return failed([pod(phase="Running")], now, of_log(now, line))


def of_log(now: datetime, *lines: str) -> Record:
    """What the driver tells of a log that ends so."""
    error = diagnose(1, list(lines))
    return told(error.cause, error.reason, str(error), now)


def spot(attempt: int, hours: float, now: datetime) -> Scene:
    """Ten steps in four hours, then the node is taken; the hundredth attempt reaches step 1,000."""
    if hours < 4:
        return at_work(now, max(10 * (attempt - 1), 1))
    if attempt == 100:
        return done(attempt, now)
    taken = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager", "message": "spot"}
    record = Record(progress=progress(10 * attempt, now), advanced_at=now)
    return failed([pod(phase="Failed", conditions=[taken])], now, record)


def done(attempt: int, now: datetime) -> Scene:
    owner = Owner(kind="RLJob", namespace=NS, name="train", uid="uid-1")
    result = TrainingResult(step=1000)
    key, at = "sha256:" + "c" * 64, format_time(now)
    manifest = Manifest(owner=owner, stage="Train", attempt=attempt, content_key=key, result=result, created_at=at)
    status = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
    return Scene(status, [], Record(digest=manifest.digest, manifest=manifest))


@dataclass(frozen=True)
class Row:
    """What must come of a script: how often it was tried, what it cost, how it ends and in which words.

    `before` is what the same cost when free retries were bounded by their count alone.
    """

    name: str
    script: Script
    before: float
    attempts: int
    gpu_hours: int
    ends: Reason
    cause: Cause
    why: str
    said: str
    failures: int = 0


TAINT = "0/9 nodes are available: 9 node(s) had untolerated taint {nvidia.com/gpu: true}."
NO_GPUS = "0/9 nodes are available: 9 Insufficient nvidia.com/gpu."
USED_UP, NO_USE, FAILED = Reason.RETRIES_EXHAUSTED, Reason.NO_PROGRESS, Reason.FAILED
DONE = (Reason.SUCCEEDED, Cause.SUCCEEDED, "Committed", "committed at step 1000")
APP, INFRA, VALIDATION = Cause.APP, Cause.INFRA, Cause.VALIDATION
ROWS = (
    Row("a: head killed for memory after 2 h", head_killed_for_memory, 1596, 4, 128, USED_UP, APP, "OOMKilled",
        "it was killed for memory: raise its memory limit (retries.limit 3 is used up)", 4),
    Row("b: evicted for its own limit", evicted_for_its_own_limit, 2396, 4, 192, USED_UP, APP, "StorageLimit",
        'volume "shm" exceeds the limit "16Gi".: raise shmSize, whose limit it is', 4),
    Row("c: a blob is damaged", fetch_told, 400, 1, 3, FAILED, VALIDATION, "CorruptArtifact",
        "blob 12 is damaged (Validation cannot be mended by another attempt)", 1),
    Row("c2: GPU runtime broken", gpu_runtime_broken, 400, 5, 53, NO_USE, INFRA, "StartupTimeout",
        "RunContainerError: nvml error: driver not loaded (5 attempts in a row that used up no retry brought"),
    Row("c2: suspended by Kueue for 29 h", suspended_by_kueue, 0, 1, 3, *DONE),
    Row("c2: taint not tolerated", waits_for_a_node(TAINT), 0, 4, 0, USED_UP, APP, "StartupTimeout",
        "had untolerated taint {nvidia.com/gpu: true}.; add tolerations", 4),
    Row("d: module missing", module_missing, 129, 1, 5, FAILED, VALIDATION, "ModuleMissing",
        "the image lacks a Python module: add it to the image, or correct the name; last: ModuleNotFoundError", 1),
    Row("d2: a module is missing behind Ray's own error", unpickled, 129, 1, 5, FAILED, VALIDATION, "ModuleMissing",
        "the image lacks a Python module", 1),
    Row("e: a healthy run on spot nodes", spot, 3196, 100, 6400, *DONE),
    Row("f: no free GPUs for 29 h", waits_for_a_node(NO_GPUS), 0, 35, 3, *DONE),
)  # fmt: skip
"""`before` is from the report that told of them: each ended at its 50th attempt, the healthy run among them."""


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_a_failure_costs_and_how_it_ends(row: Row) -> None:
    life = play(row.script)
    last = life.status.attempts[-1]
    spent = f"{life.status.attempt} | {life.status.failures} | {life.gpu_hours:,.0f} | {life.hours:.0f} h"
    print(f"| {row.name} | {row.before:,.0f} | {spent} | {life.reason}: {life.status.progress} |")
    assert (last.cause, life.reason, last.reason) == (row.cause, row.ends, row.why), life.status.progress
    assert (life.status.attempt, life.status.failures, round(life.gpu_hours)) == (
        row.attempts, row.failures, row.gpu_hours
    )  # fmt: skip
    assert row.said in (life.status.progress or "")
