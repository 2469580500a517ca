"""Signatures whose class and reason were written down before they were tried, with what stands around them in a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_jobs.trainer.failures import diagnose
from flywheel_operator.observe import jobs, pods, rayjobs
from unit.causes import test_signatures
from unit.causes.test_jobs import job
from unit.causes.test_signatures import check, container, log_of, rayjob

Case = dict[str, Any]
KEPT: dict[str, list[Case]] = yaml.safe_load((Path(__file__).parent / "kept_aside.yaml").read_text())
WORKER = "\x1b[36m(WorkerDict pid=71, ip=10.9.0.5)\x1b[0m "
BEFORE = (
    f"{WORKER}torch/utils/checkpoint.py:85: UserWarning: None of the inputs have requires_grad=True",
    f"{WORKER}INFO 11-20 10:00:00 [cuda.py:364] Using FlashAttention version 3",
    f"{WORKER}trainer-w-0:71:402 [0] NCCL INFO NET/Plugin: Could not find: libnccl-net.so.",
    f"{WORKER}Traceback (most recent call last):",
    f'{WORKER}  File "/opt/verl/trainer/main_ppo.py", line 42, in main',
    f"{WORKER}    run_ppo(config)",
)
AFTER = (
    "ray.exceptions.RayTaskError({error}): \x1b[36mray::TaskRunner.run()\x1b[39m (pid=5123, ip=10.9.0.4, actor_id=4f)",
    '  File "/opt/verl/single_controller/ray/base.py", line 700, in func',
    "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
    "\tclass_name: create_colocated_worker_cls.<locals>.WorkerDict",
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. There are some potential root causes. (1) The "
    "process is killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop --force is called.",
    "[rank2]:[W1120 10:11:12.1 ProcessGroupNCCL.cpp:1476] Warning: destroy_process_group() was not called before exit",
    "multiprocessing/resource_tracker.py:254: UserWarning: There appear to be 6 leaked semaphore objects to clean up",
)
RAISED = re.compile(r"(?:\([^)]*\) |\[rank\d+\]: )?(?:ERROR [^\]]*\] )?(?:[\w.]+\.)?([A-Z]\w+)(?:: |$)")


def kept(kind: str) -> list[Any]:
    return [pytest.param(row, id=row["id"]) for row in KEPT[kind]]


def among_others(lines: list[str]) -> list[str]:
    """As Ray passes it on, after a traceback and before what is written while a run is taken down."""
    raised = [found[1] for line in lines if (found := RAISED.match(line))]
    own = [line if line.startswith(("(", "[rank")) else WORKER + line for line in lines]
    return [*BEFORE, *own, *(line.replace("{error}", raised[-1] if raised else "RuntimeError") for line in AFTER)]


def pod(short: Case) -> Case:
    """A pod from its short form, with native sidecars, containers of a person's debugging, and a deletion."""
    known = ("sidecars", "ephemeral", "deleted", "grace")
    made = test_signatures.pod({key: value for key, value in short.items() if key not in known})
    status = made["status"]
    for one in status["containerStatuses"]:
        if "finishedAt" in short[one["name"]]:
            one["state"]["terminated"]["finishedAt"] = short[one["name"]]["finishedAt"]
    status["initContainerStatuses"] += [container(*named) for named in short.get("sidecars", {}).items()]
    status["ephemeralContainerStatuses"] = [container(*named) for named in short.get("ephemeral", {}).items()]
    if "deleted" in short:
        made["metadata"] |= {"deletionTimestamp": short["deleted"], "deletionGracePeriodSeconds": short["grace"]}
    return made


@pytest.mark.parametrize("around", [False, True], ids=["alone", "among others"])
@pytest.mark.parametrize("case", kept("logs"))
def test_a_log(case: Case, around: bool) -> None:
    lines = among_others(log_of(case)) if around else log_of(case)
    error = diagnose(case.get("exit", 1), lines)
    check(case, error.cause, error.reason, str(error))
    assert error.node == case.get("node", error.node)


@pytest.mark.parametrize("case", kept("benign"))
def test_what_only_looks_like_a_fault(case: Case) -> None:
    error = diagnose(1, log_of(case), case.get("trained", False))
    check(case, error.cause, error.reason, str(error))


@pytest.mark.parametrize("case", kept("pods"))
def test_pods_that_ended(case: Case) -> None:
    ended = pods.ended([pod(short) for short in case["pods"]])
    assert (ended is None) is (case["cause"] == "none")
    if ended is not None:
        check(case, ended.cause, ended.reason, ended.message)


@pytest.mark.parametrize("case", kept("jobs"))
def test_jobs(case: Case) -> None:
    conditions = [case["condition"] | {"status": "True"}] if "condition" in case else []
    ended = jobs.run_of(job(conditions=conditions), [pod(short) for short in case["pods"]]).ended
    assert (ended is None) is (case["cause"] == "none")
    if ended is not None:
        check(case, ended.cause, ended.reason, ended.message)


@pytest.mark.parametrize("case", kept("waiting"))
def test_pods_that_wait(case: Case) -> None:
    run = rayjobs.run_of(rayjob("Initializing"), None, [pod(short) for short in case["pods"]])
    assert run.ended is None
    assert (run.refused, run.late) == (case["act"], case.get("late", run.late)), run
    assert run.reason == case.get("condition", run.reason), run
    for words in case.get("says", []):
        assert words in run.text


@pytest.mark.parametrize("case", kept("rayjobs"))
def test_rayjobs(case: Case) -> None:
    deployment, _, state = case["at"].partition("/")
    status = {"reason": case["reason_"], "message": case["message"]}
    run = rayjobs.run_of(rayjob(deployment, state, **status), None, [pod(short) for short in case.get("pods", [])])
    assert run.ended is not None
    check(case, run.ended.cause, run.ended.reason, run.ended.message)
