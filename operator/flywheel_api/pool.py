"""RolloutPool: vLLM servers on KubeRay that a round samples from. Usable without any round."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from flywheel_api.base import SERVED_NAME_PATTERN, ApiModel, Duration, Message, ModelRef, StatusModel
from flywheel_api.common import ChildRef, PodTemplate, StoreRef
from flywheel_api.conditions import Conditions

SERVE_PORT = 8000


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


class PoolTemplate(ApiModel):
    """The shape of a pool, without its model: what a round carries inline."""

    replicas: Annotated[int, Field(ge=1, le=1024)] = Field(default=1, description="Servers of the model.")
    gpus_per_replica: Annotated[int, Field(ge=0, le=64, description="0 serves on CPU; tensor parallel otherwise.")] = 1
    engine: EngineSpec = EngineSpec()
    startup_timeout: Duration = "30m"
    pod_template: PodTemplate = PodTemplate()


class RolloutPoolSpec(PoolTemplate):
    """Servers of one model behind one stable OpenAI-compatible Service, named like the pool."""

    model: ModelRef
    served_model_name: Annotated[str, Field(pattern=SERVED_NAME_PATTERN, max_length=128)] = Field(
        default="policy", description="Model name that clients send."
    )
    store: StoreRef = StoreRef()

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.gpusPerReplica > 0 || self.replicas <= 4",
                    "message": "a CPU pool (gpusPerReplica 0) has at most 4 replicas",
                }
            ]
        },
    )


class WeightsStatus(StatusModel):
    """How many ready replicas serve a digest."""

    digest: str = Field(description="Digest of a checkpoint.")
    replicas: int = Field(description="Ready replicas that serve it.")


class RolloutPoolStatus(StatusModel):
    """What is served right now."""

    observed_generation: int = 0
    conditions: Conditions = Field(default_factory=list)
    phase: str | None = Field(default=None, description="For people only: Pending, Starting, Running, Failed.")
    endpoint: str | None = None
    replicas: int = 0
    ready_replicas: int = 0
    selector: str | None = None
    model_digest: str | None = None
    weights: Annotated[list[WeightsStatus], Field(max_length=16)] = Field(
        default_factory=list,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["digest"]},
    )
    lagging_replicas: int = 0
    child: ChildRef | None = None
    started_at: str | None = None
    progress: Message | None = None
