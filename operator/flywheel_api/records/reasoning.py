"""Records of the reasoning flywheel: problems, personas, samples of the policy, votes of the solver."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from flywheel_api.records.base import Message, PassRate, Record, content_digest


class Band(StrEnum):
    """How hard a problem is for the policy, by its pass rate."""

    HARD = "hard"
    FRONTIER = "frontier"
    SOLVED = "solved"


class Problem(Record):
    """A problem with one checkable final answer."""

    schema_: Literal["reasoning-problem/v2"] = Field(
        default="reasoning-problem/v2", alias="schema", description="Kind and version of the record."
    )
    question: Annotated[str, Field(min_length=1, max_length=20_000)] = Field(description="The question.")
    context: list[Message] = Field(
        default_factory=list, description="Messages before the question: system, worked examples."
    )
    answer: str | None = Field(default=None, description="The final answer, where it is known.")
    family: str = Field(
        default="", description="Built-in family that it belongs to; a variant's own, where its exact form is known."
    )
    template: str = Field(default="", description="Template of the family.")
    level: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="How hard it is within its family, from 1; unset where nobody knows."
    )
    typed: dict[str, Any] | None = Field(default=None, description="Exact form, for built-in families.")
    persona_id: str | None = Field(default=None, description="Persona that it is set in.")
    policy_pass: PassRate | None = Field(default=None, description="How the policy did when it was mined.")
    band: Band | None = Field(default=None, description="How hard it is for the policy.")

    @property
    def drawn(self) -> tuple[object, list[Any]] | None:
        """Family and values of the exact form; None where it has none with values."""
        typed = self.typed or {}
        values = typed.get("values")
        return (typed.get("family"), values) if isinstance(values, list) else None

    @property
    def content(self) -> str:
        """Digest of what is asked and of its answer."""
        return content_digest(self.messages(), self.answer)

    @property
    def before(self) -> str:
        """Text of the messages before the question."""
        return "\n".join(m.content for m in self.context)

    @property
    def whole(self) -> str:
        """Text of the whole problem: the question means something else with other messages before it."""
        return f"{self.before}\n{self.question}" if self.context else self.question

    def messages(self) -> list[dict[str, str]]:
        """The chat prompt of this problem."""
        return [
            *({"role": m.role, "content": m.content} for m in self.context),
            {"role": "user", "content": self.question},
        ]


class KnownProblem(Record):
    """That a round of the campaign trained on a problem; its id is the digest of the problem's content."""

    schema_: Literal["known-problem/v1"] = Field(
        default="known-problem/v1", alias="schema", description="Kind and version of the record."
    )


class Persona(Record):
    """Someone whose world a problem or a task is set in."""

    @property
    def content(self) -> str:
        """Digest of the description: the same person under two ids is one, also for the split."""
        return content_digest(" ".join(self.text.split()))

    schema_: Literal["persona/v1"] = Field(
        default="persona/v1", alias="schema", description="Kind and version of the record."
    )
    name: str = Field(description="Name of the person.")
    trade: str = Field(description="What the person does.")
    thing: str = Field(description="What this persona counts, in the plural.")
    text: str = Field(description="A description in a sentence or two.")


class QuarantinedRow(Record):
    """A row of a user's file that is wrong, and was set aside."""

    schema_: Literal["quarantined-row/v1"] = Field(
        default="quarantined-row/v1", alias="schema", description="Kind and version of the record."
    )
    source: str = Field(description="What the round names: an address or a digest.")
    where: str = Field(description="File and number of the row, from 1.")
    problem: str = Field(description="What is wrong with it.")
    text: str = Field(default="", description="How the row begins.")


class Sample(Record):
    """Samples of the policy on one problem."""

    schema_: Literal["sample/v1"] = Field(
        default="sample/v1", alias="schema", description="Kind and version of the record."
    )
    problem_id: str = Field(description="Problem that was sampled.")
    texts: list[str] = Field(description="What the policy wrote, one text per sample.")
    scores: list[float] = Field(description="Reward of each sample.")
    correct: list[bool] = Field(description="Whether each sample's answer is right.")


class Vote(Record):
    """The independent solutions of one candidate."""

    schema_: Literal["vote/v1"] = Field(
        default="vote/v1", alias="schema", description="Kind and version of the record."
    )
    problem_id: str = Field(description="Candidate that was solved.")
    answers: list[str] = Field(description="Final answers as they were written.")
    normalised: list[str] = Field(description="Final answers in normal form.")
    seeds: list[int] = Field(description="Sampling seed of each solution.")
    model: str = Field(description="Model that solved.")
    agreed: bool = Field(description="Whether enough solutions agree.")
    answer: str | None = Field(default=None, description="The answer that they agree on.")
    solution: str = Field(default="", description="A solution with that answer, as it was written.")
    completions: list[str] = Field(default_factory=list, description="The endpoint's id of each solution.")
