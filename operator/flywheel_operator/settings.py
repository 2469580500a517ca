"""The operator's configuration as a value: sizes, places and times. `config_file` reads it.

The CPU flavour's sizes were measured on a 2-core node with a 135M model; the GPU flavour's are for 80 GB cards and want
a look at the first install. What every process of an image needs is in that image; here stand sizes and places.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from flywheel_api.base import DNS_DOMAIN_PATTERN, IMAGE_PATTERN, RAY_VERSION_PATTERN
from flywheel_api.bounds import Quantity, scalar_text
from flywheel_api.overrides import PROMPTED, prompts
from flywheel_api.pods.allowed import AllowList
from flywheel_api.pods.template import Labels, PodShape

Text = Annotated[str, BeforeValidator(scalar_text)]
Image = Annotated[str, Field(pattern=IMAGE_PATTERN, max_length=512)]
ANY_ADDRESS = "0.0.0.0"
"""`dashboard-host` of the head; where pods have IPv6 addresses `config_file` makes it `::`."""


class Model(BaseModel):
    """camelCase in YAML; unknown keys are refused, so that a typing error in values is not silently ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class Sizes(Model):
    """Requests and limits of a container, as Kubernetes quantities."""

    requests: dict[str, Quantity] = Field(default_factory=dict, description="What the scheduler sets aside.")
    limits: dict[str, Quantity] = Field(default_factory=dict, description="What the container may use at most.")


class RayShape(Model):
    """Pods of a Ray cluster: a head, and workers where the work spans GPU nodes.

    On CPU the head does all the work (`worker` is not used). On GPUs each node is a worker and gets
    `nvidia.com/gpu: gpusPerNode` in requests and limits; the head runs only the driver.
    """

    image: Image = Field(description="Image of every container, the init container included.")
    head: Sizes = Field(description="Sizes of the head.")
    worker: Sizes = Field(default=Sizes(), description="Sizes of a worker.")
    head_ray_start_params: dict[str, Text] = Field(
        default_factory=dict, description="Arguments of ray start on the head. CPUs and GPUs named here are logical."
    )
    worker_ray_start_params: dict[str, Text] = Field(
        default_factory=dict, description="Arguments of ray start on workers."
    )
    env: dict[str, Text] = Field(
        default_factory=dict, description="Environment of all containers; null unsets a default."
    )
    driver: int | None = Field(
        default=None,
        ge=1,
        description="Lowest major version of NVIDIA's driver that the image runs on (its label dev.flywheel.driver). "
        "Nodes whose labels say an older one are no place for it; null asks for none.",
    )
    shm_size: Quantity = Field(
        default="2Gi", description="sizeLimit of /dev/shm, which holds Ray's object store; it counts as memory."
    )
    model_dir_size: Quantity | None = Field(
        default=None, description="sizeLimit of the emptyDir that holds the weights."
    )
    pod: PodShape = Field(default=PodShape(), description="Where and how these pods run.")
    head_pod: PodShape | None = Field(
        default=None,
        description="The same for a head that does no work itself, as on GPUs; set it takes the place of `pod` there.",
    )


def _no_prompt_form(overrides: dict[str, Any]) -> dict[str, Any]:
    """No hardware needs one, and it would hold in trainings alone: the policy is mined and measured by endpoints."""
    if any(prompts(key) for key in overrides):
        raise ValueError(
            f"{PROMPTED} is no matter of hardware: set it in an RLJob's overrides, or as a round's extraBody"
        )
    return overrides


class Flavour(Model):
    """Everything that differs between training on CPU (gpus 0) and on GPUs."""

    trainer: RayShape = Field(description="Ray cluster of an RLJob.")
    rollout: RayShape = Field(description="Ray cluster of a RolloutPool.")
    init: Sizes = Field(
        default=Sizes(requests={"cpu": "100m", "memory": "128Mi"}, limits={"memory": "512Mi"}),
        description="Sizes of the init container that fetches the weights.",
    )
    overrides: Annotated[dict[str, Any], AfterValidator(_no_prompt_form)] = Field(
        default_factory=dict, description="verl keys that this hardware needs; an RLJob's own overrides win."
    )


class JobShape(Model):
    """Pods of the CPU stages."""

    image: Image = Field(default="localhost/flywheel/jobs:dev", description="Image of the stages.")
    resources: Sizes = Field(
        default=Sizes(requests={"cpu": "100m", "memory": "256Mi"}, limits={"memory": "2Gi"}),
        description="Sizes of a stage's container.",
    )
    env: dict[str, Text] = Field(default_factory=dict, description="Environment of the stages; null unsets a default.")
    pod: PodShape = Field(default=PodShape(), description="Where and how these pods run.")
    shards: int = Field(default=1, ge=1, le=1024, description="Indexed Job completions of a stage.")
    stall_after_seconds: float = Field(
        default=900, gt=0, description="A stage without progress for so long is retried."
    )
    startup_seconds: float = Field(
        default=900, gt=0, description="How long a pod may take to start before it is replaced."
    )
    retries: int = Field(default=3, ge=0, description="Failures of the program itself that a stage may have.")
    endpoint_patience_seconds: float = Field(
        default=120,
        gt=0,
        description="How long a stage waits for an endpoint that does not answer before it ends to be retried.",
    )


class Timing(Model):
    """Intervals in seconds."""

    poll: float = Field(
        default=2.5,
        gt=0,
        description="Shortest pause between two looks at the store while something runs; reads only. The next look at "
        "what stands still comes after half of the time that it has stood still, 30 s at most.",
    )
    preflight: float = Field(default=10, gt=0, description="Between two tries of a failing preflight.")
    resync: float = Field(default=300, gt=0, description="Every object is looked at this often, whatever was watched.")
    request: float = Field(default=30, gt=0, description="Time limit of one request to Kubernetes or the store.")
    store_probe: float = Field(default=300, gt=0, description="How long a passed probe of a store is believed.")
    manifest_grace: float = Field(
        default=30, gt=0, description="How long a finished pod's manifest may take to appear."
    )
    back_off: float = Field(default=10, gt=0, description="First back-off of a retry; doubles.")
    back_off_limit: float = Field(default=300, gt=0, description="Longest back-off of a retry.")
    stuck_after: float = Field(default=120, gt=0, description="Liveness fails when a key waits for so long.")


_CPU_TRAINER_ENV = {
    "OMP_NUM_THREADS": "2",
    "MALLOC_ARENA_MAX": "1",  # glibc's heaps, one a thread, kept 0.5 GB of what was freed; a step takes as long
    "RAY_prestart_worker_first_driver": "0",
    "RAY_DEDUP_LOGS": "0",
}
_CPU_ROLLOUT_ENV = {"OMP_NUM_THREADS": "2", "VLLM_CPU_KVCACHE_SPACE": "1", "RAY_prestart_worker_first_driver": "0"}


def _cpu_flavour() -> Flavour:
    """Measured with a 135M model on 2 cores: trainer peaks at 12.3 GB, pool at 6.7 GB.

    num-cpus and num-gpus are logical: verl asks for 16 CPU slots and one device, whatever the machine has.
    """
    return Flavour(
        trainer=RayShape(
            image="localhost/flywheel/ray-cpu:dev",
            head=Sizes(requests={"cpu": "100m", "memory": "2Gi"}, limits={"memory": "15Gi"}),
            head_ray_start_params={
                "num-cpus": "16",
                "num-gpus": "1",
                "object-store-memory": "500000000",
                "dashboard-host": ANY_ADDRESS,
            },
            env=_CPU_TRAINER_ENV,
        ),
        rollout=RayShape(
            image="localhost/flywheel/ray-cpu:dev",
            head=Sizes(requests={"cpu": "100m", "memory": "2Gi"}, limits={"memory": "9Gi"}),
            head_ray_start_params={
                "num-cpus": "8",
                "num-gpus": "0",
                "object-store-memory": "200000000",
                "dashboard-host": ANY_ADDRESS,
            },
            env=_CPU_ROLLOUT_ENV,
        ),
    )


CUDA_13 = 580
"""The driver that CUDA 13 of the locked packages needs: NVIDIA's releases r580 and newer."""


def _gpu_flavour() -> Flavour:
    """One pod a node with all its GPUs; the head has no GPU.

    A training's head has logical CPUs: TransferQueue pins storage to every Ray node and fails on one without
    (ActorUnschedulableError), and verl's task runner had better not be beside the policy.
    """
    head = Sizes(requests={"cpu": "4", "memory": "16Gi"}, limits={"memory": "64Gi"})
    params = {"num-cpus": "0", "num-gpus": "0", "dashboard-host": ANY_ADDRESS}
    return Flavour(
        trainer=RayShape(
            image="localhost/flywheel/trainer-gpu:dev",
            head=head,
            worker=Sizes(requests={"cpu": "32", "memory": "512Gi"}, limits={"memory": "1024Gi"}),
            head_ray_start_params=params | {"num-cpus": "16"},
            driver=CUDA_13,
            shm_size="128Gi",
        ),
        rollout=RayShape(
            image="localhost/flywheel/rollout-gpu:dev",
            head=head,
            worker=Sizes(requests={"cpu": "8", "memory": "64Gi"}, limits={"memory": "256Gi"}),
            head_ray_start_params=params,
            driver=CUDA_13,
            shm_size="32Gi",
        ),
        init=Sizes(requests={"cpu": "1", "memory": "1Gi"}, limits={"memory": "4Gi"}),
    )


class OperatorConfig(Model):
    """The whole file. Every field has a default, so an empty file is a working CPU configuration."""

    namespaces: list[str] = Field(default_factory=list, description="Namespaces to serve; empty serves all.")
    common_labels: Labels = Field(
        default_factory=dict, description="Labels of every object and pod of ours; ours and a pod's own win."
    )
    common_annotations: dict[str, Text] = Field(
        default_factory=dict, description="Annotations of every object and pod of ours; a pod's own win."
    )
    cpu: Flavour = Field(default_factory=_cpu_flavour, description="Used when gpusPerNode or gpusPerReplica is 0.")
    gpu: Flavour = Field(default_factory=_gpu_flavour, description="Used when they are 1 or more.")
    job: JobShape = Field(default=JobShape(), description="Pods of the CPU stages.")
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="Of all containers of ours."
    )
    image_pull_secrets: list[str] = Field(
        default_factory=list, description="Secrets for pulling images; they must exist where the pods run."
    )
    service_account_name: str | None = Field(default=None, description="Of all pods of ours; they never get its token.")
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Extended resource that GPUs are asked for as.")
    nodes_on_demand: bool | None = Field(
        default=None,
        description="Whether somebody makes nodes as pods want them: what nodes lack is then a warning in the "
        "condition NodesFit, else it stops in Preflight. Null: so it is where a node has the label of Karpenter's or a "
        "cloud's node pools.",
    )
    run_as_user: int = Field(
        default=10001,
        ge=1,
        le=2**31 - 1,
        description="User and group of all our processes; images are built for 10001.",
    )
    ray_version: str = Field(
        default="2.60.0",
        pattern=RAY_VERSION_PATTERN,
        max_length=32,
        description="Ray of the images, all three parts; KubeRay wants to be told.",
    )
    ray_service_token_auth: bool = Field(
        default=True,
        description="Token authentication of a pool's Ray dashboard; the OpenAI port is not touched by it.",
    )
    upload_floor: Quantity = Field(
        default="100Mi",
        description="Bytes a second that a node is sure to write to the store. Training pods get the time of a "
        "checkpoint at this rate as grace period.",
    )
    upload_grace_seconds: int = Field(
        default=600, ge=30, le=86400, description="That grace period where the size of the model is not known."
    )
    ttl_seconds_after_finished: int = Field(
        default=10, ge=0, description="Of RayJobs; the operator deletes them anyway."
    )
    pod_template: AllowList = Field(
        default=AllowList(),
        description="What objects may override of their pods; what is not allowed is an InvalidSpec.",
    )
    timing: Timing = Field(default=Timing(), description="Intervals and time limits, in seconds.")
    workers: int = Field(default=8, ge=1, le=256, description="Objects reconciled at the same time.")
    http_port: int = Field(default=8080, ge=1, le=65535, description="/healthz and /metrics.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Lowest level that is logged; kopf's own lines from WARNING on."
    )
    cluster_domain: str = Field(
        default="",
        pattern=DNS_DOMAIN_PATTERN,
        description="Appended to Service names, e.g. cluster.local; empty is enough.",
    )

    def flavour(self, gpus: int) -> Flavour:
        """The flavour for that many GPUs per node or replica."""
        return self.gpu if gpus > 0 else self.cpu
