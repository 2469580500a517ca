"""Failures as people met them in public reports, and variants of the same kinds, through the code that has to tell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_jobs.trainer.failures import diagnose
from flywheel_operator.model import RunState
from flywheel_operator.observe import pods, rayjobs

HERE = Path(__file__).parent
Case = dict[str, Any]


def cases(name: str) -> list[Any]:
    return [pytest.param(row, id=row["id"]) for row in yaml.safe_load((HERE / name).read_text())]


def test_the_figures_of_the_evidence_are_these_cases() -> None:
    page = (HERE.parents[2] / "docs/evidence/reports-11.md").read_text()
    number = r" (\d+) \|" * 4
    table = re.findall(rf"^\| (`[\w.`, ]+yaml`) \|[^|]+\|{number}", page, re.MULTILINE)
    assert len(table) == 4
    for names, *figures in table:
        rows = [row.values[0] for name in re.findall(r"`([\w.]+)`", names) for row in cases(name)]
        held = [
            sum(not keys.isdisjoint(row) for row in rows) for keys in ({"cause", "late", "act"}, {"reason"}, {"says"})
        ]
        assert [len(rows), *held] == list(map(int, figures)), names


def log_of(case: Case) -> list[str]:
    lines = str(case["log"]).splitlines()
    if far := case.get("far", 0):  # a traceback between the cause and what points at it
        lines[1:1] = [f'(TaskRunner pid=5)   File "/x/engine.py", line {n}, in call' for n in range(far)]
    return lines


def check(case: Case, cause: str, reason: str, text: str) -> None:
    assert cause in ([case["cause"]] if isinstance(case["cause"], str) else case["cause"]), (cause, reason, text)
    assert reason == case.get("reason", reason), (cause, reason, text)
    assert case.get("says", "") in text, (cause, reason, text)
    assert "never" not in case or case["never"] not in text, (cause, reason, text)


@pytest.mark.parametrize("case", cases("logs.yaml") + cases("later.yaml"))
def test_logs(case: Case) -> None:
    error = diagnose(case.get("exit", 1), log_of(case), case.get("trained", False))
    check(case, error.cause, error.reason, str(error))
    assert error.node == case.get("node")


ENDS = {
    "WorkerDied": "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.",
    "NcclTimeout": "[rank1]:[E1120 x.cpp:633] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=2)",
    "ServiceUnavailable": "(TaskRunner pid=5) httpx.ConnectError: All connection attempts failed",
}


@pytest.mark.parametrize("line", (HERE / "startup.txt").read_text().splitlines())
@pytest.mark.parametrize("reason", ENDS)
def test_what_programs_write_while_all_is_well_is_no_cause(line: str, reason: str) -> None:
    assert diagnose(1, [line, ENDS[reason]]).reason == reason


SHORT = {"reason", "message", "phase", "target", "unschedulable", "gated", "conditions"}


def told(cause: str) -> str:
    return json.dumps(
        {"cause": cause, "reason": "Told", "message": "row 7 has no answer", "at": "2026-11-26T10:00:00Z"}
    )


def terminated(short: Case) -> Case:
    kept = {k: v for k, v in short.items() if k in ("exitCode", "reason", "message")}
    return {"terminated": kept | ({"message": told(short["told"])} if "told" in short else {})}


def container(name: str, short: Case) -> Case:
    status: Case = {"name": name, "image": f"reg/{name}:1", "restartCount": short.get("restarts", 0), "state": {}}
    if "waiting" in short:
        status["state"] = {"waiting": {"reason": short["waiting"], "message": short.get("message", "")}}
    elif "running" in short:
        status["state"] = {"running": {}}
    elif "exitCode" in short:
        status["state"] = terminated(short)
    if "last" in short:
        status["lastState"] = terminated(short["last"])
    return status


def pod(short: Case) -> Case:
    """A pod from its short form."""
    conditions = list(short.get("conditions", []))
    if "target" in short:
        conditions.append({"type": "DisruptionTarget", "status": "True", "reason": short["target"], "message": ""})
    for key, reason in (("unschedulable", "Unschedulable"), ("gated", "SchedulingGated")):
        if key in short:
            conditions.append({"type": "PodScheduled", "status": "False", "reason": reason, "message": short[key]})
    names = [name for name in short if name not in SHORT]
    inits = [container(n, short[n]) for n in names if n in ("fetch-model", "istio-init")]
    mains = [container(n, short[n]) for n in names if n not in ("fetch-model", "istio-init")]
    status: Case = {k: short[k] for k in ("reason", "message", "phase") if k in short}
    status |= {"conditions": conditions, "initContainerStatuses": inits, "containerStatuses": mains}
    return {"kind": "Pod", "metadata": {"name": "p", "uid": "u"}, "status": status}


def rayjob(deployment: str, job: str = "", **status: Any) -> Case:
    status |= {"jobDeploymentStatus": deployment, "jobStatus": job}
    return {"kind": "RayJob", "metadata": {"name": "x", "uid": "u"}, "status": status}


@pytest.mark.parametrize("case", cases("pods.yaml"))
def test_pods_that_ended(case: Case) -> None:
    ended = pods.ended([pod(short) for short in case["pods"]])
    if case["cause"] == "none":
        assert ended is None
        return
    assert ended is not None
    check(case, ended.cause, ended.reason, ended.message)


@pytest.mark.parametrize("case", cases("waiting.yaml"))
def test_pods_that_wait(case: Case) -> None:
    run = rayjobs.run_of(rayjob("Initializing"), None, [pod(short) for short in case["pods"]])
    if "cause" in case:
        assert run.ended is not None
        assert (run.ended.cause, run.ended.reason) == (case["cause"], case["reason"])
    else:
        assert run.state == case.get("state", "Starting")
        assert run.refused is case.get("act", run.refused), run
        assert run.late == case.get("late", run.late), run
        assert run.reason == case.get("condition", run.reason)
    for words in case.get("says", []):
        assert words in (run.ended.message if run.ended else run.text)


@pytest.mark.parametrize("case", cases("rayjobs.yaml"))
def test_rayjobs(case: Case) -> None:
    deployment, _, job = case["at"].partition("/")
    status = {"reason": case.get("reason_", ""), "message": case.get("message", "")}
    run = rayjobs.run_of(rayjob(deployment, job, **status), None, [pod(short) for short in case.get("pods", [])])
    if "cause" in case:
        assert run.ended is not None and run.state is RunState.ENDED
        check(case, run.ended.cause, run.ended.reason, run.ended.message)
    else:
        assert run.state == case["state"] and case.get("says", "") in run.text, run
