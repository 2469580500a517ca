"""The cluster's nodes, and the pods that will be made, as they are rendered: whether the ones can hold the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flywheel_api.artifacts import Owner
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
from flywheel_operator.plan.nodes import Group, judge
from flywheel_operator.plan.preflight import ANY
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import NODES, KubeApi
from flywheel_operator.render import rayjob, rayservice
from flywheel_operator.render import round as rounds
from flywheel_operator.render.common import marked
from flywheel_operator.render.job import stage_job
from flywheel_operator.settings import OperatorConfig, RayShape

_NOT_ALLOWED = "not checked: the operator may not list nodes (rbac.nodes of the chart)"


class NodeBook:
    """Nodes as they were listed last, shared by all objects that look: a large cluster has thousands."""

    def __init__(self, kube: KubeApi, config: OperatorConfig, clock: Callable[[], float]) -> None:
        self._kube, self._config, self._clock = kube, config, clock
        self._listed: tuple[float, list[Object]] | None = None

    async def hold(self, groups: Iterable[Group]) -> NodesSeen:
        """Whether the nodes can hold these pods, or that nobody could look."""
        try:
            return judge(groups, await self._nodes(), self._config.nodes_on_demand)
        except Forbidden:
            return NodesSeen(None, _NOT_ALLOWED)

    async def _nodes(self) -> list[Object]:
        """Believed until the next try of a preflight that waits."""
        now = self._clock()
        if self._listed is None or now - self._listed[0] >= self._config.timing.preflight:
            found = [_shrunk(node) async for page in self._kube.pages(NODES, None) for node in page]
            self._listed = (now, found)
        return self._listed[1]


def _shrunk(node: Object) -> Object:
    """What is judged by; a node's images alone are ten times as much."""
    return {
        "metadata": {"name": node["metadata"]["name"], "labels": node["metadata"].get("labels") or {}},
        "spec": {"taints": (node.get("spec") or {}).get("taints") or []},
        "status": {"allocatable": (node.get("status") or {}).get("allocatable") or {}},
    }


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
    found = [Group(f"the Ray head {whose}", 1, cluster["headGroupSpec"]["template"])]
    for group in cluster.get("workerGroupSpecs", ()):
        found.append(Group(f"the workers {whose}", group["replicas"], group["template"], driver))
    return found


def _stage(config: OperatorConfig, meta: Meta, spec: FlywheelRoundSpec) -> Group:
    """A pod of the CPU stages: they can go one after the other."""
    owner = Owner(kind=ROUND.kind, namespace=meta.namespace, name=meta.name, uid=meta.uid)
    stage = StageConfig(stage=Stage.PREPARE, owner=owner, attempt=1, shards=1, content_key="", spec=spec)
    body = marked(stage_job, config, meta, stage, Action(Act.CREATE, "Job", "job", Stage.PREPARE, 1))
    return Group("pods of the stages", 1, body["spec"]["template"])
