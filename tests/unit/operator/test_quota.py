"""A quota on objects keeps a child out: queued in the API server's words, without a clock, until the quota frees."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import yaml

from flywheel_api.conditions import Reason
from flywheel_operator import refusals
from flywheel_operator.ports.errors import Forbidden, Retryable
from unit.operator.refused import refusing, turns
from unit.operator.world import NS, ROUND, World

Object = dict[str, Any]
QUOTA = (
    '403 {0} "x" is forbidden: exceeded quota: team, requested: count/{0}=1, used: count/{0}=4, limited: count/{0}=4'
)
LIMITS = '403 {0} "x" is forbidden: maximum cpu usage per Container is 4, but limit is 8'
RIGHTS = '403 {0} is forbidden: User "system:serviceaccount:a:flywheel" cannot create resource "{0}" in API group ""'
PLURAL = {"Job": "jobs.batch", "RayJob": "rayjobs.ray.io", "RayService": "rayservices.ray.io", "RLJob": "rljobs"}
OWNER = {"RayJob": "RLJob", "RayService": "RolloutPool"}
UNTIL = {"Job": "Prepare", "RayService": "ServeBase", "RLJob": "TrainReasoning", "RayJob": "TrainReasoning"}


def long_round(world: World) -> None:
    body = yaml.safe_load(ROUND)
    body["spec"]["budget"] = {"wallClock": "400h"}
    world.kube.seed(body)


def attempts(world: World) -> set[int]:
    return {s["attempt"] for s in world.status()["stages"] if s["state"] not in ("Pending", "Skipped")}


@pytest.mark.parametrize("kind", PLURAL)
async def test_a_child_that_a_quota_keeps_out_for_days_is_queued_and_goes_on(kind: str) -> None:
    world, words = World(), QUOTA.format(PLURAL[kind])
    long_round(world)
    refusing(world, kind, lambda: Forbidden(words))
    await world.run(until=UNTIL[kind])
    await turns(world, 60, 3600)
    ready = world.condition("Ready")
    assert ready["reason"] == Reason.QUEUED and "exceeded quota: team" in ready["message"]
    assert world.condition("Stalled")["status"] == "False"
    assert attempts(world) <= {1, 2} and not world.status().get("attempts"), "it is not replaced"
    if kind in OWNER:
        (child,) = world.of_kind(OWNER[kind])
        assert child["status"]["phase"] == "Queued" and words in child["status"]["progress"]
        assert "startedAt" not in child["status"] or kind == "RayJob"
    before = len(world.kube.log)
    await turns(world, 5, 60)
    world.restart()
    await turns(world, 5, 60)
    assert not [kind for verb, kind, _ in world.kube.log[before:] if verb == "status"], "waiting writes nothing"
    world.kube.before_write = lambda verb, kind: None
    freed = world.now
    await world.run()
    assert world.status()["verdict"] == "Promoted" and world.now - freed < timedelta(hours=1)
    assert not [a for a in world.status().get("attempts", []) if a["cause"] != "Succeeded"]


async def test_one_stage_that_is_kept_out_is_said_beside_the_others() -> None:
    world = World()
    long_round(world)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    words = QUOTA.format("jobs.batch")
    refusing(world, "Job", lambda: Forbidden(words))
    await turns(world, 12)
    assert world.condition("Ready")["reason"] != Reason.QUEUED
    held = [s for s in world.status()["stages"] if s.get("queuedSince")]
    assert held and all("exceeded quota" in s["progress"] and "startingSince" not in s for s in held)
    assert "exceeded quota" in world.condition("Ready")["message"]


async def test_the_clock_begins_when_the_quota_lets_go() -> None:
    world = World()
    long_round(world)
    refusing(world, "Job", lambda: Forbidden(QUOTA.format("jobs.batch")))
    await turns(world, 30, 3600)
    refusing(world, "Job", lambda: Retryable("500 Internal error occurred: failed calling webhook"))
    await turns(world, 4, 120)
    prepare = next(s for s in world.status()["stages"] if s["name"] == "Prepare")
    assert prepare["attempt"] == 1 and "queuedSince" not in prepare
    await turns(world, 40, 120)
    assert world.status()["attempts"][-1]["reason"] == "NotCreated", "trouble that is no quota has its clock"


@pytest.mark.parametrize("kind", ["Job", "RayService"])
async def test_a_limit_range_is_for_a_person_and_holds_the_place_as_well(kind: str) -> None:
    world = World()
    long_round(world)
    refusing(world, kind, lambda: Forbidden(LIMITS.format(PLURAL[kind])))
    await world.run(until=UNTIL[kind])
    await turns(world, 40, 3600)
    assert world.condition("Stalled")["reason"] == Reason.POD_REFUSED
    assert "maximum cpu usage per Container" in world.condition("Stalled")["message"]
    assert not world.status().get("attempts") and attempts(world) <= {1, 2}


async def test_what_exists_is_found_although_its_quota_is_full() -> None:
    """A create that was sent twice is answered by the quota before anybody looks whether the object exists."""
    world = World()
    long_round(world)
    world.holding.add("Prepare")
    await world.run(until="Prepare")
    (made,) = world.of_kind("Job")
    status = world.status()
    prepare = next(s for s in status["stages"] if s["name"] == "Prepare")
    prepare.pop("child", None)  # the answer of the create, and all that followed it, was lost
    world.kube.update("FlywheelRound", NS, "demo-r1", status=status)
    refusing(world, "Job", lambda: Forbidden(QUOTA.format("jobs.batch")))
    await turns(world, 4)
    prepare = next(s for s in world.status()["stages"] if s["name"] == "Prepare")
    assert prepare["child"]["name"] == made["metadata"]["name"] and "queuedSince" not in prepare


@pytest.mark.parametrize("kind", ["Job", "RayJob"])
async def test_rights_that_are_missing_stay_a_refusal(kind: str) -> None:
    world = World()
    long_round(world)
    refusing(world, kind, lambda: Forbidden(RIGHTS.format(PLURAL[kind])))
    await world.run(until=UNTIL[kind])
    await turns(world, 10)
    owner = (
        ("RLJob", world.of_kind("RLJob")[0]["metadata"]["name"]) if kind == "RayJob" else ("FlywheelRound", "demo-r1")
    )
    said = world.condition("Stalled", *owner)
    assert said["reason"] == Reason.FORBIDDEN and said["message"].endswith("grant it")


POOL = """
apiVersion: flywheel.dev/v1alpha1
kind: RolloutPool
metadata: {name: policy, namespace: team}
spec: {model: "s3://flywheel/flywheel/models/tiny", gpusPerReplica: 0, startupTimeout: 30m}
"""


def pool_status(world: World) -> Object:
    return dict(world.status("RolloutPool", "policy"))


async def test_a_pool_whose_rayservice_is_refused_has_a_start_up_clock() -> None:
    world, words = World(), '500 Internal error occurred: failed calling webhook "mray.kb.io"'
    world.apply(POOL)
    refusing(world, "RayService", lambda: Retryable(words))
    await turns(world, 20, 60)
    assert world.condition("Ready", "RolloutPool", "policy")["reason"] == Reason.API_REFUSES
    await turns(world, 20, 60)
    status = pool_status(world)
    assert (status["phase"], status["cause"]) == ("Failed", "Capacity")
    stalled = world.condition("Stalled", "RolloutPool", "policy")
    assert stalled["reason"] == Reason.FAILED and "did not take it for 30m" in stalled["message"]
    assert "mray.kb.io" in stalled["message"]
    writes = sum(verb == "status" for verb, _, _ in world.kube.log)
    await turns(world, 20, 60)
    assert sum(verb == "status" for verb, _, _ in world.kube.log) == writes
    world.kube.before_write = lambda verb, kind: None
    world.holding.add("serve")
    await turns(world, 3, 60)
    assert pool_status(world)["phase"] == "Starting", "nobody else would mend it, and its clock begins anew"


async def test_a_round_replaces_a_pool_whose_rayservice_is_never_taken() -> None:
    world = World()
    long_round(world)
    refusing(world, "RayService", lambda: Retryable("500 Internal error occurred: failed calling webhook"))
    await world.run(until="ServeBase")
    await turns(world, 200, 60)
    last = world.status()["attempts"][-1]
    assert (last["stage"], last["cause"], last["reason"]) == ("ServeBase", "Capacity", "PoolFailed")
    assert "finishedAt" not in world.status()


async def test_the_service_of_a_pool_waits_for_the_quota_as_well() -> None:
    world = World()
    world.apply(POOL)

    def refuse(verb: str, kind: str) -> None:
        if (verb, kind) == ("apply", "Service"):
            raise Forbidden(QUOTA.format("services"))

    world.kube.before_write = refuse
    await turns(world, 12)
    ready = world.condition("Ready", "RolloutPool", "policy")
    assert ready["reason"] == Reason.QUEUED and "count/services" in ready["message"]


@pytest.mark.parametrize(
    ("words", "reason", "queued"),
    [
        (QUOTA.format("jobs.batch"), Reason.QUEUED, True),
        ("403 pods is forbidden: status unknown for quota: q, resources: count/pods", Reason.QUEUED, True),
        ("403 pods is forbidden: failed quota: q: must specify limits.cpu for: stage", Reason.POD_REFUSED, True),
        ("403 pods is forbidden: insufficient quota to match these scopes: [BestEffort]", Reason.POD_REFUSED, True),
        (LIMITS.format("pods"), Reason.POD_REFUSED, True),
        ("403 minimum memory usage per Pod is 1Gi, but request is 512Mi", Reason.POD_REFUSED, True),
        ("403 cpu max limit to request ratio per Container is 2, but provided ratio is 4", Reason.POD_REFUSED, True),
        (RIGHTS.format("jobs"), Reason.FORBIDDEN, False),
        ("403 unable to create new content in namespace a because it is being terminated", Reason.FORBIDDEN, False),
        ("401 Unauthorized", Reason.FORBIDDEN, False),
    ],
)
def test_a_403_is_read_by_its_words(words: str, reason: Reason, queued: bool) -> None:
    found = refusals.of_child(words)
    assert (found.reason, found.queued) == (reason, queued) and words in found.message


@pytest.mark.parametrize(
    "words",
    [
        "the server is currently unable to handle the request",
        'Post "https://10.96.0.1:443/api/v1/namespaces/ml/pods": net/http: TLS handshake timeout',
        'Post "https://10.96.0.1:443/api/v1/namespaces/ml/pods": http2: client connection lost',
        'Post "https://10.96.0.1:443/api/v1/namespaces/ml/pods": read tcp 10.0.0.1:1: read: connection reset by peer',
        'Internal error occurred: failed calling webhook "m.kueue": no endpoints available for service "kueue-webhook"',
        "storage is (re)initializing",
    ],
)
def test_pods_that_are_not_taken_now_are_the_api_server_s_trouble(words: str) -> None:
    found = refusals.of_pods(words)
    assert (found.reason, found.queued) == (Reason.API_REFUSES, True) and words in found.message
