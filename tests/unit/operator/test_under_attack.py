"""What the world may do to objects and records: reproductions of a review of the operator, its numbers in the names."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
import yaml

from flywheel_api import artifacts
from flywheel_api.artifacts import Owner
from flywheel_api.base import format_time, parse_duration
from flywheel_api.canonical import canonical_json
from flywheel_api.conditions import ConditionType, Reason, find_condition
from flywheel_api.names import LABEL_OWNER_UID, LABEL_POOL, child_name
from flywheel_api.overrides import check_overrides
from flywheel_api.pods.allowed import AllowList
from flywheel_api.pods.template import PodTemplate
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import BudgetSpec, FlywheelRoundSpec
from flywheel_api.stages import STAGE_CONFIG_ENV
from flywheel_operator.model import (
    Act,
    Child,
    Meta,
    PoolSeen,
    Problem,
    Revision,
    RLJobSeen,
    Run,
    RunState,
    Timings,
)
from flywheel_operator.observe.pods import stuck
from flywheel_operator.observe.pool import replicas
from flywheel_operator.plan import budget
from flywheel_operator.plan.pool import plan_pool
from flywheel_operator.plan.preflight import pods, rljob_spec, round_spec
from flywheel_operator.plan.rljob import plan_rljob
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.queue import Key
from unit.operator.world import NS, ROUND, START, World, env_json

Object = dict[str, Any]
META = Meta("x", NS, "uid-x", 2)
RLJOB = RLJobSpec.model_validate(
    {"model": "sha256:" + "a" * 64, "data": {"train": ["sha256:" + "b" * 64]}, "reward": {"type": "Math"}}
)
POOL = RolloutPoolSpec.model_validate({"model": "sha256:" + "a" * 64})


def stage(world: World, name: str) -> Object:
    return next(s for s in world.status()["stages"] if s["name"] == name)


async def turns(world: World, count: int) -> None:
    for _ in range(count):
        await world.look()
        world.act()
        world.tick()


async def held(name: str) -> World:
    world = World()
    world.apply(ROUND)
    world.holding.add(name)
    await world.run(until=name if name != "Train" else "TrainReasoning")
    await turns(world, 4)
    return world


def test_r3_a_spec_of_misspelt_overrides_does_not_block_the_loop() -> None:
    assert len(check_overrides({f"actor_rollout_ref.x{n}": n for n in range(256)})) == 3


SIZES = {"promptsPerStep": 5, "groupSize": 6, "miniBatchPrompts": 5, "microBatchSize": 2}


def test_sizes_that_verl_would_refuse_start_nothing() -> None:
    """Only verl knew it, and said so on 16 GPUs, four times; a round said so when its data had been paid for."""
    allowed = AllowList()
    said = "verl would refuse this: a step has 5 prompts x 6 rollouts = 30 sequences, which do not divide by 16 GPUs"
    wrong = {"algorithm": SIZES, "nodes": 2, "gpusPerNode": 8}
    problem = rljob_spec(RLJobSpec.model_validate(RLJOB.dump() | wrong), allowed)
    assert problem is not None and problem.reason is Reason.INVALID_SPEC and problem.message.startswith(said)
    spec = yaml.safe_load(ROUND)["spec"]
    spec["training"]["reasoning"] = {"overrides": {"actor_rollout_ref.actor.loss_agg_mode": "x"}}
    refused = round_spec(FlywheelRoundSpec.model_validate(spec), allowed)
    assert refused is not None and refused.message.startswith(
        "training.reasoning: verl would refuse this: actor_rollout_ref.actor.loss_agg_mode 'x' is none of token-mean"
    )


def test_r4_a_rayjob_of_an_earlier_attempt_that_comes_back_is_removed() -> None:
    first = plan_rljob(META, RLJOB, RLJobStatus(), RLJobSeen(), START, Timings()).status
    run = Run(Child("RayJob", "current", "u2"), RunState.RUNNING)
    seen = RLJobSeen(run=run, others=(Child("RayJob", "back-again", "u1"),))
    plan = plan_rljob(META, RLJOB, first, seen, START, Timings())
    assert [(a.act, a.name) for a in plan.actions] == [(Act.DELETE, "back-again")]


@pytest.mark.parametrize("kind", ["Job", "RolloutPool", "RLJob"])
async def test_r4_a_child_of_an_earlier_attempt_that_comes_back_is_removed(kind: str) -> None:
    world = await held({"Job": "Prepare", "RolloutPool": "EvaluateBase", "RLJob": "Train"}[kind])
    back = copy.deepcopy(world.of_kind(kind)[0])
    back["metadata"] = {**back["metadata"], "name": "back-again", "uid": "another"}
    back.pop("status", None)
    world.kube.seed(back)
    await turns(world, 3)
    assert "back-again" not in [o["metadata"]["name"] for o in world.of_kind(kind)]
    assert "finishedAt" not in world.status()


async def test_a_committed_stage_has_a_minute_for_its_pod_to_end_and_keep_its_log() -> None:
    world = await held("Prepare")
    job = world.of_kind("Job")[0]
    config = env_json(job["spec"]["template"]["spec"], STAGE_CONFIG_ENV)
    owner = Owner(**config["owner"])
    at = format_time(world.now)
    committed = world.commit(owner, "Prepare", 1, config).digest
    progress = artifacts.Progress(manifest=committed, updated_at=at, heartbeat_at=at)
    world.store.put(artifacts.progress_key(owner.uid, "Prepare", 1), canonical_json(progress.dump()))
    world.holding |= {"EvaluateBase"}
    name = job["metadata"]["name"]
    began = world.now
    while name in [o["metadata"]["name"] for o in world.of_kind("Job")]:
        await turns(world, 1)
        assert world.now - began < timedelta(minutes=3), "a pod that never ends is removed"
    assert stage(world, "Prepare")["state"] == "Succeeded" and world.now - began > timedelta(seconds=55)


@pytest.mark.parametrize(
    ("template", "allowed", "field"),
    [
        ({"image": "evil/x:1"}, AllowList(image_prefixes=["ours/"]), "image"),
        ({"image": "ours/x:1"}, AllowList(image=False), "image"),
        ({"image": "ours/x:1"}, AllowList(image_prefixes=["ours/"]), None),
        ({"image": "any/x:1"}, AllowList(), None),
        ({"resources": {"limits": {"cpu": "1"}}}, AllowList(resources=False), "resources"),
        ({"nodeSelector": {"a": "b"}}, AllowList(node_selector=False), "nodeSelector"),
        ({"tolerations": [{"operator": "Exists"}]}, AllowList(tolerations=False), "tolerations"),
        ({"priorityClassName": "high"}, AllowList(), "priorityClassName"),
        ({"priorityClassName": "high"}, AllowList(priority_class_names=["high"]), None),
    ],
)
def test_r9_a_pod_template_may_only_say_what_the_chart_allows(
    template: Object, allowed: AllowList, field: str | None
) -> None:
    problem = pods({"podTemplate": PodTemplate.model_validate(template)}, allowed)
    assert (problem is None) if field is None else (problem is not None and f"podTemplate.{field} " in problem.message)


@pytest.mark.parametrize("kind", ["Job", "RLJob"])
async def test_r5_a_child_without_its_labels_is_still_the_child(kind: str) -> None:
    world = await held("Prepare" if kind == "Job" else "Train")
    child = world.of_kind(kind)[0]
    del child["metadata"]["labels"][LABEL_OWNER_UID]
    await turns(world, 6)
    assert len(world.of_kind(kind)) == 1
    assert {s["attempt"] for s in world.status()["stages"] if s["state"] == "Running"} == {1}


@pytest.mark.parametrize(
    ("gpus", "kinds", "seen"), [(1, ["head", "worker", "worker"], 2), (1, ["head"], 0), (0, ["head"], 2), (0, [], 0)]
)
def test_r6_a_pool_counts_its_servers_and_not_the_head(gpus: int, kinds: list[str], seen: int) -> None:
    spec = RolloutPoolSpec.model_validate({"model": "hf://a/b", "replicas": 2, "gpusPerReplica": gpus})
    pods = [{"metadata": {"labels": {"ray.io/node-type": kind}}} for kind in kinds]
    assert replicas(spec, pods) == seen
    problem = Problem(Reason.MODEL_NOT_FOUND, "no such model")
    looked = PoolSeen(problem=problem, pods=seen)
    status = plan_pool(META, spec, RolloutPoolStatus(), looked, START, Timings()).status
    assert status.replicas == seen and ("ray.io/node-type=worker" in (status.selector or "")) is (gpus > 0)


async def test_r8_a_status_of_an_older_release_is_carried_on() -> None:
    world = await held("Prepare")
    status = dict(world.status())
    status["stages"] = [s for s in status["stages"] if s["name"] != "SolveAgentic"]
    status["stages"].append({"name": "StageOfAnotherRelease", "state": "Pending"})
    world.kube.update("FlywheelRound", NS, "demo-r1", status=status)
    world.holding.clear()
    await world.run()
    assert world.status()["verdict"] == "Promoted" and stage(world, "SolveAgentic")["state"] == "Succeeded"


async def test_r8_a_status_of_a_newer_release_is_a_condition_and_left_as_it_is() -> None:
    world = await held("Prepare")
    status = dict(world.status())
    status["attempts"] = [{"stage": "Prepare", "attempt": 1, "cause": "CauseOfTomorrow"}]
    world.kube.update("FlywheelRound", NS, "demo-r1", status=status)
    await turns(world, 4)
    assert world.condition("Stalled")["reason"] == Reason.STATUS_UNREADABLE
    assert "another release" in world.condition("Stalled")["message"]
    assert world.status()["attempts"] == status["attempts"] and world.status()["stages"] == status["stages"]
    before = len(world.kube.log)
    await turns(world, 4)
    assert len(world.kube.log) == before


@pytest.mark.parametrize("wall", ["3000000d", "99999999999999999999999999d"])
async def test_r12_a_budget_beyond_the_calendar_is_a_century(wall: str) -> None:
    assert parse_duration(wall) == timedelta(days=36500)
    world = World()
    world.apply_as("demo-r1", budget={"wallClock": wall, "gpuHours": "1e99"})
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_r13_garbage_in_the_store_is_nobodys_record() -> None:
    world = World()
    for name, data in (("a", b"\xff\xfe"), ("b", b"{}"), ("c", b'{"round": 7}')):
        world.store.put(artifacts.promotion_key(NS, "demo", name), data)
    world.apply(ROUND)
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_r13_a_package_that_is_gone_before_training_is_said_and_not_an_exception_for_ever() -> None:
    world = await held("EvaluateBase")
    for _ in range(60):
        await turns(world, 1)
        if digest := stage(world, "Package").get("manifest"):
            break
    world.store.objects.pop(world.store.settings.full_key(artifacts.manifest_digest_key(digest)))
    world.holding.clear()
    world.restart()  # nothing is remembered
    await turns(world, 12)
    said = world.condition("Ready")
    assert "Package" in said["message"] and "store" in said["message"], said
    assert not world.of_kind("RLJob")


async def test_r13_a_foreign_pool_with_our_label_is_left_alone() -> None:
    world = World()
    made = world.apply(ROUND)
    labels = {LABEL_OWNER_UID: made["metadata"]["uid"], "app.kubernetes.io/managed-by": "flywheel"}
    world.kube.seed(
        {
            "apiVersion": "flywheel.dev/v1alpha1",
            "kind": "RolloutPool",
            "metadata": {"name": "theirs", "namespace": NS, "labels": labels},
            "spec": {"what": "ever"},
        }
    )
    await world.run()
    assert world.status()["verdict"] == "Promoted"
    assert ("RolloutPool", NS, "theirs") in world.kube.objects


async def test_r14_a_refused_effect_is_said_once() -> None:
    world = World()
    world.apply(ROUND)

    def refuse(verb: str, kind: str) -> None:
        if verb == "create" and kind == "RayService":
            raise Forbidden("rayservices is forbidden")

    world.kube.before_write = refuse
    await turns(world, 10)
    pool = world.of_kind("RolloutPool")[0]["metadata"]["name"]
    found = next(c for c in world.status("RolloutPool", pool)["conditions"] if c["type"] == "Stalled")
    assert (found["status"], found["reason"]) == ("True", "Forbidden")
    before = sum(verb == "status" and kind == "RolloutPool" for verb, kind, _ in world.kube.log)
    await turns(world, 40)
    assert sum(verb == "status" and kind == "RolloutPool" for verb, kind, _ in world.kube.log) == before
    world.restart()  # what was refused is not remembered, but it is written down
    await world.look()
    assert sum(verb == "status" and kind == "RolloutPool" for verb, kind, _ in world.kube.log) == before
    world.kube.before_write = lambda verb, kind: None
    await world.run()
    assert world.status()["verdict"] == "Promoted"


async def test_law_11_one_status_write_per_look_refused_or_not() -> None:
    world = World()
    made = world.apply(ROUND)
    name = child_name("demo-r1", made["metadata"]["uid"], "Prepare", 1)
    world.kube.seed({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": NS}, "spec": {}})
    for _ in range(12):
        before = len(world.kube.log)
        await world.look()
        written = [name for verb, kind, name in world.kube.log[before:] if verb == "status"]
        assert len(written) == len(set(written)), "two writes of one status in one look"
        world.act()
        world.tick()
    assert world.condition("Stalled")["reason"] == "NameConflict"


async def test_r15_a_stalled_rljob_stalls_its_round() -> None:
    world = World()
    world.apply(ROUND)
    world.kube.before_write = lambda verb, kind: _forbid(verb, kind, "RayJob")
    await world.run(until="TrainReasoning")
    await turns(world, 6)
    assert world.condition("Stalled")["status"] == "True"
    assert world.condition("Stalled")["reason"] == Reason.POD_REFUSED


def _forbid(verb: str, kind: str, which: str) -> None:
    if verb == "create" and kind == which:
        raise Forbidden(f"{which} is forbidden")


def test_r18_a_new_model_that_is_not_there_makes_a_serving_pool_unready() -> None:
    serving = RolloutPoolStatus(endpoint="http://x/v1", observed_generation=1)
    problem = Problem(Reason.MODEL_NOT_FOUND, "no such model")
    status = plan_pool(META, POOL, serving, PoolSeen(problem=problem), START, Timings()).status
    ready = find_condition(status.conditions, ConditionType.READY)
    assert ready is not None and ready.status == "False" and "still serving" in ready.message
    assert status.endpoint == "http://x/v1" and {c.observed_generation for c in status.conditions} == {2}


def test_a_store_that_is_away_does_not_make_a_serving_pool_unready() -> None:
    serving = RolloutPoolStatus(endpoint="http://x/v1", observed_generation=2)
    problem = Problem(Reason.STORE_UNREACHABLE, "away")
    status = plan_pool(META, POOL, serving, PoolSeen(store_problem=problem), START, Timings()).status
    assert find_condition(status.conditions, ConditionType.READY) is None
    found = find_condition(status.conditions, ConditionType.STORAGE_READY)
    assert found is not None and found.status == "False"


def test_r22_a_budget_that_is_used_exactly_ends_nothing() -> None:
    spec = BudgetSpec.model_validate({"tokens": [{"role": "Teacher", "limit": "400"}]})
    assert budget.exhausted(spec, None, 0.0, {"Teacher": 400}, START) is None, "no stage may ask any more"
    problem = budget.exhausted(spec, None, 0.0, {"Teacher": 401}, START)
    assert problem is not None and problem.reason is Reason.BUDGET_EXHAUSTED


def test_r24_a_revision_that_is_wanted_again_while_it_goes_is_waited_for() -> None:
    going = Run(Child("RayService", "a", "u1", deleting=True), RunState.RUNNING)
    serving = Run(Child("RayService", "b", "u2"), RunState.RUNNING)
    seen = PoolSeen(
        digest="sha256:a",
        wanted="rev-a",
        revisions=(Revision("rev-a", going), Revision("rev-b", serving)),
        serving="rev-b",
    )
    status = RolloutPoolStatus(endpoint="http://x/v1", observed_generation=2)
    plan = plan_pool(META, POOL, status, seen, START, Timings())
    assert plan.actions == () and plan.status.endpoint == "http://x/v1", "b serves on"


async def test_r20_a_suspended_round_is_not_polled() -> None:
    world = await held("EvaluateBase")
    spec = yaml.safe_load(ROUND)["spec"]
    world.kube.update("FlywheelRound", NS, "demo-r1", spec=spec | {"suspend": True})
    world.holding.clear()
    await turns(world, 12)
    assert world.condition("Ready")["reason"] == "Suspended"
    from flywheel_operator.queue import Key

    assert await world.reconcile(Key("FlywheelRound", NS, "demo-r1")) is None


LOST_POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p-head", "namespace": NS, "deletionTimestamp": format_time(START)},
    "spec": {"nodeName": "n1"},
}


def test_r16_a_pod_that_does_not_go_is_named_and_a_person_is_asked() -> None:
    """Its node was gone: round and RLJob waited for days, Stalled=False, without a word."""
    assert not stuck([LOST_POD, {"metadata": {"name": "q"}}], START + timedelta(minutes=4))
    words = stuck([LOST_POD], START + timedelta(minutes=6))
    assert "p-head" in words and "node n1 is gone" in words and "--force" in words
    plan = plan_rljob(META, RLJOB, RLJobStatus(), RLJobSeen(pods=1, stuck=words), START, times=Timings())
    said = find_condition(plan.status.conditions, ConditionType.STALLED)
    assert said is not None and (said.status, said.reason, said.message) == ("True", Reason.PODS_STUCK, words)
    assert not plan.actions


async def test_r16_a_round_says_which_pod_of_its_pools_does_not_go() -> None:
    world = World()
    world.apply(ROUND)
    await world.run(until="MineReasoning")
    pool = next(name for kind, _, name in world.kube.objects if kind == "RolloutPool")
    world.kube.seed(LOST_POD | {"metadata": LOST_POD["metadata"] | {"labels": {LABEL_POOL: pool}}})

    def stalled() -> str:
        return next(c["reason"] for c in world.status()["conditions"] if c["type"] == "Stalled")

    for _ in range(400):
        await turns(world, 1)
        if stalled() == Reason.PODS_STUCK:
            break
    assert stalled() == Reason.PODS_STUCK and "p-head" in world.status()["progress"]
    world.kube.remove("Pod", NS, "p-head")
    await turns(world, 3)
    assert stalled() == Reason.NOT_STALLED


@pytest.mark.parametrize(("finalizer", "left"), [("backup.acme.io/keep", False), ("orphan", True)])
async def test_r21_what_somebody_s_finalizer_holds_gives_its_hardware_back(finalizer: str, left: bool) -> None:
    """It kept its GPUs, unwatched, for days. Who deletes with `--cascade=orphan` keeps the children on purpose."""
    world = await held("TrainReasoning")
    held_back = world.get("FlywheelRound", "demo-r1")["metadata"]
    held_back |= {"deletionTimestamp": format_time(world.now), "finalizers": [finalizer]}
    key = Key("FlywheelRound", NS, "demo-r1")
    again = [await world.reconcile(key) for _ in range(2)]
    assert any(kind == "RLJob" for kind, _, _ in world.kube.objects) is left
    assert (again[0] is None) is left and again[1] is None
