"""A whole round on real parts whose teacher is away, whose operator dies in every stage and whose Ray head is lost.

Needs the cluster that `make demo` leaves running; takes about as long as a demo round.
"""

from __future__ import annotations

import time

import pytest

from cluster.kube import Kubectl, condition
from cluster.process import wait_for
from demo.settings import NAMESPACE, Settings
from e2e import story
from flywheel_api.stages import PIPELINE, Runs

NAME = "demo-faults"
STAGES = {d.stage.value for d in PIPELINE if d.runs is not Runs.OPERATOR}
WITHOUT = {"ImportModel", "Export"}  # the demo's base is in the store, and it exports nothing


@pytest.mark.timeout(story.PATIENCE_S)
def test_a_round_ends_the_same_whatever_goes_away_meanwhile(kube: Kubectl) -> None:
    kube.delete("flywheelround", NAME, NAMESPACE)
    story.scale_teacher(kube, 0)
    kube.apply([story.load_round(kube, str(Settings().round_file), NAME, reuse="Never")])
    killed: set[str] = set()
    head_lost_at: list[int] = []
    waited: list[str] = []
    with story.Witness(kube, NAME) as witness:
        for found in story.follow(kube, NAME):
            endpoints = condition(found, "EndpointsAvailable")
            if endpoints.get("status") == "False" and not waited:
                waited.append(endpoints["message"])
                story.scale_teacher(kube, 1)
                print(f"brought the teacher back after: {endpoints['message']}", flush=True)
            fresh = story.running_stages(found) - killed
            if fresh:
                story.kill_operator(kube)
                killed |= fresh
                print(f"killed the operator while {', '.join(sorted(fresh))} ran", flush=True)
                continue  # a stage of seconds is not waited for
            trains = not head_lost_at and "TrainReasoning" in story.running_stages(found)
            job = story.rljob_of(kube, found, "TrainReasoning") if trains else None
            step = ((job or {}).get("status", {}).get("checkpoint") or {}).get("step")
            if job and step and story.delete_head(kube, job):
                head_lost_at.append(step)
                print(f"deleted the Ray head after checkpoint {step} was committed", flush=True)
    assert witness.asked and not witness.twice, f"two children for one stage attempt: {witness.twice}"
    status = found["status"]
    assert status["verdict"] in ("Promoted", "Held"), status.get("progress")
    assert waited and "Teacher" in waited[0], waited
    assert condition(found, "EndpointsAvailable")["status"] == "True"
    assert {s["name"] for s in status["stages"] if s["state"] == "Skipped"} == WITHOUT
    missed = STAGES - WITHOUT - killed
    assert not missed, f"the operator was not killed in {sorted(missed)}: they ran unseen"
    assert head_lost_at, "training ended before a checkpoint was seen: lower checkpoint.everySteps"
    job = story.rljob_of(kube, found, "TrainReasoning")
    assert job is not None
    attempts = job["status"]["attempts"]
    lost = next(a for a in attempts if a["cause"] == "Infra")
    assert job["status"]["failures"] == 0, "a lost head used up a retry"
    assert job["status"]["attempt"] == lost["attempt"] + 1
    resumed = next(a for a in attempts if a["attempt"] == lost["attempt"] + 1)["resumedFromStep"]
    assert resumed >= head_lost_at[0], (resumed, head_lost_at)


def test_applying_a_finished_round_again_changes_nothing(kube: Kubectl) -> None:
    found = kube.get("flywheelround", NAME, NAMESPACE)
    if found is None or not found.get("status", {}).get("verdict"):
        pytest.skip("needs the finished round of the test before")
    kube.apply([story.load_round(kube, str(Settings().round_file), NAME, reuse="Never")])
    time.sleep(10)
    again = kube.get("flywheelround", NAME, NAMESPACE)
    assert again is not None
    assert again["status"] == found["status"]
    assert again["metadata"]["generation"] == found["metadata"]["generation"]


def test_deleting_a_round_removes_every_child(kube: Kubectl) -> None:
    found = kube.get("flywheelround", NAME, NAMESPACE)
    if found is None:
        pytest.skip("needs the round of the first test")
    uid = found["metadata"]["uid"]
    kube.delete("flywheelround", NAME, NAMESPACE)
    wait_for("garbage collection of the children", lambda: not story.children(kube, uid), 120, 2)
    events = kube.run("-n", NAMESPACE, "get", "events", "-o", "jsonpath={range .items[*]}{.message}{'\\n'}{end}")
    assert "kept" in events, "nothing says what was kept in the store"
