"""What a round has done so far: the status of a FlywheelRound."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from flywheel_api.base import Message, StatusModel, Timestamp
from flywheel_api.common import AttemptStatus, ChildRef, ModelStatus
from flywheel_api.conditions import Conditions


class StageState(StrEnum):
    """States of a stage."""

    PENDING = "Pending"
    RUNNING = "Running"
    WAITING = "Waiting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class DropCount(StatusModel):
    """Items dropped for one reason."""

    reason: str
    count: str


class StageCounts(StatusModel):
    """Items of a stage, as decimal strings."""

    in_: str | None = Field(default=None, alias="in")
    out: str | None = None
    dropped: str | None = None


class RoleTokens(StatusModel):
    """Tokens used by a role."""

    role: str
    tokens: str


class StageStatus(StatusModel):
    """One stage, in the order of the pipeline."""

    name: str
    state: StageState = StageState.PENDING
    attempt: int = 0
    failures: int = 0
    started_at: Timestamp | None = None
    attempt_started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    not_before: Timestamp | None = Field(default=None, description="Back-off: the next attempt starts no earlier.")
    counts: StageCounts | None = None
    dropped: Annotated[list[DropCount], Field(max_length=8)] = Field(default_factory=list)
    tokens: Annotated[list[RoleTokens], Field(max_length=8)] = Field(default_factory=list)
    gpu_seconds: str | None = None
    child: ChildRef | None = None
    manifest: str | None = None
    progress: Annotated[str, Field(max_length=256)] | None = None
    progress_at: Timestamp | None = None


class ScoreStatus(StatusModel):
    """A suite's scores with confidence intervals, as decimal strings."""

    suite: str
    base: str | None = None
    base_interval: list[str] | None = None
    candidate: str | None = None
    candidate_interval: list[str] | None = None
    gain: str | None = None
    gain_interval: list[str] | None = None
    gate: str | None = Field(default=None, description="Passed, Failed or None.")


class UsageStatus(StatusModel):
    """Spent so far, across all attempts."""

    gpu_hours: str = "0"
    wall_clock: str = "0s"
    tokens: list[RoleTokens] = Field(default_factory=list)


class FlywheelRoundStatus(StatusModel):
    """What happened so far; under 32 KiB, details live in the store."""

    observed_generation: int = 0
    conditions: Conditions = Field(default_factory=list)
    stage: str | None = None
    progress: Message | None = None
    stages: Annotated[
        list[StageStatus],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    attempts: Annotated[list[AttemptStatus], Field(max_length=16)] = Field(default_factory=list)
    usage: UsageStatus = UsageStatus()
    scores: Annotated[list[ScoreStatus], Field(max_length=32)] = Field(default_factory=list)
    score: str | None = Field(default=None, description="Printer column: `base → candidate` of the first suite.")
    verdict: str | None = Field(default=None, description="Promoted, Held or Failed.")
    base: str | None = Field(default=None, description="Printer column: the base in short, a round's or model's name.")
    base_model: ModelStatus | None = None
    model: ModelStatus | None = None
    report: str | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    spec_hash: str | None = None
    standin: bool | None = Field(
        default=None, description="True when a stand-in model served a role: scores are not comparable."
    )
