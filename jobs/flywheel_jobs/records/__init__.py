"""Typed records in the files of manifests. camelCase on disk, a schema version and a lineage on every record."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from flywheel_api.artifacts import canonical_json

PROBLEM_SCHEMA = "reasoning-problem/v1"
PERSONA_SCHEMA = "persona/v1"
SAMPLE_SCHEMA = "sample/v1"
VOTE_SCHEMA = "vote/v1"
PARQUET_SCHEMA = "verl-prompt/v1"


class Part(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def dump(self) -> dict[str, Any]:
        """The form on disk."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Lineage(Part):
    """Where a record comes from: its parents' ids, the round that made it, by which operator."""

    parent_ids: list[str] = Field(default_factory=list)
    round: str = ""
    operator: str = "seed"
    root_id: str | None = None


class Record(Part):
    """Base of all records."""

    id: str
    lineage: Lineage = Lineage()


class PassRate(Part):
    """`k` of `n` samples of the policy were right."""

    n: int
    k: int

    @property
    def rate(self) -> float:
        """k / n; 0 when nothing was sampled."""
        return self.k / self.n if self.n else 0.0


class Turn(Part):
    """A chat message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


class ReasoningProblem(Record):
    """A problem with one checkable final answer. `typed` is its exact form where one is known (built-in families)."""

    schema_: Literal["reasoning-problem/v1"] = Field(default="reasoning-problem/v1", alias="schema")
    question: Annotated[str, Field(min_length=1, max_length=20_000)]
    context: list[Turn] = Field(
        default_factory=list, description="Messages before the question: system, worked examples."
    )
    answer: str | None = None
    family: str = ""
    template: str = ""
    difficulty: int = 1
    typed: dict[str, Any] | None = None
    persona_id: str | None = None
    policy_pass: PassRate | None = None
    band: Literal["hard", "frontier", "solved"] | None = None

    def messages(self) -> list[dict[str, str]]:
        """The chat prompt of this problem."""
        return [*(t.model_dump() for t in self.context), {"role": "user", "content": self.question}]


class Persona(Record):
    """Someone whose world a problem or a task is set in."""

    schema_: Literal["persona/v1"] = Field(default="persona/v1", alias="schema")
    name: str
    trade: str
    thing: str = Field(description="What this persona counts, in the plural.")
    text: str


class Sample(Record):
    """Samples of the policy on one problem."""

    schema_: Literal["sample/v1"] = Field(default="sample/v1", alias="schema")
    problem_id: str
    texts: list[str]
    scores: list[float]
    correct: list[bool]


class Vote(Record):
    """The independent solutions of one candidate."""

    schema_: Literal["vote/v1"] = Field(default="vote/v1", alias="schema")
    problem_id: str
    answers: list[str]
    normalised: list[str]
    seeds: list[int]
    model: str
    agreed: bool
    answer: str | None = None


def record_id(kind: str, *parts: Any) -> str:
    """A short id that is a function of content: the same record has the same id in every attempt."""
    return f"{kind}-{hashlib.sha256(canonical_json(list(parts))).hexdigest()[:16]}"
