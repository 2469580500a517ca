"""A training of 2 nodes of 8 GPUs that fails the same way in every attempt, through the real observers and planner.

Each of these was retried free 50 times once: up to 2,396 GPU-hours for one wrong number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flywheel_api.artifacts import Failure
from flywheel_api.base import format_time
from flywheel_api.causes import FlywheelError
from flywheel_api.rljob import RLJobSpec, RLJobStatus
from flywheel_jobs.core.errors import HeadLost
from flywheel_jobs.trainer.failures import diagnose
from flywheel_operator.model import Meta, Record, RLJobSeen, Timings
from flywheel_operator.observe import rayjobs
from flywheel_operator.plan.rljob import is_open, plan_rljob
from unit.causes.test_signatures import pod, rayjob

META = Meta("train", "team", "uid-1", 1)
SPEC = RLJobSpec.model_validate(
    {
        "model": "sha256:" + "a" * 64,
        "data": {"train": ["sha256:" + "b" * 64]},
        "reward": {"type": "Math"},
        "gpusPerNode": 8,
        "nodes": 2,
    }
)
KILLED = {"ray-head": {"last": {"exitCode": 137, "reason": "OOMKilled"}, "running": True}}
EVICTED = {"reason": "Evicted", "message": 'Usage of EmptyDir volume "shm" exceeds the limit "64Gi". '}
LOOPS = {"fetch-model": {"waiting": "CrashLoopBackOff", "last": {"exitCode": 64, "told": "Validation"}}}
BROKEN = {"ray-head": {"waiting": "RunContainerError", "message": "nvidia-container-cli: device error: unknown device"}}
TAINTED = {"unschedulable": "0/3 nodes are available: 3 node(s) had untolerated taint {nvidia.com/gpu: present}."}
UNPICKLED = "(TaskRunner pid=5) ray.exceptions.RaySystemError: System error: No module named 'transformers_modules'"
Case = dict[str, Any]


@dataclass(frozen=True)
class Story:
    """What every attempt does: it runs for so long, then looks like this. Without `end` it never runs."""

    hours: float = 0
    end: Case = field(default_factory=dict)
    pods: tuple[Case, ...] = ()
    told: Callable[[], FlywheelError] | None = None


@dataclass(frozen=True)
class Outcome:
    attempts: int
    hours: float
    gpu_hours: float
    said: str


def simulate(story: Story) -> Outcome:
    start = now = datetime(2026, 11, 23, tzinfo=UTC)
    status = RLJobStatus()
    while status.finished_at is None and now - start < timedelta(days=30):
        seen = RLJobSeen()
        if is_open(status):
            into = (now - datetime.fromisoformat(str(status.attempt_started_at))).total_seconds() / 3600
            seen = at(story, into, now)
        plan = plan_rljob(META, SPEC, status, seen, now, Timings())
        status = plan.status
        now += timedelta(minutes=1)
    spent = float(status.gpu_seconds or 0) / 3600
    return Outcome(status.attempt, (now - start).total_seconds() / 3600, spent, status.progress or "")


def at(story: Story, hours: float, now: datetime) -> RLJobSeen:
    pods = [pod(p) for p in story.pods]
    if not story.end:
        return RLJobSeen(run=rayjobs.run_of(rayjob("Initializing"), None, pods))
    if hours < story.hours:
        return RLJobSeen(run=rayjobs.run_of(rayjob("Running", "RUNNING"), None, []), record=Record(advanced_at=now))
    record = Record()
    if story.told is not None:
        error = story.told()
        failure = Failure(cause=error.cause, reason=error.reason, message=str(error), at=format_time(now))
        record = Record(failure=failure)
    return RLJobSeen(run=rayjobs.run_of(rayjob(**story.end), None, pods), record=record)


def failed(code: int) -> Case:
    message = f"Job entrypoint command failed with exit code {code}"
    return {"deployment": "Failed", "job": "FAILED", "reason": "AppFailed", "message": message}


@pytest.mark.parametrize(
    ("story", "attempts", "gpu_hours", "said"),
    [
        pytest.param(
            Story(2, failed(66), (KILLED,), lambda: HeadLost("its Ray head was lost")),
            *(4, 128, "App/OOMKilled"),
            id="a: head killed for memory after 2 h",
        ),
        pytest.param(Story(3, failed(1), (EVICTED,)), 4, 192, "App/StorageLimit", id="b: evicted for its own disk"),
        pytest.param(Story(pods=(LOOPS,)), 1, 0, "Validation/Told", id="c: the model's fetch cannot succeed"),
        pytest.param(Story(pods=(BROKEN,)), 5, 0, "nvidia-container-cli", id="c2: GPU runtime of the nodes is broken"),
        pytest.param(Story(pods=(TAINTED,)), 4, 0, "tolerations", id="c3: nobody tolerates the taint"),
        pytest.param(
            Story(1 / 6, failed(64), (), lambda: diagnose(1, [UNPICKLED])),
            *(1, 3, "Validation/ModuleMissing"),
            id="d: a module is missing",
        ),
    ],
)
def test_what_the_same_settings_repeat_ends_soon(story: Story, attempts: int, gpu_hours: float, said: str) -> None:
    outcome = simulate(story)
    assert outcome.attempts == attempts
    assert outcome.gpu_hours <= gpu_hours * 1.05 + 1, outcome
    assert outcome.hours < 15, outcome
    assert said in outcome.said, outcome
