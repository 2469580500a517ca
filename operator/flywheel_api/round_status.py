"""What a round has done so far: the status of a FlywheelRound."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from flywheel_api.base import Message, StatusModel, Timestamp, is_none
from flywheel_api.common import AttemptStatus, ChildRef, DomainPin, GpuAccount, ModelStatus, ReusedFrom
from flywheel_api.conditions import Conditions
from flywheel_api.results import EndpointFinding, GateOutcome, Verdict


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

    reason: str = Field(description="Why they were dropped.")
    count: str = Field(description="How many, as a decimal string.")


class StageCounts(StatusModel):
    """Items of a stage, as decimal strings."""

    in_: str | None = Field(default=None, alias="in", description="Items that the stage read.")
    out: str | None = Field(default=None, description="Items that it passed on.")
    dropped: str | None = Field(default=None, description="Items that it dropped.")


class RoleTokens(StatusModel):
    """Tokens used by a role."""

    role: str = Field(description="The role, such as Teacher.")
    tokens: str = Field(description="Prompt and completion tokens, as a decimal string.")


class ChildAccount(GpuAccount):
    """The account of a pool or an RLJob, as it was seen last."""

    uid: str = Field(description="Whose: the object's uid.")


class StageStatus(StatusModel):
    """One stage, in the order of the pipeline. What is none is left out: a write costs by its bytes."""

    name: str = Field(description="The stage.")
    state: StageState = Field(
        default=StageState.PENDING, description="Skipped is done, too: nothing was there to do, or the track is off."
    )
    attempt: int = Field(default=0, description="Number of the current or last attempt; 0 before the first.")
    failures: int = Field(default=0, exclude_if=is_none, description="Attempts that used up a retry.")
    fruitless: int = Field(
        default=0, exclude_if=is_none, description="Free attempts in a row that finished no new item."
    )
    items: int = Field(
        default=0,
        exclude_if=is_none,
        description="Most finished items that were seen in the stage's journal.",
    )
    started_at: Timestamp | None = Field(default=None, description="When its first attempt began.")
    attempt_started_at: Timestamp | None = Field(default=None, description="When the current or last attempt began.")
    starting_since: Timestamp | None = Field(
        default=None, description="Since when the pods of the current attempt may start. Absent while queued."
    )
    queued_since: Timestamp | None = Field(
        default=None, description="Since when somebody holds the current attempt back, such as a queue or a quota."
    )
    finished_at: Timestamp | None = Field(default=None, description="When it was done; for a pool, when it was let go.")
    not_before: Timestamp | None = Field(default=None, description="Back-off: the next attempt starts no earlier.")
    counts: StageCounts | None = Field(default=None, description="Items in, out and dropped, from its manifest.")
    dropped: Annotated[list[DropCount], Field(max_length=8)] = Field(
        default_factory=list,
        exclude_if=is_none,
        description="The most frequent reasons for dropping an item; the rest is one line.",
    )
    tokens: Annotated[list[RoleTokens], Field(max_length=8)] = Field(
        default_factory=list,
        exclude_if=is_none,
        description="Tokens by role, over all attempts, lost ones included.",
    )
    gpu_seconds: str | None = Field(
        default=None, description="GPU-seconds of what carried its attempts out and is done or gone; absent on CPU."
    )
    held: ChildAccount | None = Field(
        default=None, description="What the current attempt has spent beside that: it outlives whoever spent it."
    )
    note: Annotated[str, Field(max_length=512)] | None = Field(
        default=None, description="What its result says of itself in a sentence: bands, cost, and what is missing."
    )
    child: ChildRef | None = Field(default=None, description="What carries the current attempt out.")
    manifest: str | None = Field(default=None, description="Digest of the manifest that it committed.")
    progress: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="Where the attempt stands, in words."
    )
    awaited_since: Timestamp | None = Field(
        default=None, description="Since when the child has ended well and its manifest is awaited."
    )
    content_key: str | None = Field(
        default=None, description="Digest of what the result is made of: where it is committed in the store."
    )
    reused_from: ReusedFrom | None = Field(
        default=None, description="Who made the result, where this round took it over instead of making it."
    )


class ScoreStatus(StatusModel):
    """A suite's scores with confidence intervals, as decimal strings."""

    suite: str = Field(description="Name of the suite.")
    base: str | None = Field(default=None, description="Mean score of the base, 0 to 1.")
    base_interval: list[str] | None = Field(default=None, description="Ends of its bootstrap confidence interval.")
    candidate: str | None = Field(default=None, description="Mean score of the trained model, 0 to 1.")
    candidate_interval: list[str] | None = Field(default=None, description="Ends of its bootstrap confidence interval.")
    gain: str | None = Field(default=None, description="Mean of the paired differences on the same items.")
    gain_interval: list[str] | None = Field(
        default=None, description="Ends of the gain's bootstrap confidence interval."
    )
    gate: GateOutcome | None = Field(default=None, description="Passed, Failed or None.")


class SuiteMean(StatusModel):
    """A mean score."""

    suite: str = Field(description="Name of the suite.")
    score: str = Field(description="Mean score, 0 to 1, as a decimal string.")


class RoundScores(StatusModel):
    """A round's model on the suites of the campaign: a row of the forgetting matrix."""

    round: str = Field(description="Name of the round.")
    scores: Annotated[list[SuiteMean], Field(max_length=32)] = Field(
        default_factory=list, description="Suites that it was given, with the items that they have now."
    )


class UsageStatus(StatusModel):
    """Spent so far, across all attempts."""

    gpu_hours: str = Field(
        default="0", description="GPU-hours of all stages and attempts, at the last write of this status."
    )
    wall_clock: str = Field(
        default="0s", description="Time since the passed preflight, at the last write of this status."
    )
    tokens: list[RoleTokens] = Field(default_factory=list, description="Tokens by role, over all stages.")


class EstimateStatus(StatusModel):
    """What Preflight expects a round on GPUs to need: docs/recipes.md says by which formulas."""

    card: str | None = Field(default=None, description="The card that it is for: the one that nodes are chosen by.")
    gpu_hours: str | None = Field(default=None, description="GPU-hours of the round, as a range.")
    tokens: Annotated[list[RoleTokens], Field(max_length=8)] = Field(
        default_factory=list, description="Tokens by role."
    )
    disk: str | None = Field(default=None, description="GB of disk on a node that trains.")
    written: str | None = Field(default=None, description="GB that checkpoints write to the store.")
    note: Message | None = Field(
        default=None, description="What is tight, where the budget falls short, or why nothing can be estimated."
    )


class EndpointStatus(EndpointFinding):
    """What is known of a role's endpoint, and whose handshake found it."""

    found_by: str | None = Field(
        default=None,
        description="The earlier round that asked, where Prepare was taken over from it; else absent.",
    )


class ByRound(StatusModel):
    """Where a round stands in its campaign, and what its reasoning track does there; its RLJobs say the rest."""

    number: int = Field(description="1 on a model, else one more than the base round's; a held one's own.")
    low: str | None = Field(default=None, description="Lowest pass rate that is trained on.")
    high: str | None = Field(default=None, description="Highest pass rate that is trained on.")
    replay_share: str | None = Field(default=None, description="Share of problems that are of earlier rounds.")


class FlywheelRoundStatus(StatusModel):
    """What happened so far; under 32 KiB, details live in the store."""

    observed_generation: int = Field(default=0, description="metadata.generation that this status answers.")
    spec_hash: str | None = Field(
        default=None,
        description="Hash of what the spec said while the round ran; later changes are told only.",
    )
    conditions: Conditions = Field(
        default_factory=list,
        description="Ready, Reconciling and Stalled, and what they rest on: Preflight, NodesFit, BudgetAvailable, "
        "StorageReady, EndpointsAvailable, Promoted.",
    )
    stage: str | None = Field(
        default=None, description="The stage that runs, the first of several; Done after the last."
    )
    progress: Message | None = Field(
        default=None, description="Where the running stages stand, in words; at the end what it took."
    )
    stages: Annotated[
        list[StageStatus],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list, description="Every stage, in the order of the pipeline.")
    attempts: Annotated[list[AttemptStatus], Field(max_length=16)] = Field(
        default_factory=list, description="The last five attempts that ended, and why."
    )
    usage: UsageStatus = UsageStatus()
    endpoints: Annotated[list[EndpointStatus], Field(max_length=8)] = Field(
        default_factory=list,
        description="What a small request to each role's endpoint found before it was used.",
    )
    domains: Annotated[list[DomainPin], Field(max_length=32)] = Field(
        default_factory=list, description="Packages of the agentic track, checked and pinned by Prepare."
    )
    estimate: EstimateStatus | None = Field(
        default=None, description="What a round on GPUs will need, before anything is spent."
    )
    scores: Annotated[list[ScoreStatus], Field(max_length=32)] = Field(
        default_factory=list, description="Scores by suite, in the order of the spec."
    )
    score: str | None = Field(default=None, description="Printer column: `base → candidate` of the first suite.")
    verdict: Verdict | None = Field(default=None, description="Promoted, Held or Failed.")
    base: str | None = Field(default=None, description="Printer column: the base in short, a round's or model's name.")
    base_model: ModelStatus | None = Field(
        default=None,
        description="What the round trains from: as preflight resolved it, or as ImportModel brought it.",
    )
    model: ModelStatus | None = Field(
        default=None, description="The promoted model: the one that was evaluated. Absent without promotion."
    )
    exported: str | None = Field(
        default=None, description="Where the promoted model is as a plain directory, if spec.export asked for one."
    )
    report: str | None = Field(default=None, description="Where the HTML report is, s3://. Drawn anew as stages start.")
    started_at: Timestamp | None = Field(
        default=None, description="When preflight passed; budget.wallClock counts from here."
    )
    finished_at: Timestamp | None = Field(default=None, description="When the round ended; it is never started again.")
    by_round: ByRound | None = Field(
        default=None, description="The round's number in its campaign and what went by it, pinned by Preflight."
    )
    rollouts: Annotated[list[str], Field(max_length=8)] = Field(
        default_factory=list, description="Rollout data sets of the base round's trainings, pinned by Preflight."
    )
    held_base: str | None = Field(
        default=None,
        description="The held round whose own base this one trains from (base.onHeld), pinned by Preflight.",
    )
    earlier: Annotated[list[str], Field(max_length=16)] = Field(
        default_factory=list,
        description="Promoted verdicts of the campaign's earlier rounds, oldest first, pinned by Preflight: their "
        "suites are run again.",
    )
    forgetting: Annotated[list[RoundScores], Field(max_length=16)] = Field(
        default_factory=list, description="The campaign's promoted models and this candidate on every suite, in order."
    )
    standin: bool | None = Field(
        default=None, description="True when a stand-in model served a role: scores are not comparable."
    )

    @property
    def base_digest(self) -> str | None:
        """Digest of the base model, once it is known."""
        return self.base_model.digest if self.base_model else None
