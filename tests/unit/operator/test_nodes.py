"""What the cluster's nodes cannot hold is said before a GPU is asked for, in a sentence that says what to do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from flywheel_api.bounds import quantity
from flywheel_api.pods.template import PodTemplate
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.rljob import RLJobSpec
from flywheel_operator.model import Meta
from flywheel_operator.observe.nodes import NodeBook, job_groups, parsed_group, parsed_node, pool_groups
from flywheel_operator.plan.nodes import Group, Node, judge, misfit
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import NODES
from flywheel_operator.settings import OperatorConfig
from golden import load
from unit.operator.test_does_not_fit import POOL, TEACHER
from unit.operator.world import NS, World

GPU = "nvidia.com/gpu"
DRIVER = "nvidia.com/cuda.driver-version.major"
TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}
GONE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
Object = dict[str, Any]


def node(name: str, gpus: int = 8, memory: str = "1024Gi", taint: Object | None = None) -> Object:
    meta = {"name": name, "namespace": "", "labels": {}}
    status = {"allocatable": {"cpu": "95900m", "memory": memory, "pods": "110", GPU: str(gpus)}}
    spec = {"taints": [taint]} if taint else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec, "status": status}


def labelled(key: str, value: str, gpus: int = 8) -> Object:
    made = node("labelled", gpus)
    made["metadata"]["labels"] = {key: value}
    return made


def parsed(nodes: list[Object]) -> list[Node]:
    return [parsed_node(one) for one in nodes]


def workers(count: int = 2, **pod: Any) -> Group:
    """The workers of a training, of 8 GPUs each."""
    labels = pod.pop("labels", {})
    sizes = {"requests": {"cpu": "32", "memory": "512Gi", GPU: "8"}, "limits": {GPU: "8"}}
    init = {"resources": {"requests": {"memory": "600Gi"}}}
    spec = {"containers": [{"resources": sizes}], "initContainers": [init], **pod}
    return parsed_group("the workers", count, {"metadata": {"labels": labels}, "spec": spec}, driver=580)


def affinity(*requirements: Object, fields: tuple[Object, ...] = ()) -> Object:
    term = {"matchExpressions": list(requirements), "matchFields": list(fields)}
    how = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}, term]}}
    return {"nodeAffinity": how}


def wants(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, "values": list(values)}


def one(where: Object) -> Group:
    """A single worker with that said of its pod."""
    return workers(1, **where)


def near(*requirements: Object, fields: tuple[Object, ...] = ()) -> Group:
    return one({"affinity": affinity(*requirements, fields=fields)})


def tolerant(**toleration: str) -> Group:
    return one({"tolerations": [toleration]})


H100, PAIR, CPU, TAINTED = (
    {"nodeSelector": {"gpu": "h100"}},
    [node("a"), node("b")],
    node("cpu", 0),
    node("a", taint=TAINT),
)
OLD, NEW = labelled(DRIVER, "550"), labelled(DRIVER, "580")
ZONE_A, GEN_9, QUEUE = labelled("zone", "a"), labelled("gen", "9"), {"kueue.x-k8s.io/queue-name": "q"}
ALL = "are 3 at once, of nvidia.com/gpu 8, cpu 32, memory 600Gi each, and the nodes for them hold 2"
CASES: list[tuple[str, Group, list[Object], str | None]] = [
    ("there are enough", workers(), [*PAIR, CPU], None),
    ("no node has a GPU", workers(), [CPU], "ask for nvidia.com/gpu, which no node offers"),
    ("too few together", workers(3), PAIR, ALL),
    ("too few each", workers(), [node("a", 4), node("b", 4)], "nvidia.com/gpu 8 (the largest has 4)"),
    ("an init container is larger", workers(), [node("a", 8, "550Gi")], "memory 600Gi (the largest has 550Gi)"),
    ("no node has both", workers(), [node("a", 4), node("b", 8, "1Gi")], "cpu 32, memory 600Gi together"),
    ("two on one large node", workers(2), [node("a", 16, "2048Gi")], None),
    ("no node has the label", one(H100), PAIR, "want the labels gpu=h100, which none of the 2 nodes with nvidia"),
    ("only nodes without GPUs have it", one(H100), [*PAIR, labelled("gpu", "h100", 0)], "want the labels gpu=h100"),
    ("only one of two has it", workers(2, **H100), [labelled("gpu", "h100"), node("b")], "hold 1"),
    ("a taint", workers(), [TAINTED, CPU], "do not tolerate nvidia.com/gpu=present:NoSchedule"),
    ("a taint that is tolerated", tolerant(key=GPU, operator="Exists"), [TAINTED], None),
    ("by its value", tolerant(**TAINT), [TAINTED], None),
    ("another value", tolerant(**TAINT | {"value": "x"}), [TAINTED], "do not tolerate"),
    ("another effect", tolerant(key=GPU, operator="Exists", effect="NoExecute"), [TAINTED], "do not tolerate"),
    ("anything is tolerated", tolerant(operator="Exists"), [TAINTED], None),
    ("rather not is no reason", workers(1), [node("a", taint=TAINT | {"effect": "PreferNoSchedule"})], None),
    ("a node that is away may come back", workers(1), [node("a", taint=GONE)], None),
    ("a queue's flavour tolerates", workers(1, labels=QUEUE), [TAINTED], None),
    ("the driver is old", workers(1), [OLD], "needs NVIDIA driver 580 or newer, and the newest on the nodes"),
    ("one driver of two is old", workers(2), [OLD, NEW], "hold 1"),
    ("the driver is new enough", workers(1), [NEW], None),
    ("affinity that no node meets", near(wants("zone", "In", "a")), PAIR, "have a nodeAffinity that none of the 2"),
    ("affinity that is met", near(wants("zone", "In", "b", "a")), [ZONE_A], None),
    ("not there", near(wants("zone", "NotIn", "a")), [ZONE_A], "nodeAffinity"),
    ("larger than", near(wants("gen", "Gt", "8")), [GEN_9], None),
    ("not larger than", near(wants("gen", "Gt", "9")), [GEN_9], "nodeAffinity"),
    ("smaller than", near(wants("gen", "Lt", "10")), [GEN_9], None),
    ("not smaller than", near(wants("gen", "Lt", "9")), [GEN_9], "nodeAffinity"),
    ("has it", near(wants("zone", "Exists")), PAIR, "nodeAffinity"),
    ("has it not", near(wants("zone", "DoesNotExist")), PAIR, None),
    ("by name", near(fields=(wants("metadata.name", "NotIn", "a"),)), [node("a")], "nodeAffinity"),
]  # fmt: skip


@pytest.mark.parametrize(("group", "nodes", "says"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_nodes_lack(group: Group, nodes: list[Object], says: str | None) -> None:
    found = misfit(group, parsed(nodes))
    assert (found is None) is (says is None), found
    assert says is None or says in str(found)


@pytest.mark.parametrize(
    ("nodes", "on_demand", "fit", "refused"),
    [
        ([CPU], None, False, True),
        ([CPU], True, False, False),
        ([labelled("karpenter.sh/nodepool", "cpu", 0)], None, False, False),
        ([labelled("eks.amazonaws.com/nodegroup", "cpu", 0)], False, False, True),
        ([], None, None, False),
        (PAIR, False, True, False),
    ],
)  # fmt: skip
def test_only_where_nobody_makes_nodes_is_it_refused(
    nodes: list[Object], on_demand: bool | None, fit: bool | None, refused: bool
) -> None:
    seen = judge([workers()], parsed(nodes), on_demand)
    assert (seen.fit, seen.refused) == (fit, refused)
    assert refused is (seen.problem is not None)


def test_a_driver_that_no_node_tells_is_said() -> None:
    assert "no node says which it has" in judge([workers()], parsed(PAIR), None).text
    assert judge([workers()], parsed([NEW, node("b")]), None).text == ""


def test_of_an_image_of_ones_own_nobody_knows_the_driver() -> None:
    config, meta = OperatorConfig(), Meta("any", NS, "uid", 1)
    own = {"pod_template": PodTemplate(image="registry.example.com/own:1")}
    job, pool = RLJobSpec.model_validate(load("rljob")[1]), RolloutPoolSpec.model_validate(load("rolloutpool")[1])
    jobs = [job_groups(config, meta, spec) for spec in (job, job.model_copy(update=own))]
    pools = [pool_groups(config, meta, spec, "sha256:0") for spec in (pool, pool.model_copy(update=own))]
    for ours, other in (jobs, pools):
        assert [g.driver for g in ours] == [None, 580] and [g.driver for g in other] == [None, None]


def big(world: World, **training: Any) -> None:
    world.apply_as("big", endpoints=[TEACHER, POOL], training={"preset": "agenticqwen-8b", **training})


def seeded(*nodes: Object, config: OperatorConfig | None = None) -> World:
    world = World(config)
    for one in nodes:
        world.kube.seed(one)
    return world


async def test_a_round_that_no_nodes_can_hold_waits_and_goes_on_when_they_are_there() -> None:
    world = seeded(CPU, node("a", 4))
    big(world)
    await world.look()
    said, stalled, fit = (world.condition(kind, name="big") for kind in ("Preflight", "Stalled", "NodesFit"))
    assert (said["status"], said["reason"], stalled["status"], fit["status"]) == (
        "False",
        "NoNodeFits",
        "True",
        "False",
    )
    assert "the workers of the round's pool are 8 at once" in said["message"]
    assert world.of_kind("Job") == [] and world.of_kind("RayService") == []
    world.kube.seed(node("b"))
    world.tick(5)
    await world.look()
    assert "the workers of the round's pool" in world.condition("Preflight", name="big")["message"], "believed for 10 s"
    world.tick(5)
    await world.look()
    assert world.condition("Preflight", name="big")["status"] == "True"
    assert world.condition("NodesFit", name="big")["status"] == "True"


async def test_the_largest_of_what_takes_turns_counts_and_not_the_sum() -> None:
    world = seeded(node("a"))
    big(world)
    await world.look()
    assert world.condition("NodesFit", name="big")["status"] == "True", "8 GPUs for the pool, then 8 for training"
    world = seeded(node("a"))
    big(world, nodes=2)
    await world.look()
    assert "the workers of training.reasoning are 2 at once" in world.condition("NodesFit", name="big")["message"]


async def test_sizes_are_read_once_for_each_list_and_not_by_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    world = seeded(*PAIR)
    read: list[str] = []

    def counted(text: str) -> Decimal:
        read.append(text)
        return quantity(text)

    monkeypatch.setattr("flywheel_operator.observe.nodes.quantity", counted)
    book = NodeBook(world.kube, OperatorConfig(), lambda: 0.0)
    for _ in range(2):
        assert (await book.hold([workers()])).fit
    assert read.count("1024Gi") == len(PAIR)


async def test_nodes_that_are_made_on_demand_are_a_warning() -> None:
    world = seeded(CPU, config=OperatorConfig(nodes_on_demand=True))
    big(world)
    await world.look()
    said = world.condition("NodesFit", name="big")
    assert (said["status"], said["reason"]) == ("False", "NoNodeFits") and "the pods will wait" in said["message"]
    assert world.condition("Preflight", name="big")["status"] == "True"


async def test_without_the_right_to_look_it_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = seeded(CPU)
    pages = world.kube.pages

    def refused(resource: Any, *args: Any) -> Any:
        if resource is NODES:
            raise Forbidden("nodes is forbidden")
        return pages(resource, *args)

    monkeypatch.setattr(world.kube, "pages", refused)
    big(world)
    await world.look()
    said = world.condition("NodesFit", name="big")
    assert said["status"] == "Unknown" and "rbac.nodes" in said["message"]
    assert world.condition("Preflight", name="big")["status"] == "True"


@pytest.mark.parametrize(("kind", "name"), [("RLJob", "rljob"), ("RolloutPool", "rolloutpool")])
async def test_trainings_and_pools_of_a_users_own_are_looked_after_too(kind: str, name: str) -> None:
    world = seeded(CPU)
    spec = load(name)[1] | {"model": "s3://flywheel/flywheel/models/tiny"}
    if kind == "RLJob":
        spec["data"] = {"train": ["s3://d/t.parquet"]}
    meta = {"name": "own", "namespace": NS}
    world.kube.seed({"apiVersion": "flywheel.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec})
    await world.look()
    assert world.condition("Preflight", kind, "own")["reason"] == "NoNodeFits"
    assert world.of_kind("RayJob") == world.of_kind("RayService") == []
