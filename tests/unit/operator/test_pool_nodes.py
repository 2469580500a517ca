"""A RolloutPool whose GPU fails comes back on another node; replicas that answer are left alone as long as may be."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flywheel_api.base import format_time
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus
from flywheel_operator.ports.errors import Retryable
from unit.operator.world import NS, ROUND, World, serving_status

Object = dict[str, Any]
OWN = "nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [%s]}]}}"
POOL = f"""
apiVersion: flywheel.dev/v1alpha1
kind: RolloutPool
metadata: {{name: policy, namespace: team}}
spec:
  model: "s3://flywheel/flywheel/models/tiny"
  gpusPerReplica: 1
  podTemplate: {{affinity: {{{OWN % "{key: zone, operator: In, values: [a]}"}}}}}
"""
LOST = (  # as Ray's RayTaskError writes a constructor's error
    "A replica failed to start with exception. Retrying. Error:\n"
    "\x1b[36mray::ServeReplica:llm:LLMServer:policy.initialize_and_get_metadata()\x1b[39m "
    "(pid=812, ip=%s, actor_id=0a1b, repr=<ray.serve._private.replica.ServeReplica object at 0x7f2b>)\n"
    '  File "/opt/venv/lib/python3.11/site-packages/ray/llm/_internal/serve/llm_server.py", line 151, in __init__\n'
    "    await self.start()\n"
    "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)


def broken(address: str, status: str = "UNHEALTHY") -> Object:
    """Status of a RayService whose replica finds its GPU dead: the application's own message names no error."""
    deployment = {"status": "UNHEALTHY", "message": LOST % address}
    app = {
        "status": status,
        "message": "The deployments ['LLMServer:policy'] are UNHEALTHY.",
        "serveDeploymentStatuses": {"LLMServer:policy": deployment},
    }
    return {"activeServiceStatus": {"applicationStatuses": {"llm": app}}}


def pool(world: World) -> Object:
    return world.status("RolloutPool", "policy")


def services(world: World) -> list[str]:
    return [s["metadata"]["name"] for s in world.of_kind("RayService")]


def place(world: World, service: str, node: str, address: str) -> None:
    """The scheduler's and kubelet's part for the pod of a RayService."""
    ready = [{"type": "Ready", "status": "True"}]
    name = f"{service}-pod"
    world.kube.update("Pod", NS, name, spec={"nodeName": node}, status={"podIP": address, "conditions": ready})


def beside(world: World, service: str, node: str) -> None:
    """Another server of the same RayService, which answers."""
    found = world.get("Pod", f"{service}-pod")
    meta = {k: found["metadata"][k] for k in ("namespace", "labels", "ownerReferences")} | {"name": f"{service}-2"}
    status = {"podIP": "10.4.0.2", "conditions": [{"type": "Ready", "status": "True"}]}
    world.kube.seed({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"nodeName": node}, "status": status})


async def turns(world: World, count: int = 3) -> None:
    for _ in range(count):
        await world.look()
        world.act()
        world.tick()


async def serving(world: World, node: str = "gpu-7", address: str = "10.4.0.7", text: str = POOL) -> str:
    world.apply(text)
    await turns(world, 5)
    (service,) = services(world)
    place(world, service, node, address)
    assert pool(world)["phase"] == "Running"
    return service


def terms(world: World, service: str, group: str = "workerGroupSpecs") -> list[Object]:
    """The alternatives of the node affinity of a RayService's pods."""
    spec = world.get("RayService", service)["spec"]["rayClusterConfig"][group]
    template = (spec if isinstance(spec, dict) else spec[0])["template"]["spec"]
    required = template["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return list(required["nodeSelectorTerms"])


AWAY = [{"key": "metadata.name", "operator": "NotIn", "values": ["gpu-7"]}]


async def test_a_pool_whose_gpu_fails_comes_back_on_another_node() -> None:
    world = World()
    old = await serving(world)
    assert "matchFields" not in terms(world, old)[0]
    world.kube.update("RayService", NS, old, status=broken("10.4.0.7"))
    await turns(world, 4)
    (new,) = services(world)
    (own,) = terms(world, new)
    assert own["matchExpressions"][0]["key"] == "zone" and own["matchFields"] == AWAY
    (ended,) = pool(world)["attempts"]
    assert (ended["cause"], ended["reason"], ended["node"]) == ("Infra", "GpuFault", "gpu-7")
    assert pool(world)["phase"] == "Running" and pool(world)["endpoint"]
    told = [(e["reason"], e["message"]) for e in world.of_kind("Event")]
    assert any(reason == "NodesAvoided" and "gpu-7" in text for reason, text in told)


async def test_what_serve_has_given_up_is_replaced_as_well() -> None:
    world = World()
    old = await serving(world)
    world.kube.update("RayService", NS, old, status=broken("10.4.0.7", "DEPLOY_FAILED"))
    await turns(world, 4)
    assert services(world) != [old] and pool(world)["phase"] == "Running"


async def test_a_container_that_a_gpu_ended_names_the_node_of_its_pod() -> None:
    world = World()
    old = await serving(world)
    words = "NVRM: Xid (PCI:0000:3b:00): 79, pid=77, GPU has fallen off the bus."
    ended = {"name": "ray-worker", "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": words}}}
    world.kube.update("Pod", NS, f"{old}-pod", status={"podIP": "10.4.0.7", "containerStatuses": [ended]})
    world.kube.update("RayService", NS, old, status={"conditions": [{"type": "Ready", "status": "False"}]})
    await turns(world, 1)
    assert [a["node"] for a in pool(world)["attempts"]] == ["gpu-7"]


@pytest.mark.parametrize("address", ["10.4.9.9", ""])
async def test_without_a_node_nothing_is_replaced(address: str) -> None:
    world = World()
    old = await serving(world)
    words = broken(address) if address else {"conditions": [{"type": "Ready", "status": "False"}]}
    world.kube.update("RayService", NS, old, status=words)
    await turns(world, 4)
    assert services(world) == [old] and not pool(world).get("attempts")


async def broken_beside_another() -> tuple[World, str]:
    """A pool of two replicas, of which one is broken and the other answers; its RayService's name."""
    world = World()
    old = await serving(world, text=POOL.replace("gpusPerReplica: 1", "gpusPerReplica: 1\n  replicas: 2"))
    beside(world, old, "gpu-8")
    world.kube.update("RayService", NS, old, status=broken("10.4.0.7"))
    return world, old


async def test_replicas_that_answer_elsewhere_are_left_until_a_start_would_be_over() -> None:
    world, old = await broken_beside_another()
    await turns(world, 6)
    assert services(world) == [old] and not pool(world).get("attempts")
    world.tick(1900)
    await turns(world, 4)
    (new,) = services(world)
    assert new != old and terms(world, new)[0]["matchFields"] == AWAY


async def test_a_replica_that_recovers_beside_others_changes_nothing() -> None:
    world, old = await broken_beside_another()
    await turns(world, 2)
    world.kube.update("RayService", NS, old, status=serving_status(old))
    await turns(world, 2)
    assert services(world) == [old] and pool(world)["phase"] == "Running" and not pool(world).get("attempts")


async def test_where_the_others_have_no_room_all_nodes_are_taken_again() -> None:
    world = World()
    old = await serving(world)
    world.holding.add("serve")
    world.kube.update("RayService", NS, old, status=broken("10.4.0.7"))
    await turns(world, 3)
    (new,) = services(world)
    full = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "Insufficient nvidia.com/gpu",
    }
    world.kube.update("Pod", NS, f"{new}-pod", status={"conditions": [full]})
    await turns(world, 3)
    assert services(world) == [new]
    world.tick(1900)
    world.holding.clear()
    await turns(world, 4)
    (last,) = services(world)
    assert "matchFields" not in terms(world, last)[0] and pool(world)["phase"] == "Running"
    assert [a["reason"] for a in pool(world)["attempts"]] == ["GpuFault", "StartupTimeout"]


async def test_a_node_that_was_taken_again_for_want_of_others_is_not_left_again() -> None:
    """Of a cluster of one node: else it would be half an hour without a place after each failure, and no end of it."""
    world = World()
    service = await serving(world)
    fault = AttemptStatus(attempt=1, cause=Cause.INFRA, reason="GpuFault", node="gpu-7",
                          finished_at=format_time(world.now))  # fmt: skip
    full = fault.model_copy(update={"attempt": 2, "cause": Cause.CAPACITY, "reason": "StartupTimeout", "node": None})
    world.kube.update("RolloutPool", NS, "policy", status=pool(world) | {"attempts": [fault.dump(), full.dump()]})
    world.kube.update("RayService", NS, service, status=broken("10.4.0.7"))
    await turns(world, 4)
    assert services(world) == [service], "Ray Serve starts the replica again"
    world.tick(1900)
    await turns(world, 2)
    assert services(world) == [service] and pool(world)["phase"] == "Failed" and pool(world)["cause"] == "Infra"


def remembered(world: World, *nodes: str) -> None:
    """As if these nodes' GPUs had failed just now."""
    ends = [
        AttemptStatus(attempt=n, cause=Cause.INFRA, reason="GpuFault", node=node, finished_at=format_time(world.now))
        for n, node in enumerate(nodes, 1)
    ]
    world.kube.update("RolloutPool", NS, "policy", status=pool(world) | {"attempts": [e.dump() for e in ends]})


async def test_a_pool_that_serves_is_not_rolled_for_a_node_that_it_remembers() -> None:
    world = World()
    service = await serving(world)
    remembered(world, "gpu-1")
    await turns(world, 3)
    assert services(world) == [service] and pool(world)["phase"] == "Running"


async def test_a_node_is_forgotten_after_a_week_but_not_before_another_rayservice_is_due() -> None:
    world = World()
    service = await serving(world)
    remembered(world, "gpu-1")
    world.tick(timedelta(days=8).total_seconds())
    await turns(world, 2)
    assert services(world) == [service] and pool(world)["attempts"]
    world.kube.update("RayService", NS, service, status=broken("10.4.0.7"))
    await turns(world, 3)
    assert {a["node"] for a in pool(world)["attempts"]} == {"gpu-1"}, "the RayService that avoids it was made first"
    (service,) = services(world)
    place(world, service, "gpu-7", "10.4.0.7")
    world.kube.update("RayService", NS, service, status=broken("10.4.0.7"))
    await turns(world, 4)
    assert [a["node"] for a in pool(world)["attempts"]] == ["gpu-7"]
    assert terms(world, services(world)[0])[0]["matchFields"] == AWAY


async def test_a_rayservice_whose_deletion_was_lost_goes_at_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    old = await serving(world)
    world.holding.add("serve")
    world.kube.update("RayService", NS, old, status=broken("10.4.0.7"))

    async def lost(*_: object) -> None:
        raise Retryable("the operator is killed")

    with monkeypatch.context() as patch:
        patch.setattr(world.kube, "delete", lost)
        await world.look()
    assert services(world) == [old] and pool(world)["attempts"]
    world.tick(60)
    await turns(world, 3)
    (new,) = services(world)
    assert new != old


async def test_a_round_does_not_notice_that_its_pool_moved() -> None:
    world = World()
    world.apply(ROUND)
    world.holding.add("EvaluateBase")
    await world.run(until="EvaluateBase")
    (old,) = services(world)
    place(world, old, "gpu-7", "10.4.0.7")
    world.kube.update("RayService", NS, old, status=broken("10.4.0.7"))
    await turns(world, 4)
    (new,) = services(world)
    assert new != old and terms(world, new, "headGroupSpec")[0]["matchFields"] == AWAY
    world.holding.clear()
    await world.run()
    assert world.status()["verdict"] == "Promoted" and not world.status().get("attempts")


async def test_five_nodes_in_a_week_are_no_matter_of_nodes() -> None:
    world = World()
    await serving(world)
    remembered(world, *(f"n{n}" for n in range(5)))
    (old,) = services(world)
    world.kube.update("RayService", NS, old, status=broken("10.4.0.7"))
    await turns(world, 4)
    (service,) = services(world)
    place(world, service, "gpu-7", "10.4.0.7")
    world.kube.update("RayService", NS, service, status=broken("10.4.0.7", "DEPLOY_FAILED"))
    await turns(world, 3)
    assert services(world) == [service]
    assert pool(world)["phase"] == "Failed" and pool(world)["cause"] == "Infra"
