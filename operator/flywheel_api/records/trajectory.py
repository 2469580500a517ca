"""The one record of an episode: sampled by a solver or the policy in a stage, or by the policy in training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from flywheel_api.common import Role
from flywheel_api.records.agentic import LoggedCall, Task
from flywheel_api.records.base import Record
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import Track

TRAINING_ROLLOUT = "training-rollout"  # `lineage.operator` of what training sampled


class Trajectory(Record):
    """What was said and done in one episode, and how it was scored."""

    schema_: Literal["trajectory/v4"] = Field(
        default="trajectory/v4", alias="schema", description="Kind and version of the record."
    )
    track: Track = Field(description="Track that the item belongs to.")
    item: str = Field(description="Id of the problem or task.")
    role: Role = Field(default=Role.POLICY, description="Role that was sampled: Policy or Solver.")
    attempt: int = Field(default=0, description="Number of the sample among those of the same item.")
    step: int | None = Field(default=None, description="Training step, for rollouts of a training.")
    messages: list[dict[str, Any]] = Field(default_factory=list, description="The whole conversation.")
    calls: list[LoggedCall] = Field(default_factory=list, description="Tool calls with their answers.")
    closed: str = Field(default="", description="How the episode ended.")
    score: float | None = Field(default=None, description="Reward; unset where there is none.")
    outage: str | None = Field(default=None, description="What was away, where an outage ended the episode.")
    unscored: str | None = Field(default=None, description="Why it has no score although nothing was away.")
    cut: bool = Field(default=False, description="Whether it ran into its token limit.")
    correct: bool | None = Field(default=None, description="Whether the answer is right, apart from what form earns.")
    outcome: str = Field(default="", description="Expected outcome of the item.")
    details: dict[str, float] = Field(default_factory=dict, description="Parts of the score by name.")
    reason: str = Field(default="", description="Why an episode earned nothing; empty where it did, or for problems.")
    verdict: str = Field(default="", description="Why an acceptance check refused it; empty when none did.")
    advice: list[str] = Field(default_factory=list, description="Advisory acceptance checks that failed.")
    turns: int | None = Field(default=None, description="Turns of the episode.")
    response_tokens: int | None = Field(default=None, description="Tokens that the policy wrote.")
    truth: str | None = Field(default=None, description="The right answer, for problems.")
    task: Task | None = Field(default=None, description="The task itself, for rollouts of a training.")
    problem: Problem | None = Field(default=None, description="The problem itself, for rollouts of a training.")

    @property
    def masked(self) -> bool:
        """Whether it has no score, by an outage mostly: it says nothing about the policy (law 6)."""
        return self.score is None

    @property
    def formed(self) -> float | None:
        """Whether what was written has the form that is asked for, where the reward has looked: 1 or 0."""
        return self.details.get("formed")

    @property
    def success(self) -> bool:
        """Whether it earned the whole reward."""
        return self.score is not None and self.score >= 1.0
