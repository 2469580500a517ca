"""What is asked of the Teacher and the Solver, in words that any capable model follows, and how their answers are read.

The request carries the problem as JSON and asks for JSON of a schema, so that a scripted stand-in and a large model
answer in the same format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flywheel_api.records.base import Message
from flywheel_api.records.reasoning import Persona, Problem
from flywheel_jobs.endpoints.structured import messages_for

SIDEWAYS = ("change-values",)
"""Structural operators for problems that the policy never solves: as hard as before, so that some become solvable."""
UPWARDS = ("change-values", "raise-difficulty", "compose", "add-constraint", "invert", "swap-family")
"""Structural operators for problems at the frontier: first as hard as before, then harder (docs/method.md)."""
PERSONA = "persona"

INSTRUCTIONS = {
    "change-values": "Keep the problem's structure and wording; change its key values.",
    "lower-difficulty": "Make the problem one step easier: smaller values or one operation less.",
    "raise-difficulty": "Make the problem one step harder: larger values or one more operation.",
    "invert": "Turn the problem around: give the result and ask for one of its former inputs.",
    "compose": "Feed the problem's result into one further operation of the same kind.",
    "swap-family": "Keep the values; ask for a related operation on them.",
    "add-constraint": "Add one constraint or concept that changes the answer.",
    PERSONA: "Set the problem in the persona's world. Keep every number and what is to be computed.",
}

TEACHER_SYSTEM = (
    "You write training problems. The user sends one problem as JSON with an operator. Apply the operator and answer "
    "with one JSON object: question (the new problem alone, self-contained, with exactly one checkable final answer, "
    "no solution, about as long as the original) and typed (family, level and values if the original has them and the "
    "new problem still fits, else null). The messages of problem.context come before the question and stay before "
    "yours; where the new problem needs others, give all of them as context."
)
SOLVER_SYSTEM = (
    "Solve the problem. Work briefly, then give only the final answer, in its simplest exact form, inside "
    "<answer></answer>."
)


class TypedVariant(BaseModel):
    """The exact form of a variant, when the teacher knows one."""

    model_config = ConfigDict(extra="forbid")
    family: str
    level: Annotated[int, Field(ge=1)] | None = None
    values: list[int]


class ContextMessage(BaseModel):
    """A message before the question."""

    model_config = ConfigDict(extra="forbid")
    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=20_000)]


class Variant(BaseModel):
    """The teacher's answer."""

    model_config = ConfigDict(extra="forbid")
    question: Annotated[str, Field(min_length=1, max_length=4000)]
    typed: TypedVariant | None
    context: Annotated[list[ContextMessage], Field(max_length=32)] | None = None


def structural(band: str | None, count: int) -> list[tuple[str, int]]:
    """The first `count` (operator, number) for a problem of a band; used up, operators repeat with another number."""
    operators = SIDEWAYS if band == "hard" else UPWARDS
    return [(operators[i % len(operators)], i // len(operators)) for i in range(count)]


def teacher_messages(
    problem: Problem, operator: str, variant: int, persona: Persona | None = None
) -> list[dict[str, str]]:
    """The request for one variant. The original's answer is left out: labels come from verification alone."""
    task: dict[str, object] = {
        "operator": operator,
        "instruction": INSTRUCTIONS[operator],
        "variant": variant,
        "problem": {
            "context": [{"role": m.role, "content": m.content} for m in problem.context],
            "question": problem.question,
            "typed": problem.typed,
        },
    }
    if persona is not None:
        task["persona"] = {"name": persona.name, "trade": persona.trade, "thing": persona.thing, "text": persona.text}
    return messages_for(TEACHER_SYSTEM, task)


def solver_messages(question: str, context: Sequence[Message] = ()) -> list[dict[str, str]]:
    """The request for one independent solution. The problem's own instructions follow ours in one system message."""
    system = "\n\n".join([SOLVER_SYSTEM, *(m.content for m in context if m.role == "system")])
    before = [{"role": m.role, "content": m.content} for m in context if m.role != "system"]
    return [{"role": "system", "content": system}, *before, {"role": "user", "content": question}]
