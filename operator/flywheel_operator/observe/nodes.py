"""The cluster's nodes, and the pods that will be made, as they are rendered: whether the ones can hold the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from flywheel_api.artifacts import Owner
from flywheel_api.bounds import quantity
from flywheel_api.common import ModelStatus
from flywheel_api.pods.template import PodTemplate
from flywheel_api.pool import RolloutPoolSpec
from flywheel_api.presets import training_spec
from flywheel_api.resources import ROUND
from flywheel_api.results import Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.rljob_status import RLJobStatus
from flywheel_api.round import FlywheelRoundSpec, FlywheelRoundStatus
from flywheel_api.stages import TRAIN_STAGE, Stage, StageConfig
from flywheel_operator.model import Act, Action, Meta, NodesSeen, Object, RLJobSeen
from flywheel_operator.plan.nodes import DRIVER_LABELS, Group, Node, judge
from flywheel_operator.plan.preflight import ANY
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import NODES, KubeApi
from flywheel_operator.render import rayjob, rayservice
from flywheel_operator.render import round as rounds
from flywheel_operator.render.common import marked
from flywheel_operator.render.job import stage_job
from flywheel_operator.settings import OperatorConfig, RayShape

_KUEUE = "kueue.x-k8s.io/queue-name"
_NOT_ALLOWED = "not checked: the operator may not list nodes (rbac.nodes of the chart)"


class NodeBook:
    """Nodes as they were listed last, shared by all objects that look: a large cluster has thousands."""

    def __init__(self, kube: KubeApi, config: OperatorConfig, clock: Callable[[], float]) -> None:
        self._kube, self._config, self._clock = kube, config, clock
        self._listed: tuple[float, list[Node]] | None = None

    async def hold(self, groups: Iterable[Group]) -> NodesSeen:
        """Whether the nodes can hold these pods, or that nobody could look."""
        try:
            return judge(groups, await self._nodes(), self._config.nodes_on_demand)
        except Forbidden:
            return NodesSeen(None, _NOT_ALLOWED)

    async def _nodes(self) -> list[Node]:
        """Believed until the next try of a preflight that waits."""
        now = self._clock()
        if self._listed is None or now - self._listed[0] >= self._config.timing.preflight:
            found = [parsed_node(node) async for page in self._kube.pages(NODES, None) for node in page]
            self._listed = (now, found)
        return self._listed[1]


def parsed_node(node: Object) -> Node:
    """What is judged by, once for each list; a node's images alone are ten times as much."""
    labels = node["metadata"].get("labels") or {}
    offered = _sizes((node.get("status") or {}).get("allocatable") or {})
    driver = next((labels[label] for label in DRIVER_LABELS if label in labels), "")
    return Node(
        name=node["metadata"]["name"],
        labels=labels,
        taints=tuple((node.get("spec") or {}).get("taints") or ()),
        sizes={name: size for name, size in offered.items() if size},
        driver=int(driver) if driver.isdigit() else None,
    )


def parsed_group(who: str, count: int, template: Object, driver: int | None = None) -> Group:
    """Pods of one role, from the template of one."""
    pod = template["spec"]
    requests = _requests(pod)
    affinity = (pod.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return Group(
        who=who,
        count=count,
        requests=requests,
        devices=frozenset(name for name in requests if "/" in name),
        selector=pod.get("nodeSelector") or {},
        terms=None if required is None else tuple(required["nodeSelectorTerms"]),
        tolerations=tuple(pod.get("tolerations") or ()),
        queued=_KUEUE in (template["metadata"].get("labels") or {}),
        driver=driver,
    )


def _requests(pod: Object) -> dict[str, Decimal]:
    """What the scheduler sets aside for one pod: its containers together, or an init container if that is more."""
    found: dict[str, Decimal] = {}
    for container in pod["containers"]:
        for name, value in _asked(container).items():
            found[name] = found.get(name, Decimal(0)) + value
    for container in pod.get("initContainers", ()):
        for name, value in _asked(container).items():
            found[name] = max(found.get(name, Decimal(0)), value)
    return found


def _asked(container: Object) -> dict[str, Decimal]:
    """A limit counts where no request is given, as Kubernetes fills it in."""
    sizes = container.get("resources") or {}
    return _sizes((sizes.get("limits") or {}) | (sizes.get("requests") or {}))


def _sizes(quantities: Object) -> dict[str, Decimal]:
    return {name: quantity(str(value)) for name, value in quantities.items()}


def round_groups(config: OperatorConfig, meta: Meta, spec: FlywheelRoundSpec, base: ModelStatus) -> list[Group]:
    """Pods of a round. One model at a time needs memory: its pools and trainings never run together."""
    found = [_stage(config, meta, spec)]
    status = FlywheelRoundStatus(base_model=base)
    pool = rounds.pool_spec(spec, status, Stage.SERVE_BASE, {})
    found += pool_groups(config, meta, pool, base.digest, "of the round's pool")
    tracks = (Track.REASONING, spec.reasoning), (Track.AGENTIC, spec.agentic)
    for track in (name for name, made in tracks if made is not None):
        job = training_spec(spec, track, base.digest, ANY, None)
        found += job_groups(config, meta, job, f"of training.{track}")
    return found


def job_groups(config: OperatorConfig, meta: Meta, spec: RLJobSpec, whose: str = "of the training") -> list[Group]:
    """Pods of a training."""
    action = Action(Act.CREATE, "RayJob", "rayjob", TRAIN_STAGE, 1)
    body = marked(rayjob.ray_job, config, meta, spec, RLJobStatus(), RLJobSeen(), action)
    shape = config.flavour(spec.gpus_per_node).trainer
    return _cluster(body["spec"]["rayClusterSpec"], shape, spec.pod_template, whose)


def pool_groups(
    config: OperatorConfig, meta: Meta, spec: RolloutPoolSpec, digest: str, whose: str = "of the pool"
) -> list[Group]:
    """Pods of a pool."""
    action = Action(Act.CREATE, "RayService", "rayservice", params={"revision": "any"})
    body = marked(rayservice.ray_service, config, meta, spec, digest, action)
    shape = config.flavour(spec.gpus_per_replica).rollout
    return _cluster(body["spec"]["rayClusterConfig"], shape, spec.pod_template, whose)


def _cluster(cluster: Object, shape: RayShape, template: PodTemplate, whose: str) -> list[Group]:
    """Head and workers; of an image of somebody's own nobody knows which driver it needs."""
    driver = shape.driver if template.image is None else None
    found = [parsed_group(f"the Ray head {whose}", 1, cluster["headGroupSpec"]["template"])]
    for group in cluster.get("workerGroupSpecs", ()):
        found.append(parsed_group(f"the workers {whose}", group["replicas"], group["template"], driver))
    return found


def _stage(config: OperatorConfig, meta: Meta, spec: FlywheelRoundSpec) -> Group:
    """A pod of the CPU stages: they can go one after the other."""
    owner = Owner(kind=ROUND.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)
    stage = StageConfig(stage=Stage.PREPARE, owner=owner, attempt=1, shards=1, content_key="", spec=spec)
    body = marked(stage_job, config, meta, stage, Action(Act.CREATE, "Job", "job", Stage.PREPARE, 1))
    return parsed_group("pods of the stages", 1, body["spec"]["template"])
