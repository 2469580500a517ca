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

from flywheel_api import signs
from flywheel_api.artifacts import Failure, Manifest, Owner, Progress
from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.results import TrainingResult
from flywheel_api.rljob import RLJobSpec, RLJobStatus
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
    lost = told(Cause.INFRA, "HeadLost", "its Ray head was lost; the next attempt resumes", now)
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
    read = signs.read(1, [
        "ray.exceptions.RaySystemError: System error: No module named 'my_rewards'",
        "ModuleNotFoundError: No module named 'my_rewards'",
    ])  # fmt: skip
    return failed([pod(phase="Running")], now, told(read.cause, read.reason, read.text, now))


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
    """What must come of a script: how often it was tried, what it may cost, how it ends."""

    name: str
    script: Script
    attempts: int
    gpu_hours: float
    ends: Reason
    cause: Cause
    why: str
    failures: int = 0


TAINT = "0/9 nodes are available: 9 node(s) had untolerated taint {nvidia.com/gpu: true}."
NO_GPUS = "0/9 nodes are available: 9 Insufficient nvidia.com/gpu."
USED_UP, DONE = Reason.RETRIES_EXHAUSTED, (Reason.SUCCEEDED, Cause.SUCCEEDED, "Committed")
ROWS = (
    Row("a: head killed for memory after 2 h", head_killed_for_memory, 4, 150, USED_UP, Cause.APP, "OOMKilled", 4),
    Row("b: evicted for its own limit", evicted_for_its_own_limit, 4, 210, USED_UP, Cause.APP, "StorageLimit", 4),
    Row("c: a blob is damaged", fetch_told, 1, 4, Reason.FAILED, Cause.VALIDATION, "CorruptArtifact", 1),
    Row("c2: GPU runtime broken", gpu_runtime_broken, 5, 60, Reason.NO_PROGRESS, Cause.INFRA, "StartupTimeout"),
    Row("c2: suspended by Kueue for 29 h", suspended_by_kueue, 1, 4, *DONE),
    Row("c2: taint not tolerated", waits_for_a_node(TAINT), 4, 0, USED_UP, Cause.APP, "StartupTimeout", 4),
    Row("d: module missing", module_missing, 1, 8, Reason.FAILED, Cause.VALIDATION, "ModuleMissing", 1),
    Row("e: a healthy run on spot nodes", spot, 100, 6500, *DONE),
    Row("f: no free GPUs for 29 h", waits_for_a_node(NO_GPUS), 48, 4, *DONE),
)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_a_failure_costs_and_how_it_ends(row: Row) -> None:
    life = play(row.script)
    last = life.status.attempts[-1]
    spent = f"{life.status.attempt} | {life.status.failures} | {life.gpu_hours:,.0f} | {life.hours:.0f} h"
    print(f"| {row.name} | {spent} | {life.reason}: {life.status.progress} |")
    assert (last.cause, life.reason) == (row.cause, row.ends), life.status.progress
    assert row.why in last.reason
    assert life.status.attempt <= row.attempts and life.status.failures == row.failures
    assert life.gpu_hours <= row.gpu_hours
