"""RLJob's planner: every cause, every limit, and what each leaves in status."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flywheel_api.artifacts import Failure, Manifest, Owner, Progress
from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.common import ReusedFrom
from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.ends import End
from flywheel_api.results import TrainingResult
from flywheel_api.rljob import OnCollapse, Publish, RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.tracking import TrackingSpec
from flywheel_operator.model import (
    Act,
    Child,
    Ended,
    Meta,
    Plan,
    Problem,
    Record,
    RLJobSeen,
    Run,
    RunState,
    Timings,
    Training,
)
from flywheel_operator.plan.retry import FRUITLESS_LIMIT, Tries, Verdict, back_off, bad_nodes, judge
from flywheel_operator.plan.rljob import is_open, plan_rljob
from flywheel_operator.plan.stage import _outdated
from flywheel_operator.render import rayjob
from flywheel_operator.settings import OperatorConfig

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
META = Meta("train", "team", "uid-1", 1)
SPEC = RLJobSpec.model_validate(
    {
        "model": "sha256:" + "a" * 64,
        "data": {"train": ["sha256:" + "b" * 64]},
        "reward": {"type": "Math"},
        "gpusPerNode": 4,
        "nodes": 2,
        "retries": {"limit": 2},
        "wallClock": "10h",
    }
)
TIMES = Timings()
CHILD = Child("RayJob", "train-train-a1-x", "ray-uid")


def step(status: RLJobStatus, now: datetime = NOW, spec: RLJobSpec = SPEC, **seen: Any) -> Plan[RLJobStatus]:
    return plan_rljob(META, spec, status, RLJobSeen(**seen), now, TIMES)


def started() -> RLJobStatus:
    return step(RLJobStatus()).status


def running(now: datetime = NOW) -> RLJobStatus:
    return step(started(), now, run=Run(CHILD, RunState.RUNNING)).status


def ended(cause: Cause, status: RLJobStatus | None = None, now: datetime = NOW) -> Plan[RLJobStatus]:
    failure = Failure(cause=cause, reason="Because", message="it said so", at=format_time(now))
    run = Run(CHILD, RunState.RUNNING)
    return step(status or running(), now, run=run, record=Record(failure=failure))


def reason(status: RLJobStatus, kind: ConditionType = ConditionType.READY) -> str:
    found = find_condition(status.conditions, kind)
    assert found is not None
    return found.reason


def test_the_first_visit_writes_every_condition_and_the_number_before_the_child() -> None:
    plan = step(RLJobStatus())
    types = {c.type for c in plan.status.conditions}
    assert types == {"Ready", "Reconciling", "Stalled", "Preflight", "NodesFit", "StorageReady", "TrainingHealthy"}
    assert plan.status.attempt == 1 and plan.status.child is None
    assert [(a.act, a.kind, a.attempt) for a in plan.actions] == [(Act.CREATE, "RayJob", 1)]


def test_a_child_that_was_never_made_is_made_again_under_the_same_name() -> None:
    first = step(RLJobStatus())
    again = step(first.status)
    assert again.actions == first.actions
    assert again.status == first.status


def test_a_child_that_was_seen_and_is_gone_is_lost_infrastructure() -> None:
    plan = step(running())
    assert plan.status.attempts[-1].cause is Cause.INFRA
    assert plan.status.attempts[-1].reason == "ChildLost"
    assert plan.status.failures == 0


@pytest.mark.parametrize(
    ("cause", "again", "failures"),
    [
        (Cause.APP, True, 1),
        (Cause.STALLED, True, 1),
        (Cause.INFRA, True, 0),
        (Cause.PREEMPTED, True, 0),
        (Cause.CAPACITY, True, 0),
        (Cause.ENDPOINT, True, 0),
        (Cause.SUPERSEDED, True, 0),
        (Cause.VALIDATION, False, 1),
        (Cause.BUDGET, False, 1),
    ],
)
def test_what_follows_from_each_cause(cause: Cause, again: bool, failures: int) -> None:
    plan = ended(cause)
    assert plan.status.failures == failures
    assert (plan.status.finished_at is None) is again
    assert plan.status.attempts[-1].cause is cause
    assert [(a.act, a.uid) for a in plan.actions] == [(Act.DELETE, "ray-uid")]
    assert not is_open(plan.status)


def test_failures_of_the_program_are_limited_and_preemptions_are_not() -> None:
    status, now = RLJobStatus(), NOW
    for cause in (Cause.PREEMPTED, Cause.APP, Cause.PREEMPTED, Cause.INFRA, Cause.APP, Cause.PREEMPTED, Cause.APP):
        status = step(status, now).status
        assert is_open(status)
        status = ended(cause, status, now).status
        now += timedelta(minutes=10)
    assert status.attempt == 7 and status.failures == 3
    assert status.finished_at is not None
    assert reason(status) == Reason.RETRIES_EXHAUSTED
    assert len(status.attempts) == 5


@pytest.mark.parametrize("cause", [Cause.PREEMPTED, Cause.INFRA, Cause.SUPERSEDED])
def test_free_attempts_that_bring_nothing_end_after_five(cause: Cause) -> None:
    ended = Ended(cause, "Because")
    assert judge(ended, Tries(2, FRUITLESS_LIMIT - 2), False, 3) == Verdict(True, Tries(2, FRUITLESS_LIMIT - 1))
    over = judge(ended, Tries(2, FRUITLESS_LIMIT - 1), False, 3)
    assert not over.again and over.reason == Reason.NO_PROGRESS and over.tries.failures == 2
    assert judge(ended, Tries(2, FRUITLESS_LIMIT - 1), True, 3) == Verdict(True, Tries(2, 0)), "it got further"


@pytest.mark.parametrize("cause", [Cause.CAPACITY, Cause.ENDPOINT])
def test_who_waits_for_others_is_not_counted(cause: Cause) -> None:
    assert judge(Ended(cause, "Because"), Tries(0, 4), False, 0) == Verdict(True, Tries(0, 4))


def test_failures_of_the_program_stay_counted_whatever_it_brought() -> None:
    assert judge(Ended(Cause.APP, "Because"), Tries(1, 4), True, 2) == Verdict(True, Tries(2, 0))
    assert judge(Ended(Cause.APP, "Because"), Tries(2, 4), True, 2).reason == Reason.RETRIES_EXHAUSTED


def test_who_gets_further_does_not_wait_longer_each_time() -> None:
    preempted = Ended(Cause.PREEMPTED, "Drained")
    assert back_off("u", "Train", 40, preempted, Tries(0, 0), TIMES) == timedelta(0)
    assert back_off("u", "Train", 40, preempted, Tries(0, 3), TIMES) > timedelta(seconds=30)
    assert back_off("u", "Train", 40, Ended(Cause.CAPACITY, "x"), Tries(), TIMES) > timedelta(minutes=3)


def ended_by(
    status: RLJobStatus, cause: Cause, now: datetime, step_: int | None = None, why: str = "Because", **more: Any
) -> RLJobStatus:
    """One attempt from its start to its end; `step_` is the last one that it committed."""
    run = Run(CHILD, RunState.RUNNING)
    status = step(status, now, LONG).status
    at = format_time(now)
    shown = Progress(step=step_, checkpoint_step=step_, checkpoint_digest="sha256:c", updated_at=at, heartbeat_at=at)
    record = Record(progress=shown if step_ else None, advanced_at=now)
    status = step(status, now, LONG, run=run, record=record).status
    gone = Run(CHILD, RunState.ENDED, ended=Ended(cause, why, "it said so", **more))
    return step(status, now, LONG, run=gone, record=record).status


LONG = SPEC.model_copy(update={"wall_clock": "1000d"})


def test_a_healthy_spot_run_is_never_counted_out() -> None:
    status, now = RLJobStatus(), NOW
    for number in range(1, 100):
        now += timedelta(hours=4)
        status = ended_by(status, Cause.PREEMPTED, now, 10 * number)
        assert (status.finished_at, status.fruitless, status.attempt) == (None, 0, number)


def test_five_preemptions_without_a_step_end_the_job_and_say_so() -> None:
    status, now = RLJobStatus(), NOW
    for number in range(1, 6):
        assert status.finished_at is None, number
        now += timedelta(hours=4)
        status = ended_by(status, Cause.PREEMPTED, now, 10)
        assert status.fruitless == number - 1, "the first one committed step 10"
    now += timedelta(hours=4)
    status = ended_by(status, Cause.INFRA, now, 10)
    assert reason(status) == Reason.NO_PROGRESS and status.failures == 0
    assert "5 attempts in a row" in (status.progress or "")


def test_a_checkpoint_that_was_taken_over_is_no_progress() -> None:
    maker = ReusedFrom(kind="RLJob", name="other", attempt=1, step=10)
    first = step(RLJobStatus(), reusable=maker).status
    assert first.from_step == 10


def test_the_node_of_a_gpu_fault_is_avoided_until_there_is_no_room_elsewhere() -> None:
    status = ended_by(RLJobStatus(), Cause.INFRA, NOW, 10, node="gpu-7")
    assert status.attempts[-1].node == "gpu-7" and bad_nodes(status.attempts) == ("gpu-7",)
    plan = step(status, NOW + timedelta(hours=1), LONG)
    assert any(n.reason == "NodesAvoided" and "gpu-7" in n.message for n in plan.notes)
    again = ended_by(status, Cause.INFRA, NOW + timedelta(hours=1), 20, node="gpu-9")
    assert set(bad_nodes(again.attempts)) == {"gpu-7", "gpu-9"}
    refused = ended_by(again, Cause.CAPACITY, NOW + timedelta(hours=2), 20, "NotCreated")
    assert set(bad_nodes(refused.attempts)) == {"gpu-7", "gpu-9"}, "a webhook was down: no node was asked"
    for why in (End.STARTUP_TIMEOUT, End.NOT_ENOUGH_GPUS):
        nowhere = ended_by(again, Cause.CAPACITY, NOW + timedelta(hours=2), 20, why)
        assert bad_nodes(nowhere.attempts) == ()


def test_the_next_attempt_waits_for_pods_to_go_and_for_back_off() -> None:
    status = ended(Cause.APP).status
    assert not step(status, run=Run(replace(CHILD, deleting=True), RunState.RUNNING), pods=1).actions
    assert not step(status, pods=1).actions
    long_after = NOW + timedelta(minutes=5)
    assert not step(status, long_after, pods=1).actions, "the hardware is not free yet"
    waiting = step(status, NOW + timedelta(seconds=2))
    assert not waiting.actions and waiting.requeue is not None
    assert step(waiting.status, NOW + timedelta(seconds=4)).status == waiting.status, "waiting writes nothing"
    later = step(waiting.status, NOW + timedelta(minutes=5))
    assert later.status.attempt == 2 and later.actions[0].act is Act.CREATE


def test_head_lost_is_a_new_attempt_at_once_without_using_a_retry() -> None:
    failure = Failure(cause=Cause.INFRA, reason="HeadLost", message="second incarnation", at=format_time(NOW))
    progress = Progress(step=4, resumed_from_step=2, updated_at=format_time(NOW), heartbeat_at=format_time(NOW))
    plan = step(running(), run=Run(CHILD, RunState.RUNNING), record=Record(failure=failure, progress=progress))
    assert plan.status.attempts[-1].reason == "HeadLost"
    assert plan.status.attempts[-1].resumed_from_step == 2
    nxt = step(plan.status, NOW + timedelta(seconds=1))
    assert nxt.status.attempt == 2 and nxt.status.failures == 0


def test_a_curve_that_looks_like_a_collapse_is_a_condition_and_one_event() -> None:
    def seen(unhealthy: str | None, spec: RLJobSpec = SPEC, status: RLJobStatus | None = None) -> Plan[RLJobStatus]:
        at = format_time(NOW)
        progress = Progress(step=7, unhealthy=unhealthy, updated_at=at, heartbeat_at=at)
        run = Run(CHILD, RunState.RUNNING)
        return step(status or running(), spec=spec, run=run, record=Record(progress=progress, advanced_at=NOW))

    healthy = find_condition(seen(None).status.conditions, ConditionType.TRAINING_HEALTHY)
    assert healthy is not None and healthy.status == "True"
    plan = seen("step 7: reward 0.02, 0.50 at its best")
    sick = find_condition(plan.status.conditions, ConditionType.TRAINING_HEALTHY)
    assert sick is not None and (sick.status, sick.reason) == ("False", "CollapseSuspected")
    assert "step 7: reward 0.02" in sick.message and "its best checkpoint is published" in sick.message
    assert [n.reason for n in plan.notes] == ["CollapseSuspected"]
    assert not seen("step 7: reward 0.02, 0.50 at its best", status=plan.status).notes, "it is said once"
    warned = seen("step 7: x", SPEC.model_copy(update={"on_collapse": OnCollapse.WARN}))
    told = find_condition(warned.status.conditions, ConditionType.TRAINING_HEALTHY)
    assert told is not None and "spec.onCollapse says Warn" in told.message
    result = TrainingResult(step=2, trained_steps=7, unhealthy="step 7: x", stopped=True)
    made = manifest().model_copy(update={"result": result})
    over = step(plan.status, record=Record(made.digest, made))
    assert over.status.phase == "Succeeded" and "committed at step 2, the best of 7" in (over.status.progress or "")
    assert over.status.model is not None and (over.status.step, over.status.model.step) == (7, 2), "trained, published"
    asked = SPEC.model_copy(update={"publish": Publish.LAST})
    kept = step(plan.status, spec=asked, record=Record(made.digest, made)).status.progress or ""
    cut = made.model_copy(update={"result": result.model_copy(update={"stopped": False})})
    last = step(plan.status, spec=asked, record=Record(cut.digest, cut)).status.progress or ""
    assert "the best of 7" in kept and "the last committed of 7" in last
    assert reason(over.status, ConditionType.TRAINING_HEALTHY) == "CollapseSuspected"


def manifest() -> Manifest:
    owner = Owner(kind="RLJob", namespace="team", name="train", uid="uid-1")
    return Manifest(
        owner=owner,
        stage="Train",
        attempt=1,
        content_key="sha256:" + "c" * 64,
        metrics={"reward": 0.4649},
        result=TrainingResult(step=10),
        created_at=format_time(NOW),
    )


def test_success_is_a_verified_manifest_and_nothing_else() -> None:
    pending = step(running(), run=Run(CHILD, RunState.SUCCEEDED))
    assert pending.status.finished_at is None, "exit 0 is not success"
    assert not pending.status.attempts and pending.status.awaited_since, "nor a failure: the manifest may be late"
    late = step(pending.status, NOW + timedelta(minutes=2), run=Run(CHILD, RunState.SUCCEEDED))
    assert late.status.attempts[-1].reason == "ManifestMissing"
    done = step(running(), record=Record(digest=manifest().digest, manifest=manifest()), model_uri="s3://b/k")
    assert done.status.phase == "Succeeded"
    assert done.status.model is not None and done.status.model.digest == manifest().digest
    assert done.status.reward == "0.465"
    assert reason(done.status) == Reason.SUCCEEDED


def test_a_manifest_that_cannot_be_believed_fails_the_attempt() -> None:
    plan = step(running(), run=Run(CHILD, RunState.RUNNING), record=Record(problem="blob 12 is missing"))
    assert plan.status.attempts[-1].reason == Reason.MANIFEST_INVALID


def test_a_commit_counts_even_after_the_wall_clock() -> None:
    late = NOW + timedelta(hours=11)
    done = step(running(), late, record=Record(digest=manifest().digest, manifest=manifest()))
    assert done.status.phase == "Succeeded"


def test_wall_clock() -> None:
    plan = step(running(), NOW + timedelta(hours=11), run=Run(CHILD, RunState.RUNNING))
    assert plan.status.attempts[-1].cause is Cause.BUDGET
    assert plan.status.finished_at is not None
    assert reason(plan.status) == Reason.BUDGET_EXHAUSTED
    assert plan.actions[0].act is Act.DELETE


def test_no_progress_is_a_stall_and_ends_the_attempt() -> None:
    def progress(at: datetime) -> Record:
        by_a_wrong_clock = format_time(NOW - timedelta(days=1))
        shown = Progress(step=3, total=10, updated_at=by_a_wrong_clock, heartbeat_at=by_a_wrong_clock)
        return Record(progress=shown, advanced_at=at)

    now = NOW + timedelta(minutes=40)
    fresh = step(running(), now, run=Run(CHILD, RunState.RUNNING), record=progress(now - timedelta(minutes=29)))
    assert fresh.status.phase == "Running"
    stale = step(running(), now, run=Run(CHILD, RunState.RUNNING), record=progress(now - timedelta(minutes=31)))
    assert stale.status.attempts[-1].cause is Cause.STALLED


def test_gpus_are_counted_while_pods_have_them_whatever_the_attempt_does() -> None:
    """One node of two for 100 s, both for 50 s while the program runs, and 30 s until the pods of the dead one go."""
    status = started()
    for after, gpus, state in ((0, 4, RunState.STARTING), (100, 8, RunState.RUNNING)):
        run = Run(CHILD, state)
        status = step(status, NOW + timedelta(seconds=after), run=run, gpus=gpus).status
    failed = Run(CHILD, RunState.ENDED, ended=Ended(Cause.APP, "Because", "it said so"))
    status = step(status, NOW + timedelta(seconds=150), run=failed, gpus=8).status
    assert status.attempts
    status = step(status, NOW + timedelta(seconds=180)).status
    assert (status.gpu_seconds, status.held_gpus, status.held_since) == ("1040", 0, None)


def test_starting_too_long_is_capacity_and_tells_why() -> None:
    run = Run(CHILD, RunState.STARTING, "pod p waits for a node", reason=Reason.CAPACITY, late=Cause.CAPACITY)
    early = step(started(), run=run)
    assert early.status.phase == "Starting" and "waits for a node" in (early.status.progress or "")
    late = step(started(), NOW + timedelta(minutes=31), run=run)
    assert late.status.attempts[-1].cause is Cause.CAPACITY
    assert "waits for a node" in late.status.attempts[-1].message


def test_a_refused_pod_stalls_with_the_api_servers_words() -> None:
    run = Run(CHILD, RunState.STARTING, "pods are refused: violates PodSecurity", refused=True)
    plan = step(started(), run=run)
    assert reason(plan.status, ConditionType.STALLED) == Reason.POD_REFUSED


def test_progress_in_words_and_no_writes_without_a_step() -> None:
    def look(status: RLJobStatus, step_: int, eta: float, heart: datetime) -> RLJobStatus:
        progress = Progress(
            step=step_,
            total=10,
            reward=0.4649,
            eta_seconds=eta,
            tokens_per_second=18412.3,
            updated_at=format_time(NOW),
            heartbeat_at=format_time(heart),
        )
        return step(status, heart, run=Run(CHILD, RunState.RUNNING), record=Record(progress=progress)).status

    first = look(running(), 3, 130.0, NOW)
    assert first.progress == "step 3 of 10, reward 0.46, about 2m left"
    assert look(first, 3, 97.0, NOW + timedelta(seconds=20)) == first
    assert look(first, 4, 90.0, NOW + timedelta(seconds=30)).step == 4


def test_preflight_problems_block_and_go_away() -> None:
    problem = Problem(Reason.KUBERAY_NOT_INSTALLED, "install KubeRay")
    blocked = step(RLJobStatus(), problem=problem)
    assert not blocked.actions and blocked.status.attempt == 0
    assert reason(blocked.status, ConditionType.STALLED) == Reason.KUBERAY_NOT_INSTALLED
    assert step(blocked.status, problem=problem).status == blocked.status
    assert step(blocked.status).status.attempt == 1


def test_nothing_is_judged_while_the_store_is_away() -> None:
    problem = Problem(Reason.STORE_UNREACHABLE, "no answer")
    status = running()
    plan = step(status, run=Run(CHILD, RunState.ENDED, ended=Ended(Cause.APP, "x")), store_problem=problem)
    assert plan.status.attempts == status.attempts and not plan.actions
    assert reason(plan.status, ConditionType.STORAGE_READY) == Reason.STORE_UNREACHABLE


def test_a_finished_job_clears_away_and_frees_its_hardware_once() -> None:
    done = step(
        running(), run=Run(CHILD, RunState.RUNNING), record=Record(digest=manifest().digest, manifest=manifest())
    )
    assert done.actions[0].act is Act.DELETE and done.status.child is not None
    held = step(done.status, pods=1)
    assert held.status.child is not None
    free = step(done.status)
    assert free.status.child is None and not free.actions and free.requeue is None
    assert step(free.status).status == free.status


def test_the_pods_of_the_next_attempt_keep_away_from_the_node() -> None:
    status = ended_by(RLJobStatus(), Cause.INFRA, NOW, 10, node="gpu-7")
    status = ended_by(status, Cause.INFRA, NOW + timedelta(hours=1), 20, node="gpu-9")
    plan = step(status, NOW + timedelta(hours=2), LONG)
    body = rayjob.ray_job(OperatorConfig(), META, LONG, plan.status, RLJobSeen(), plan.actions[0])
    cluster = body["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        node = group["template"]["spec"]["affinity"]["nodeAffinity"]
        terms = node["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert [f["values"] for f in terms[0]["matchFields"]] == [["gpu-9"], ["gpu-7"]] and len(terms) == 1
    first = rayjob.ray_job(OperatorConfig(), META, LONG, RLJobStatus(), RLJobSeen(), plan.actions[0])
    assert "affinity" not in first["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]


MLFLOW = TrackingSpec.model_validate({"type": "MLflow", "url": "http://mlflow:5000"})


def test_a_change_of_what_a_release_would_make_is_no_change_of_shape() -> None:
    made = LONG.model_copy(update={"checkpoint": LONG.checkpoint.model_copy(update={"keep_last": 9})})
    assert not _outdated(Training(made, running=False), Training(LONG, running=False))
    template = LONG.pod_template.model_copy(update={"node_selector": {"gpu": "h100"}})
    other = LONG.model_copy(update={"pod_template": template})
    assert _outdated(Training(other, running=False), Training(LONG, running=False))
    assert not _outdated(Training(other, running=True), Training(LONG, running=False))
    for name, value in {"stall_after": "2h", "startup_timeout": "3h", "tracking": MLFLOW}.items():
        mended = LONG.model_copy(update={name: value})
        assert _outdated(Training(LONG, running=False), Training(mended, running=False)), name
