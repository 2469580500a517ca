"""Queued is a state: whoever holds a child back may take their time, it keeps its place, and no clock runs (law 8)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import yaml

from flywheel_api.artifacts import Failure, Progress
from flywheel_api.base import format_time, parse_time
from flywheel_api.causes import Cause
from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.ends import End
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_operator.model import Child, Ended, Meta, Plan, Record, RLJobSeen, Run, RunState, Timings
from flywheel_operator.plan.rljob import plan_rljob
from unit.operator.world import NS, ROUND, START, World

Object = dict[str, Any]
META = Meta("train", NS, "uid-1", 1)
SPEC = RLJobSpec.model_validate(
    {
        "model": "sha256:" + "a" * 64,
        "data": {"train": ["sha256:" + "b" * 64]},
        "reward": {"type": "Math"},
        "gpusPerNode": 4,
        "nodes": 2,
    }
)
CHILD = Child("RayJob", "train-train-a1-x", "ray-uid")
HELD = Run(CHILD, RunState.QUEUED, "the RayJob is suspended: Kueue lets it go on", reason=Reason.QUEUED)
RUNS = Run(CHILD, RunState.RUNNING)


def look(status: RLJobStatus, at: float, run: Run | None, **record: Any) -> Plan[RLJobStatus]:
    """A look `at` so many hours after the start."""
    gpus = 8 if run is not None and run.state is RunState.RUNNING else 0
    seen = RLJobSeen(run=run, record=Record(**record), gpus=gpus)
    return plan_rljob(META, SPEC, status, seen, clock(at), Timings())


def clock(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def said(status: RLJobStatus, kind: ConditionType) -> str:
    found = find_condition(status.conditions, kind)
    assert found is not None
    return found.reason


def test_a_rayjob_that_a_queue_holds_back_for_days_is_said_and_kept() -> None:
    status = look(RLJobStatus(), 0, None).status
    for hours in (0.1, 1, 30, 100):
        plan = look(status, hours, HELD)
        status = plan.status
        assert not plan.actions and status.phase == "Queued" and status.attempt == 1
        assert said(status, ConditionType.READY) == Reason.QUEUED
        assert said(status, ConditionType.STALLED) == Reason.NOT_STALLED
    assert look(status, 101, HELD).status == status, "waiting writes nothing"


def test_clocks_begin_anew_when_the_queue_lets_go() -> None:
    status = look(look(RLJobStatus(), 0, None).status, 30, HELD).status
    starting = Run(CHILD, RunState.STARTING, "the Ray cluster is starting")
    status = look(status, 30.1, starting).status
    assert status.starting_since == format_time(clock(30.1))
    assert look(status, 30.5, starting).status.attempt == 1, "30 minutes are not over"
    late = look(status, 30.7, starting).status
    assert late.attempts[-1].reason == End.STARTUP_TIMEOUT and late.attempts[-1].cause is Cause.INFRA
    running = look(status, 30.2, RUNS).status
    assert running.running_since == format_time(clock(30.2)), "nor is it stalled at once"


def test_what_ran_before_it_was_held_back_is_counted_and_goes_on_later() -> None:
    status = look(look(RLJobStatus(), 0, None).status, 0.1, RUNS).status
    status = look(status, 1.1, HELD).status
    assert (status.gpu_seconds, status.running_since) == ("28800", None)
    status = look(look(status, 5, HELD).status, 20, RUNS).status
    assert (status.attempt, status.gpu_seconds, status.running_since) == (1, "28800", format_time(clock(20)))


def test_pods_that_the_queue_stops_say_so_and_that_is_not_the_attempts_end() -> None:
    status = look(look(RLJobStatus(), 0, None).status, 0.1, RUNS).status
    told = Failure(cause=Cause.PREEMPTED, reason="Terminated", message="asked to stop", at=format_time(clock(1)))
    for run in (HELD, Run(CHILD, RunState.STARTING, "the Ray cluster is starting")):
        status = look(status, 1, run, failure=told).status
        assert not status.attempts
    broken = told.model_copy(update={"cause": Cause.VALIDATION})
    assert look(status, 1, HELD, failure=broken).status.attempts[-1].cause is Cause.VALIDATION


def test_refused_pods_are_said_as_refused_and_kept() -> None:
    words = "pods are refused: exceeded quota: q, requested: limits.cpu=4"
    status = look(RLJobStatus(), 0, None).status
    for hours in (0.1, 10):
        plan = look(status, hours, Run(CHILD, RunState.QUEUED, words, refused=True))
        status = plan.status
        assert not plan.actions and said(status, ConditionType.STALLED) == Reason.POD_REFUSED
        assert status.progress == words


def test_a_return_to_starting_is_a_lost_head_and_not_a_lack_of_capacity() -> None:
    status = look(look(RLJobStatus(), 0, None).status, 0.1, RUNS).status
    again = "the Ray cluster is up, the job is pending"
    lost = look(status, 3, Run(CHILD, RunState.STARTING, again, late=Cause.CAPACITY)).status
    assert (lost.attempts[-1].cause, lost.attempts[-1].reason) == (Cause.INFRA, End.HEAD_LOST)
    killed = Ended(Cause.APP, End.OOM_KILLED, "the head was killed for memory")
    known = look(status, 3, Run(CHILD, RunState.STARTING, again, evidence=killed)).status
    assert (known.attempts[-1].cause, known.attempts[-1].reason) == (Cause.APP, End.OOM_KILLED)


def test_that_the_head_was_lost_is_a_symptom_of_what_its_pods_know() -> None:
    status = look(look(RLJobStatus(), 0, None).status, 0.1, RUNS).status
    told = Failure(cause=Cause.INFRA, reason="HeadLost", message="started a second time", at=format_time(clock(1)))
    killed = Ended(Cause.APP, End.OOM_KILLED, "the head was killed for memory")
    known = look(status, 1, Run(CHILD, RunState.RUNNING, evidence=killed), failure=told).status
    assert known.attempts[-1].reason == End.OOM_KILLED and known.failures == 1
    assert look(status, 1, RUNS, failure=told).status.attempts[-1].reason == End.HEAD_LOST


def test_a_worker_that_was_taken_away_is_known_when_its_pod_is_gone() -> None:
    """The program sees a dead node only when the pod, and why it went, can no longer be asked."""
    status = look(look(RLJobStatus(), 0, None).status, 0.1, RUNS).status
    taken = Ended(Cause.PREEMPTED, "PreemptionByScheduler", "pod w: for a pod of higher priority")
    going = look(status, 0.2, Run(CHILD, RunState.RUNNING, evidence=taken))
    assert going.status.phase == "Running", "it writes its last checkpoint"
    assert [n.reason for n in going.notes] == ["Disrupted"]
    again = look(going.status, 0.3, Run(CHILD, RunState.RUNNING, evidence=taken))
    assert not again.notes and again.status.disruption == going.status.disruption
    told = Failure(cause=Cause.INFRA, reason=End.NODE_LOST, message="its node has died", at=format_time(clock(0.4)))
    lost = look(again.status, 0.4, RUNS, failure=told).status
    assert (lost.attempts[-1].cause, lost.attempts[-1].reason) == (Cause.PREEMPTED, "PreemptionByScheduler")
    symptom = Run(CHILD, RunState.ENDED, ended=Ended(Cause.INFRA, End.NODE_LOST, "RayJob"))
    assert look(again.status, 0.4, symptom).status.attempts[-1].cause is Cause.PREEMPTED
    told = told.model_copy(update={"reason": "TrainingFailed", "cause": Cause.APP})
    assert look(again.status, 0.4, RUNS, failure=told).status.attempts[-1].cause is Cause.APP, "that was its own"
    nobody = look(status, 0.4, RUNS, failure=told.model_copy(update={"reason": End.NODE_LOST, "cause": Cause.INFRA}))
    assert nobody.status.attempts[-1].reason == End.NODE_LOST


def test_the_next_attempt_knows_nothing_of_it() -> None:
    status = look(look(RLJobStatus(), 0, None).status, 0.1, RUNS).status
    taken = Ended(Cause.PREEMPTED, "PreemptionByScheduler", "pod w")
    status = look(status, 0.2, Run(CHILD, RunState.RUNNING, evidence=taken)).status
    told = Failure(cause=Cause.INFRA, reason=End.NODE_LOST, message="", at=format_time(clock(0.3)))
    status = look(status, 0.3, RUNS, failure=told).status
    status = look(status, 1, None).status
    assert status.attempt == 2 and status.disruption is None


def test_a_model_that_is_fetched_for_hours_is_alive_while_its_bytes_move() -> None:
    status = look(RLJobStatus(), 0, None).status
    starting = Run(CHILD, RunState.STARTING, "fetching the model")
    for minutes in range(20, 320, 20):
        status = look(status, minutes / 60, starting, advanced_at=clock(minutes / 60)).status
        assert not status.attempts
    assert look(status, 6, starting, advanced_at=clock(5.3)).status.attempts[-1].reason == End.STARTUP_TIMEOUT


def test_uploads_between_steps_are_shown() -> None:
    status = look(look(RLJobStatus(), 0, None).status, 0.1, RUNS).status

    def shown(text: str) -> str | None:
        at = format_time(clock(1))
        progress = Progress(step=4, total=4, text=text, updated_at=at, heartbeat_at=at)
        nonlocal status
        status = look(status, 0.2, RUNS, progress=progress).status
        return status.progress

    assert shown("step 4 of 4") == "step 4 of 4"
    assert shown("uploading the last checkpoint: 40 %") == "uploading the last checkpoint: 40 %"


# ---- a round ---------------------------------------------------------------------------------------------------------
def hold(world: World, *held: str) -> None:
    """Kueue suspends these Jobs and lets all others go on."""
    for job in world.of_kind("Job"):
        name, spec = job["metadata"]["name"], job["spec"]
        if any(part in name for part in held):
            suspended = {"conditions": [{"type": "Suspended", "status": "True", "reason": "JobSuspended"}]}
            world.kube.update("Job", NS, name, spec=spec | {"suspend": True}, status=suspended)
            world.kube.remove("Pod", NS, f"{name}-pod")
        elif spec.get("suspend"):
            world.kube.update("Job", NS, name, spec=spec | {"suspend": False}, status={})


async def turns(world: World, count: int, seconds: float = 1.5, held: tuple[str, ...] = ()) -> None:
    for _ in range(count):
        await world.look()
        hold(world, *held)
        world.act()
        world.tick(seconds)


def long_round(world: World) -> None:
    body = yaml.safe_load(ROUND)
    body["spec"]["budget"] = {"wallClock": "200h"}
    world.kube.seed(body)


async def test_a_stage_that_a_queue_holds_back_keeps_its_job_and_lets_the_pool_go() -> None:
    world = World()
    long_round(world)
    world.holding |= {"EvaluateBase", "MineReasoning", "SeedAgentic"}
    await turns(world, 12)
    pool, job = world.of_kind("RolloutPool")[0]["metadata"], job_of(world, "evaluate-base")
    users = ("evaluate-base", "mine-reasoning", "seed-agentic")
    await turns(world, 4, 60, users)
    assert world.of_kind("RolloutPool"), "most queues let go within minutes"
    await turns(world, 40, 1800, users)
    assert job_of(world, "evaluate-base")["uid"] == job["uid"], "it keeps its place"
    assert not world.of_kind("RolloutPool") and not world.of_kind("RayService")
    ready = world.condition("Ready")
    assert ready["reason"] == Reason.QUEUED and "suspended" in ready["message"]
    assert world.condition("Stalled")["status"] == "False"
    assert {s["attempt"] for s in world.status()["stages"] if s["state"] == "Running"} == {1}
    world.holding.clear()
    began = world.now
    hold(world)
    await turns(world, 200)
    assert world.status()["verdict"] == "Promoted"
    served = [name for verb, kind, name in world.kube.log if verb == "create" and kind == "RolloutPool"]
    assert served.count(pool["name"]) == 2, "the Job that was held back asks the pool by its name"
    assert parse_time(world.status()["finishedAt"]) - began < timedelta(hours=1)


def job_of(world: World, part: str) -> Object:
    found: Object = next(j["metadata"] for j in world.of_kind("Job") if part in j["metadata"]["name"])
    return found


async def test_no_pool_is_kept_for_a_first_stage_that_is_queued() -> None:
    world = World()
    long_round(world)
    world.holding.add("Prepare")
    await turns(world, 30, 60, ("prepare",))
    assert not world.of_kind("RolloutPool") and len(world.of_kind("Job")) == 1
    assert world.condition("Ready")["reason"] == Reason.QUEUED
    world.holding.clear()
    hold(world)
    await turns(world, 200)
    assert world.status()["verdict"] == "Promoted"
