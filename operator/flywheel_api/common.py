"""Parts that several resources share: store references, owner references in the store, attempts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from flywheel_api.base import (
    SECRET_KEY_PATTERN,
    ApiModel,
    DomainSource,
    Message,
    Name,
    SecretName,
    StatusModel,
    Timestamp,
    config_with_rules,
)
from flywheel_api.causes import Cause

DEFAULT_STORE_SECRET = "flywheel-s3"
BUILTIN_DOMAINS = ("airline", "booking", "nomination", "retail")


class Role(StrEnum):
    """Who plays what; unset roles fall back to Teacher. Nothing calls ToolSimulator or Judge yet: both are refused."""

    POLICY = "Policy"
    TEACHER = "Teacher"
    SOLVER = "Solver"
    TOOL_SIMULATOR = "ToolSimulator"
    USER_SIMULATOR = "UserSimulator"
    JUDGE = "Judge"


class Dialect(StrEnum):
    """How a conversation with tools is written for a server."""

    AUTO = "Auto"
    TEXT = "Text"
    TOOLS = "Tools"
    USER_TURNS = "UserTurns"


class Reuse(StrEnum):
    """Whether what others have made of the same is taken over."""

    ALWAYS = "Always"
    NEVER = "Never"


ReuseField = Annotated[
    Reuse,
    Field(
        description="Always takes over what the store holds of the same content, whoever made it; Never makes it anew."
    ),
]


class StoreRef(ApiModel):
    """Which S3 store to use.

    A Secret of this namespace with the keys endpoint, bucket, accessKey, secretKey and, optionally, region, prefix,
    caBundle and secure. Without accessKey and secretKey the pods' own identity counts.
    """

    secret_name: SecretName = Field(default=DEFAULT_STORE_SECRET, description="Name of that Secret.")


class DomainRef(ApiModel):
    """An environment of the agentic track: built in, or a package of your own."""

    name: Name = Field(
        description=f"Name of the domain, as its own declaration says it; built in are {', '.join(BUILTIN_DOMAINS)}."
    )
    source: DomainSource | None = Field(
        default=None, description="Where a package of your own lies; absent for one that is built in."
    )

    model_config = config_with_rules(
        (
            f"has(self.source) || self.name in {list(BUILTIN_DOMAINS)}",
            f"the built-in domains are {', '.join(BUILTIN_DOMAINS)}: give a domain of another name its source",
        )
    )


class DomainPin(StatusModel):
    """The very package that a round uses under a name."""

    name: str = Field(description="Name of the domain.")
    digest: str = Field(description="sha256:<hex> of the package, which lies in the store: a source for other rounds.")

    @property
    def ref(self) -> DomainRef:
        """The package as a spec names it."""
        return DomainRef(name=self.name, source=self.digest)


Domains = Annotated[
    list[DomainRef],
    Field(
        min_length=1,
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]


class SecretKeyRef(ApiModel):
    """One key of a Secret in the same namespace."""

    secret_name: SecretName = Field(description="Name of a Secret in this namespace.")
    key: Annotated[str, Field(pattern=SECRET_KEY_PATTERN, max_length=253)] = Field(description="Key in that Secret.")


class ChildRef(StatusModel):
    """An object that a resource made."""

    kind: str = Field(description="Kind of the object, such as Job, RayJob, RLJob or RolloutPool.")
    name: str = Field(description="Its name, in the same namespace.")


class GpuAccount(StatusModel):
    """What an object's pods held of GPUs up to a moment, and what they hold since: time alone writes nothing."""

    gpu_seconds: str | None = Field(default=None, description="GPU-seconds up to heldSince; absent on CPU.")
    held_gpus: int = Field(default=0, description="GPUs that its pods hold.")
    held_since: Timestamp | None = Field(
        default=None, description="Since when its pods hold as many GPUs as now; absent while they hold none."
    )


class ModelStatus(StatusModel):
    """A committed checkpoint."""

    uri: str = Field(description="Where it is: s3://bucket/prefix, or the reference that the spec gave.")
    digest: str = Field(description="sha256:<hex> of its manifest: what spec.base.model and spec.model take.")
    step: int | None = Field(
        default=None, description="Training step of the checkpoint; absent when it was not trained here."
    )


class ReusedFrom(StatusModel):
    """The object that made a result which another one took over."""

    kind: str = Field(description="FlywheelRound or RLJob.")
    name: str = Field(description="Its name; it need not exist any more.")
    attempt: int = Field(default=0, description="Its attempt.")
    step: int | None = Field(default=None, description="Step that a training went on from; absent if it was finished.")


class AttemptStatus(StatusModel):
    """One ended attempt and why it ended."""

    stage: str | None = Field(default=None, description="Stage of the round; absent in an RLJob, which has one.")
    attempt: int = Field(description="Number of the attempt, from 1.")
    cause: Cause = Field(
        description="Why it ended; the cause decides whether it is retried and whether that uses up a retry."
    )
    reason: str = Field(default="", description="One word for what happened, such as OOMKilled or NoProgress.")
    message: Message = Field(default="", description="The evidence in a sentence.")
    node: str | None = Field(
        default=None, description="The node whose hardware failed; the attempts after it stay away from it."
    )
    started_at: Timestamp | None = Field(default=None, description="When the attempt was written down.")
    finished_at: Timestamp | None = Field(default=None, description="When its end was seen.")
    resumed_from_step: int | None = Field(
        default=None,
        description="Step of the checkpoint that a training went on from; absent at a start from the model.",
    )
    log: str | None = Field(
        default=None, description="Where what it printed is kept, below the store's prefix, in pieces."
    )


ATTEMPTS_KEPT = 5
