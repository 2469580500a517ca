"""Rows of evaluations and of the gate."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from flywheel_api.records.base import Record


class EvaluationRow(Record):
    """One sample of one item of a suite, scored. `results.jsonl` leaves `messages` out, `samples.jsonl` has them."""

    schema_: Literal["evaluation-row/v1"] = Field(
        default="evaluation-row/v1", alias="schema", description="Kind and version of the record."
    )
    suite: str = Field(description="Name of the suite.")
    item: str = Field(description="Id of the problem or task.")
    content: str = Field(default="", description="Digest of the problem or task: rows of two evaluations pair by it.")
    repeat: int = Field(description="Number of the sample among those of the same item, from 0.")
    score: float = Field(description="1 when right, 0 when not.")
    outcome: str = Field(default="", description="Expected outcome, by which scores are grouped.")
    facts: str = Field(default="", description="Digest of the facts that it shares with other items; they are one.")
    strata: dict[str, str] = Field(
        default_factory=dict, description="Dimension to value, such as family to add: what a loss is named by."
    )
    expected: str | None = Field(default=None, description="The right answer, or the calls of the right behaviour.")
    finish: str = Field(default="", description="How the sample ended.")
    reason: str = Field(default="", description="Why it is not right; empty when it is.")
    details: dict[str, float] = Field(default_factory=dict, description="Parts of the score by name.")
    messages: list[dict[str, Any]] = Field(default_factory=list, description="The whole conversation.")


class GateRow(Record):
    """A candidate's mean score on one item: what the campaign's next candidate is compared with."""

    schema_: Literal["gate-row/v1"] = Field(
        default="gate-row/v1", alias="schema", description="Kind and version of the record."
    )
    suite: str = Field(description="Name of the suite.")
    item: str = Field(description="Id of the problem or task.")
    content: str = Field(default="", description="Digest of the problem or task, by which it is compared.")
    score: float = Field(description="Mean score of the item's samples.")
    samples: int = Field(default=1, description="Number of the item's samples.")
    facts: str = Field(default="", description="Digest of the facts that it shares with other items.")
    strata: dict[str, str] = Field(default_factory=dict, description="Dimension to value.")
    temperature: float | None = Field(default=None, description="What its samples were drawn at.")
    max_tokens: int | None = Field(default=None, description="Tokens of an answer, at most.")
