"""Cause classes of ended verl runs, from lines as Ray and verl write them."""

from __future__ import annotations

import pytest

from flywheel_api.causes import Cause
from flywheel_api.signs import TAIL_CHARACTERS
from flywheel_jobs.trainer.failures import diagnose, excerpt


@pytest.mark.parametrize(
    ("line", "cause", "reason"),
    [
        (
            "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task. The actor died "
            "because its node has died. Node Id: 12ab",
            Cause.INFRA,
            "WorkerNodeLost",
        ),
        (
            "ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.",
            Cause.APP,
            "OutOfMemory",
        ),
        (
            "(raylet) node_manager.cc:3517: 4 Workers (tasks / actors) killed due to memory pressure (OOM), 0 Workers "
            "crashed due to other reasons at node",
            Cause.APP,
            "OutOfMemory",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Cause.APP, "DeviceOutOfMemory"),
        (
            "The actor is dead because its worker process has died. Worker exit detail: Worker unexpectedly exits "
            "with a connection error code 2. End of file. (1) the process is killed by SIGKILL by OOM killer",
            Cause.APP,
            "WorkerDied",
        ),
        (
            "hydra.errors.ConfigCompositionException: Could not override 'data.nope'.",
            Cause.VALIDATION,
            "InvalidOverride",
        ),
        ("ConnectionError: Failed to connect to GCS at 10.0.0.1:6379", Cause.INFRA, "RayUnavailable"),
        ("Exception: The current node timed out during startup.", Cause.INFRA, "RayUnavailable"),
        ("ValueError: something of verl's own", Cause.APP, "ValueError"),
    ],
)
def test_signs(line: str, cause: Cause, reason: str) -> None:
    error = diagnose(1, ["(TaskRunner pid=1) working", line, "after"])
    assert (error.cause, error.reason) == (cause, reason)
    assert str(error)


def test_out_of_memory_says_what_to_lower() -> None:
    assert "algorithm.microBatchSize" in str(diagnose(1, ["ray.exceptions.OutOfMemoryError: x"]))


def test_killed_without_a_word() -> None:
    assert diagnose(-9, []).reason == "WorkerKilled"
    assert "signal 6" in str(diagnose(-6, ["boom"]))


def test_excerpt_prefers_the_last_exception_and_is_short() -> None:
    lines = ["RuntimeError: first", "noise", "\x1b[36m(x pid=1)\x1b[0m ValueError: the cause", "more", "noise"]
    assert excerpt(lines) == "last: ValueError: the cause"
    assert len(excerpt(["KeyError: " + "x" * 5000])) <= TAIL_CHARACTERS + 10
    assert excerpt([]) == "it wrote nothing"
