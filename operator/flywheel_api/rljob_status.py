"""What an RLJob's status holds: what happened so far, and what the next look goes on from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flywheel_api.base import Message, StatusModel, Timestamp
from flywheel_api.causes import Cause
from flywheel_api.common import AttemptStatus, ChildRef, GpuAccount, ModelStatus, ReusedFrom
from flywheel_api.conditions import Conditions


class CheckpointStatus(StatusModel):
    """The last checkpoint committed to the store."""

    step: int = Field(description="Training step.")
    digest: str = Field(description="sha256:<hex> of its manifest.")


class DisruptionStatus(StatusModel):
    """What a pod showed of its end while the program still ran. It may be gone when the program notices."""

    cause: Cause = Field(description="Its class.")
    reason: str = Field(description="Kubernetes' word, such as PreemptionByScheduler.")
    message: Message = Field(description="In a sentence.")


class RLJobStatus(GpuAccount):
    """What happened so far."""

    observed_generation: int = Field(default=0, description="metadata.generation that this status answers.")
    conditions: Conditions = Field(
        default_factory=list,
        description="Ready, Reconciling, Stalled, Preflight, NodesFit, StorageReady, TrainingHealthy.",
    )
    phase: str | None = Field(
        default=None, description="For people only: Pending, Queued, Starting, Running, Succeeded, Failed."
    )
    step: int | None = Field(default=None, description="Last finished training step.")
    total_steps: int | None = Field(default=None, description="Steps of the whole run.")
    reward: str | None = Field(
        default=None, description="Mean reward of the last step, at the end of the published checkpoint."
    )
    tokens_per_second: str | None = Field(
        default=None, description="Tokens trained on per second in the last step, over all GPUs."
    )
    eta: str | None = Field(default=None, description="Time left by the pace so far, such as 2h10m.")
    checkpoint: CheckpointStatus | None = Field(
        default=None, description="The last checkpoint committed: a retry goes on from here."
    )
    model: ModelStatus | None = Field(default=None, description="The final checkpoint, once the job has succeeded.")
    manifest: str | None = Field(default=None, description="Digest of the final manifest.")
    attempt: int = Field(default=0, description="Number of the current or last attempt; 0 before the first.")
    attempts: Annotated[list[AttemptStatus], Field(max_length=16)] = Field(
        default_factory=list, description="The last five attempts that ended, and why."
    )
    failures: int = Field(default=0, description="Attempts that used up a retry.")
    fruitless: int = Field(
        default=0, description="Free attempts in a row that committed no new step; five end the job."
    )
    from_step: int = Field(
        default=0, description="Newest step in the store when the current attempt began: what it has to get beyond."
    )
    child: ChildRef | None = Field(
        default=None, description="The RayJob of the current attempt; absent when the hardware is free."
    )
    started_at: Timestamp | None = Field(
        default=None, description="When the first attempt began; wallClock counts from here."
    )
    attempt_started_at: Timestamp | None = Field(default=None, description="When the current attempt began.")
    starting_since: Timestamp | None = Field(
        default=None, description="Since when its pods may start; startupTimeout counts from here. Absent while queued."
    )
    queued_since: Timestamp | None = Field(
        default=None, description="Since when somebody holds the current attempt back, such as a queue or a quota."
    )
    running_since: Timestamp | None = Field(
        default=None, description="Since when the current attempt runs; stallAfter counts from here."
    )
    finished_at: Timestamp | None = Field(default=None, description="When the job ended; it is never started again.")
    progress: Message | None = Field(default=None, description="What is going on, in words.")
    awaited_since: Timestamp | None = Field(
        default=None, description="Since when the RayJob has ended well and its checkpoint is awaited."
    )
    disruption: DisruptionStatus | None = Field(
        default=None, description="That a pod of the current attempt is being taken away, and why."
    )
    content_key: str | None = Field(
        default=None, description="Digest of what is trained: where its checkpoints are in the store."
    )
    reused_from: ReusedFrom | None = Field(
        default=None, description="Who made the checkpoint that this job took over or went on from."
    )
