"""RolloutPool: switching revisions without a gap, refusing to steal a name, and what it reports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import yaml

from flywheel_api.artifacts import Progress
from flywheel_api.base import format_time
from flywheel_api.canonical import canonical_json
from flywheel_api.causes import Cause
from flywheel_api.conditions import Reason
from flywheel_api.names import LABEL_POOL, LABEL_WEIGHTS, weights_label
from flywheel_api.pool import RolloutPoolSpec, RolloutPoolStatus
from flywheel_api.results import ModelResult
from flywheel_operator.model import Child, Ended, Meta, PoolSeen, Revision, Run, RunState, Timings
from flywheel_operator.plan.pool import plan_pool
from flywheel_operator.ports.objects import StoreProblem
from flywheel_operator.render.rayservice import LABEL_REVISION
from flywheel_operator.settings import OperatorConfig
from unit.operator.world import NS, ROUND, World, serving_status

Object = dict[str, Any]
POOL = """
apiVersion: flywheel.dev/v1alpha1
kind: RolloutPool
metadata: {name: policy, namespace: team}
spec: {model: "s3://flywheel/flywheel/models/tiny", gpusPerReplica: 0}
"""


async def turns(world: World, count: int = 3) -> None:
    for _ in range(count):
        await world.look()
        world.act()
        world.tick()


def ready(world: World) -> Object:
    return world.condition("Ready", "RolloutPool", "policy")


async def test_a_pool_serves_behind_a_service_of_its_name() -> None:
    world = World()
    world.apply(POOL)
    await turns(world)
    await world.look()
    status = world.status("RolloutPool", "policy")
    assert status["phase"] == "Running" and ready(world)["status"] == "True"
    assert status["endpoint"] == "http://policy.team.svc:8000/v1"
    assert status["readyReplicas"] == 1 and status["laggingReplicas"] == 0
    assert status["weights"] == [{"digest": status["modelDigest"], "replicas": 1}]
    selector = world.get("Service", "policy")["spec"]["selector"]
    assert selector[LABEL_POOL] == "policy"
    assert selector[LABEL_WEIGHTS] == weights_label(status["modelDigest"])
    pod = world.of_kind("Pod")[0]["metadata"]["labels"]
    assert {k: v for k, v in selector.items() if k != "ray.io/serve"}.items() <= pod.items()


async def test_new_weights_come_up_beside_the_old_and_take_over_when_they_answer() -> None:
    world = World()
    world.apply(POOL)
    await turns(world, 4)
    old = world.of_kind("RayService")[0]["metadata"]["name"]
    digest = world.put_model("models/better/manifest.json")
    other = world.manifest(_owner(), "Other", 2, ModelResult())
    world.holding.add("serve")
    spec = yaml.safe_load(POOL)["spec"] | {"model": other.digest}
    world.kube.update("RolloutPool", NS, "policy", spec=spec)
    await turns(world, 4)
    assert len(world.of_kind("RayService")) == 2, "the old one serves until the new one answers"
    status = world.status("RolloutPool", "policy")
    assert status["laggingReplicas"] == 1 and status["endpoint"]
    assert status["modelDigest"] == digest != other.digest
    new = next(s["metadata"]["name"] for s in world.of_kind("RayService") if s["metadata"]["name"] != old)
    world.kube.update("RayService", NS, new, status=serving_status(f"{new}-abcde"))
    await turns(world, 4)
    assert [s["metadata"]["name"] for s in world.of_kind("RayService")] == [new]
    status = world.status("RolloutPool", "policy")
    assert status["modelDigest"] == other.digest and status["laggingReplicas"] == 0
    assert world.get("Service", "policy")["spec"]["selector"][LABEL_WEIGHTS] == weights_label(other.digest)


def _owner() -> Any:
    from flywheel_api.artifacts import Owner

    return Owner(kind="Import", namespace=NS, name="other", uid="other")


async def test_a_service_of_somebody_else_is_not_taken() -> None:
    world = World()
    meta = {"name": "policy", "namespace": NS}
    world.kube.seed({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"app": "theirs"}}})
    world.apply(POOL)
    await turns(world)
    assert ready(world)["reason"] == "NameConflict"
    assert world.get("Service", "policy")["spec"]["selector"] == {"app": "theirs"}
    assert not world.of_kind("RayService")


async def test_a_missing_model_is_said_and_mended() -> None:
    world = World()
    world.apply(POOL.replace("models/tiny", "models/none"))
    await turns(world)
    found = ready(world)
    assert found["reason"] == "ModelNotFound" and "import-model --gguf FILE" in found["message"]
    assert "a pool or an RLJob then takes the digest of its status.baseModel" in found["message"]
    world.put_model("models/none/manifest.json")
    await turns(world, 5)
    assert ready(world)["status"] == "True"


async def test_a_pool_at_rest_writes_nothing() -> None:
    world = World()
    world.apply(POOL)
    await turns(world, 6)
    before = len(world.kube.log)
    await turns(world, 6)
    assert len(world.kube.log) == before


async def test_servers_that_were_lost_are_told_and_waited_for() -> None:
    world = World()
    world.apply(POOL)
    await turns(world, 5)
    name = world.of_kind("RayService")[0]["metadata"]["name"]
    world.kube.update("RayService", NS, name, status={"conditions": [{"type": "Ready", "status": "False"}]})
    await turns(world, 1)
    status = world.status("RolloutPool", "policy")
    assert status["phase"] == "Starting" and status["readyReplicas"] == 0 and ready(world)["status"] == "False"
    world.kube.update("RayService", NS, name, status=serving_status(name))
    await turns(world, 2)
    assert ready(world)["status"] == "True"


async def test_a_pod_template_outside_the_allow_list_is_refused() -> None:
    world = World()
    world.apply(
        POOL.replace("gpusPerReplica: 0", "gpusPerReplica: 0, podTemplate: {priorityClassName: system-node-critical}")
    )
    await turns(world)
    found = ready(world)
    assert found["reason"] == "InvalidSpec" and "priorityClassName" in found["message"]


async def test_a_revision_that_no_engine_takes_is_refused_before_a_pod_asks_the_hub_for_it() -> None:
    world = World()
    world.apply(POOL.replace("s3://flywheel/flywheel/models/tiny", "hf://org/name@v1"))
    await turns(world)
    found = ready(world)
    assert found["reason"] == "ModelNotFound" and "status.baseModel" in found["message"]
    assert not world.of_kind("RayService")


async def serving(world: World) -> str:
    world.apply(POOL)
    await turns(world, 6)
    assert ready(world)["status"] == "True"
    return str(world.of_kind("RayService")[0]["metadata"]["name"])


def other_config() -> OperatorConfig:
    config = OperatorConfig()
    shape = config.cpu.rollout.model_copy(update={"image": "registry/rollout:next"})
    return config.model_copy(update={"cpu": config.cpu.model_copy(update={"rollout": shape})})


async def test_an_upgrade_rolls_no_pool_that_serves() -> None:
    world = World()
    name = await serving(world)
    world.config = other_config()
    world.restart()
    await turns(world, 6)
    assert [s["metadata"]["name"] for s in world.of_kind("RayService")] == [name]
    assert ready(world)["status"] == "True"


async def test_what_another_release_made_is_kept_while_weights_and_spec_are_the_same() -> None:
    world = World()
    name = await serving(world)
    for obj in [*world.of_kind("RayService"), *world.of_kind("Pod")]:
        obj["metadata"]["labels"][LABEL_REVISION] = "vkjnfbh6"
    world.get("Service", "policy")["spec"]["selector"][LABEL_REVISION] = "vkjnfbh6"
    await turns(world, 6)
    assert [s["metadata"]["name"] for s in world.of_kind("RayService")] == [name]
    spec = yaml.safe_load(POOL)["spec"]
    world.kube.update("RolloutPool", NS, "policy", spec=spec | {"engine": {"maxModelLen": 2048}})
    await turns(world, 6)
    assert name not in [s["metadata"]["name"] for s in world.of_kind("RayService")], "a change of spec is one"


async def test_a_pool_that_does_not_serve_takes_the_mended_configuration() -> None:
    world = World()
    world.holding.add("serve")
    world.apply(POOL)
    await turns(world, 4)
    name = world.of_kind("RayService")[0]["metadata"]["name"]
    world.config = other_config()
    world.restart()
    world.holding.clear()
    await turns(world, 8)
    assert name not in [s["metadata"]["name"] for s in world.of_kind("RayService")]
    assert ready(world)["status"] == "True"


async def test_a_pool_that_waits_for_a_node_waits_and_one_that_cannot_work_tells_its_class() -> None:
    world = World()
    world.holding.add("serve")
    world.apply(POOL)
    await turns(world, 3)
    run = {"child": Child("RayService", "x", "u"), "state": RunState.STARTING, "text": "pod p waits for a node"}
    for late, phase in ((Cause.CAPACITY, "Starting"), (Cause.INFRA, "Failed")):
        plan = pool_plan(world, Run(**run, late=late, reason=Reason.CAPACITY), timedelta(hours=9))
        assert plan.phase == phase
    told = Ended(Cause.VALIDATION, "CorruptArtifact", "a blob is damaged")
    failed = pool_plan(world, Run(**run | {"state": RunState.ENDED}, ended=told), timedelta(0))
    assert (failed.phase, failed.cause) == ("Failed", Cause.VALIDATION)
    held = pool_plan(world, Run(**run | {"state": RunState.QUEUED}, reason=Reason.QUEUED), timedelta(hours=99))
    assert (held.phase, held.started_at) == ("Queued", None)


def pool_plan(world: World, run: Run, after: timedelta) -> RolloutPoolStatus:
    meta, spec = Meta("policy", NS, "uid", 1), RolloutPoolSpec.model_validate(yaml.safe_load(POOL)["spec"])
    status = RolloutPoolStatus.model_validate(world.status("RolloutPool", "policy"))
    seen = PoolSeen(digest="sha256:a", wanted="h1-a-b", revisions=(Revision("h1-a-b", run),))
    return plan_pool(meta, spec, status, seen, world.now + after, Timings()).status


async def test_a_pool_whose_model_is_fetched_for_hours_is_let_be_until_no_byte_comes() -> None:
    world = World()
    world.holding.add("serve")
    world.apply(POOL)
    await turns(world, 3)
    tell = teller(world)
    for minute in range(10 * 60):
        world.tick(60)
        tell(minute + 1)
        await world.look()
        assert world.status("RolloutPool", "policy")["phase"] == "Starting", minute
    for minute in range(32):
        world.tick(60)
        await world.look()
        still = world.status("RolloutPool", "policy")["phase"] == "Starting"
        assert still == (minute < 30), minute
    assert "not serving 30m after the last byte of its model came" in ready(world)["message"]


async def test_a_fetch_that_cannot_be_looked_at_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.holding.add("serve")
    world.apply(POOL)
    await turns(world, 3)
    get = world.store.get

    async def without_fetches(key: str) -> bytes | None:
        if key.endswith("/fetch.json"):
            raise StoreProblem(Reason.STORE_UNREACHABLE, "no answer")
        return await get(key)

    monkeypatch.setattr(world.store, "get", without_fetches)
    world.tick(60 * 60)
    await world.look()
    assert ready(world)["reason"] == "StoreUnreachable"
    assert world.status("RolloutPool", "policy")["phase"] == "Pending"


def teller(world: World) -> Callable[[int], None]:
    """Tells so many bytes where the pods of the pool were asked to."""
    pod = world.of_kind("RayService")[0]["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    command = pod["initContainers"][0]["command"]
    key = command[command.index("--progress") + 1]

    def tell(moved: int) -> None:
        now = format_time(world.now)
        told = Progress(text="fetching the model", moved_bytes=moved, updated_at=now, heartbeat_at=now)
        world.store.put(key, canonical_json(told.dump()))

    return tell


PROMOTED = POOL.replace('model: "s3://flywheel/flywheel/models/tiny"', "round: demo-r1")


async def test_a_pool_serves_what_a_round_promoted_once_it_has() -> None:
    world = World()
    world.apply(ROUND)
    world.apply(PROMOTED)
    await turns(world)
    assert (ready(world)["reason"], world.condition("Stalled", "RolloutPool", "policy")["status"]) == (
        "Waiting",
        "False",
    )
    assert "waiting for round demo-r1 to be promoted" in ready(world)["message"]
    await world.run()
    world.tick(60)
    await turns(world)
    await world.look()
    status = world.status("RolloutPool", "policy")
    assert status["phase"] == "Running" and status["modelDigest"] == world.status()["model"]["digest"]
    service = next(s for s in world.of_kind("RayService") if s["metadata"]["name"].startswith("policy"))
    fetch = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]["initContainers"][0]
    assert status["modelDigest"] in fetch["command"]
    world.kube.remove("FlywheelRound", NS, "demo-r1")
    await turns(world)
    assert ready(world)["status"] == "True", "what was promoted stays promoted when the round is pruned"
    assert world.status("RolloutPool", "policy")["modelDigest"] == status["modelDigest"]


async def test_a_pool_of_a_round_whose_status_is_of_another_release_waits_and_says_so() -> None:
    world = World()
    world.apply(ROUND)
    world.kube.update("FlywheelRound", NS, "demo-r1", status={"stages": "as a later release writes them"})
    world.apply(PROMOTED)
    await turns(world)
    assert ready(world)["reason"] == "Waiting" and "is not of this release" in ready(world)["message"]
    assert not world.of_kind("RayService")


async def test_a_pool_of_a_round_that_promoted_nothing_says_so() -> None:
    world = World()
    world.apply(PROMOTED)
    await turns(world)
    assert ready(world)["reason"] == "BaseRoundNotFound" and "of spec.round is not in" in ready(world)["message"]
    world.fail["Prepare"] = (Cause.VALIDATION, "TooFew")
    world.apply(ROUND)
    await world.run()
    await turns(world)
    assert ready(world)["reason"] == "BaseRoundNotPromoted" and "name another" in ready(world)["message"]
    assert not world.of_kind("RayService")
