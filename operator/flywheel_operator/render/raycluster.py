"""The Ray cluster inside a RayJob or RayService: one head for CPU; a driver head and GPU workers otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from flywheel_api.base import HUB
from flywheel_api.common import StoreRef
from flywheel_api.names import NODE_TYPE
from flywheel_api.pods.template import PodTemplate
from flywheel_api.stages import IMAGE_ENV, MODEL_DIR_ENV
from flywheel_operator.model import Object
from flywheel_operator.render.common import MODEL_DIR, literal, store_env
from flywheel_operator.render.pod import CONTAINER_SECURITY, Heavy, PodRole, pod_metadata, pod_spec, sizes
from flywheel_operator.settings import Flavour, OperatorConfig, RayShape, Sizes

HOME = "/home/ray"
HEAD_PORTS = ((6379, "gcs-server"), (8265, "dashboard"), (10001, "client"))
# What is worth waiting for is away before Ray is told to stop. Without this, `ray start` of Ray 2.60 waits 30 s more
# for a head that is dead, to let go of work that is none.
_NO_DRAIN = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
_LINGER: Object = {"preStop": {"exec": {"command": ["python", "-m", "flywheel_jobs.trainer.linger"]}}}
_ONLINE = {"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "0"}
"""For engines that download a hub's model themselves: an image for models of the store asks nobody."""
_PREFETCH = ("python", "-m", "flywheel_jobs", "fetch-model")


@dataclass(frozen=True)
class ClusterRequest:
    """What a Ray cluster is for. `workers` of 0 means that the head does the work, and that `template` is for it.

    `avoid` names nodes; `fetch_progress` is the key under which pods that fetch the model tell so, where their
    start is judged by it. `grace`: seconds from the request to stop to the end; `uploads` says that pods write to the
    store, and stay so long if they have to.
    """

    model: str
    store: StoreRef
    template: PodTemplate
    head_template: PodTemplate | None
    env: tuple[Object, ...]
    labels: dict[str, str]
    workers: int = 0
    gpus_per_worker: int = 0
    serve_port: int | None = None
    avoid: tuple[str, ...] = ()
    token_auth: bool = True
    fetch_progress: str | None = None
    grace: int = 10
    uploads: bool = False
    head_env: tuple[Object, ...] = ()


def ray_cluster(config: OperatorConfig, flavour: Flavour, shape: RayShape, request: ClusterRequest) -> Object:
    """A RayCluster spec."""
    cluster: Object = {
        "rayVersion": config.ray_version,
        "enableInTreeAutoscaling": False,
        "headGroupSpec": {
            "rayStartParams": dict(shape.head_ray_start_params),
            "template": _template(config, flavour, shape, request, head=True),
        },
    }
    if request.token_auth:
        cluster["authOptions"] = {"mode": "token"}
    if request.workers:
        cluster["workerGroupSpecs"] = [
            {
                "groupName": "gpu",
                "replicas": request.workers,
                "minReplicas": request.workers,
                "maxReplicas": request.workers,
                "rayStartParams": dict(shape.worker_ray_start_params),
                "template": _template(config, flavour, shape, request, head=False),
            }
        ]
    return cluster


def _template(config: OperatorConfig, flavour: Flavour, shape: RayShape, request: ClusterRequest, head: bool) -> Object:
    works = not head or request.workers == 0
    template = request.template if works else request.head_template
    chart = shape.pod if works or shape.head_pod is None else shape.head_pod
    env = (_ONLINE if request.model.startswith(HUB) else {}) | shape.env
    role = PodRole.of(chart, env, template, HOME, Heavy(shape.shm_size, shape.model_dir_size))
    image = (template.image if template is not None else None) or request.template.image or shape.image
    gpus = {config.gpu_resource: str(request.gpus_per_worker)} if works and request.gpus_per_worker else {}
    resources = sizes(shape.head if head else shape.worker, template, gpus)
    main = _main_container(config, request, role, image, resources, head)
    # every pod of a model's cluster reads the weights or the tokenizer from its own disk
    init = _fetch_container(config, flavour.init, image, request, role)
    marks = request.labels | {NODE_TYPE: "head" if head else "worker"}
    spec = pod_spec(config, role, marks, [main], [init], request.avoid)
    spec["terminationGracePeriodSeconds"] = request.grace
    return {"metadata": pod_metadata(role.shape, request.labels), "spec": spec}


def _main_container(
    config: OperatorConfig, request: ClusterRequest, role: PodRole, image: str, resources: Object, head: bool
) -> Object:
    told = (*request.env, *(request.head_env if head else ()))
    ends = _NO_DRAIN if request.uploads else {}
    container: Object = {
        "name": "ray-head" if head else "ray-worker",
        "image": image,
        "imagePullPolicy": config.image_pull_policy,
        **role.environment(
            {MODEL_DIR_ENV: MODEL_DIR, IMAGE_ENV: image, "HOME": HOME, **ends}, *store_env(request.store), *told
        ),
        "resources": resources,
        "securityContext": role.security(),
        "volumeMounts": role.mounts(),
    }
    ports = [{"containerPort": port, "name": name} for port, name in HEAD_PORTS] if head else []
    if request.serve_port is not None:
        ports.append({"containerPort": request.serve_port, "name": "serve"})
    if ports:
        container["ports"] = ports
    if request.uploads:
        container["lifecycle"] = _LINGER
    return container


def _fetch_container(config: OperatorConfig, init: Sizes, image: str, request: ClusterRequest, role: PodRole) -> Object:
    told = ["--progress", request.fetch_progress] if request.fetch_progress else []
    return {
        "name": "fetch-model",
        "image": image,
        "imagePullPolicy": config.image_pull_policy,
        "command": [*_PREFETCH, "--model", literal(request.model), "--to", MODEL_DIR, *told],
        **role.environment({"HOME": HOME}, *store_env(request.store)),
        "resources": sizes(init, None),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": role.mounts(),
    }
