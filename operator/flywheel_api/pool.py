"""RolloutPool: vLLM servers on KubeRay that a round samples from. Usable without any round."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from flywheel_api.base import (
    SERVED_NAME_PATTERN,
    ApiModel,
    Duration,
    Message,
    ModelRef,
    Name,
    StatusModel,
    Timestamp,
    config_with_rules,
)
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus, ChildRef, GpuAccount, StoreRef
from flywheel_api.conditions import Conditions
from flywheel_api.pods.template import LikePodTemplate, PodTemplate

SERVE_PORT = 8000


_ENGINE_SAYS = {
    "model": "set the pool's model",
    "served_model_name": "set servedModelName",
    "max_model_len": "set engine.maxModelLen",
    "host": "Ray Serve listens, not vLLM",
    "port": "Ray Serve listens, not vLLM",
    "api_key": "pools ask for no key: say in networkPolicy.poolClients who may call them",
}
"""Arguments that are said elsewhere, or are of vLLM's own server, which does not run here."""


class EngineSpec(ApiModel):
    """vLLM engine arguments. `args` takes any other, by its name in vLLM's AsyncEngineArgs."""

    max_model_len: Annotated[int, Field(ge=64, le=10_485_760)] = Field(
        default=40960, description="Tokens of prompt and completion together."
    )
    max_num_seqs: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="Sequences decoded at once; unset leaves it to vLLM."
    )
    args: Annotated[dict[str, Any], Field(max_length=64)] = Field(
        default_factory=dict,
        json_schema_extra={"additionalProperties": {"x-kubernetes-preserve-unknown-fields": True}},
        description="Any other engine argument, such as gpu-memory-utilization: 0.9.",
    )


HEAD_ON_GPUS = (
    "!has(self.headTemplate) || self.gpusPerReplica > 0",
    "on CPU the Ray head serves: say what you want of its pod in podTemplate, and leave headTemplate out",
)


class PoolTemplate(ApiModel):
    """The shape of a pool, without its model: what a round carries inline."""

    replicas: Annotated[int, Field(ge=1, le=1024)] = Field(default=1, description="Servers of the model.")
    gpus_per_replica: Annotated[int, Field(ge=0, le=64, description="0 serves on CPU; tensor parallel otherwise.")] = 1
    engine: EngineSpec = EngineSpec()
    startup_timeout: Duration = Field(
        default="30m",
        description="How long the servers may take to answer, from the last byte of their model that came, before the "
        "pool counts as failed. An engine that fetches an hf:// model itself tells of no bytes: allow for that.",
    )
    pod_template: PodTemplate = PodTemplate()
    head_template: LikePodTemplate | None = Field(
        default=None,
        description="The fields of podTemplate for the Ray head beside GPUs, which serves nothing itself.",
    )

    model_config = config_with_rules(HEAD_ON_GPUS)


def unfit_arguments(template: PoolTemplate) -> Iterator[str]:
    """What of `engine.args` no engine takes: it would be found out on GPUs, after the weights have come.

    For whoever starts servers. It is no rule of the model: what runs, or is over, was taken by an earlier release, and
    its engine cannot be changed any more.
    """
    for given, value in template.engine.args.items():
        name, where = given.replace("-", "_"), f"engine.args.{given}"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            yield f"engine.args {given!r} is no name of an argument: write one such as gpu-memory-utilization"
        elif name in _ENGINE_SAYS:
            yield f"{where} is not set there: {_ENGINE_SAYS[name]}"
        elif name == "max_num_seqs" and template.engine.max_num_seqs is not None:
            yield f"{where} says what engine.maxNumSeqs says: leave one out"
        elif name == "gpu_memory_utilization" and not (_is_number(value) and 0 < value <= 1):
            yield f"{where} is the share of a GPU's memory: a number above 0 and at most 1"
        elif name == "tensor_parallel_size" and not _fill(value, template.gpus_per_replica):
            yield (
                f"{where} {value} does not divide gpusPerReplica {template.gpus_per_replica}: leave it out, and all "
                "of them are used"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _fill(ranks: Any, gpus: int) -> bool:
    """Whether so many ranks share a replica's GPUs; without GPUs it is not looked at."""
    return gpus == 0 or (isinstance(ranks, int) and ranks >= 1 and gpus % ranks == 0)


class RolloutPoolSpec(PoolTemplate):
    """Servers of one model behind one stable OpenAI-compatible Service, named like the pool."""

    model: ModelRef | None = Field(
        default=None, description="A committed checkpoint, one under an s3:// prefix, or a hub id."
    )
    round: Name | None = Field(
        default=None, description="Serves what that round of this namespace promoted; waits for it."
    )
    served_model_name: Annotated[str, Field(pattern=SERVED_NAME_PATTERN, max_length=128)] = Field(
        default="policy", description="Model name that clients send."
    )
    store: StoreRef = StoreRef()

    model_config = config_with_rules(
        HEAD_ON_GPUS,
        ("has(self.round) != has(self.model)", "set exactly one of round and model"),
        ("self.gpusPerReplica > 0 || self.replicas <= 4", "a CPU pool (gpusPerReplica 0) has at most 4 replicas"),
    )


class WeightsStatus(StatusModel):
    """How many ready replicas serve a digest."""

    digest: str = Field(description="Digest of a checkpoint.")
    replicas: int = Field(description="Ready replicas that serve it.")


class RolloutPoolStatus(GpuAccount):
    """What is served right now."""

    observed_generation: int = Field(default=0, description="metadata.generation that this status answers.")
    conditions: Conditions = Field(
        default_factory=list, description="Ready, Reconciling, Stalled, Preflight, NodesFit, StorageReady."
    )
    phase: str | None = Field(default=None, description="For people only: Pending, Queued, Starting, Running, Failed.")
    cause: Cause | None = Field(default=None, description="Class of why it failed; a round decides by it.")
    endpoint: str | None = Field(
        default=None, description="Base URL of the OpenAI-compatible API; absent while no replica answers."
    )
    replicas: int = Field(default=0, description="Serving pods that exist, ready or not; what /scale reads.")
    ready_replicas: int = Field(default=0, description="Replicas that answer behind the Service.")
    selector: str | None = Field(default=None, description="Label selector of the serving pods, for /scale.")
    model_digest: str | None = Field(
        default=None, description="Digest of the model served, or the reference itself for one from a hub."
    )
    weights: Annotated[list[WeightsStatus], Field(max_length=16)] = Field(
        default_factory=list,
        description="Ready replicas by the digest that they serve.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["digest"]},
    )
    lagging_replicas: int = Field(
        default=0, description="Replicas that still serve the former model while the new one starts."
    )
    child: ChildRef | None = Field(default=None, description="The RayService that carries the current revision.")
    started_at: str | None = Field(
        default=None,
        description="When the current revision began to start; startupTimeout counts from here, or from the last byte "
        "of its model.",
    )
    attempts: Annotated[list[AttemptStatus], Field(max_length=16)] = Field(
        default_factory=list,
        description="RayServices that were given up for another one, the last five: a GPU failed on the node that is "
        "named, or no other node had room. Later RayServices keep away from these nodes while others have room; what "
        "is older than a week goes when the next is added.",
    )
    queued_since: Timestamp | None = Field(
        default=None, description="Since when somebody holds the servers back, such as a queue or a quota."
    )
    progress: Message | None = Field(default=None, description="What is going on, in words.")
