"""Held-out suites: built-in ones by name, and problems of a user's own.

A suite is fixed by its name and size, or by its source: no round's seed changes it, so that scores of different rounds
compare.
"""

from __future__ import annotations

import importlib
import random
from dataclasses import dataclass
from typing import Any, Literal

from flywheel_api.round import SuiteSpec
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.records import PROBLEM_SCHEMA, Persona, ReasoningProblem
from flywheel_jobs.seeds import arithmetic
from flywheel_jobs.storage.datasets import load_records
from flywheel_jobs.storage.store import Store

DEFAULT_ITEMS = 50


@dataclass(frozen=True)
class Suite:
    """A suite's items, as records."""

    name: str
    track: Literal["reasoning", "agentic"]
    schema: str
    items: list[dict[str, Any]]


REASONING: dict[str, tuple[str, ...]] = {
    "arithmetic-heldout": ("add",),
    "arithmetic-mixed-heldout": tuple(arithmetic.ARITY),
}
AGENTIC_BUILDER = "flywheel_jobs.agentic.heldout"
"""Module with SUITES (names), SCHEMA and build(name, items, personas, rng) -> list[dict]; absent from builds without
it.
"""


def build(spec: SuiteSpec, heldout_personas: list[Persona], store: Store) -> Suite:
    """The suite that a round names. Raises ValidationFailure listing the names there are, or the first bad record."""
    if spec.source is not None:
        return Suite(spec.name, "reasoning", PROBLEM_SCHEMA, own_items(spec.source, spec.items, store))
    count = spec.items or DEFAULT_ITEMS
    rng = random.Random(f"suite/{spec.name}")
    if spec.name in REASONING:
        problems = arithmetic.generate(rng, count, "heldout", REASONING[spec.name])
        return Suite(spec.name, "reasoning", PROBLEM_SCHEMA, [p.dump() for p in problems])
    agentic = importlib.import_module(AGENTIC_BUILDER)
    if spec.name in agentic.SUITES:
        items = agentic.build(spec.name, count, heldout_personas, rng)
        return Suite(spec.name, "agentic", agentic.SCHEMA, items)
    known = ", ".join([*REASONING, *agentic.SUITES])
    raise ValidationFailure(f"there is no suite {spec.name!r}: spec.evaluation.suites can name {known}")


def own_items(source: str, count: int | None, store: Store) -> list[dict[str, Any]]:
    """The first `count` problems of a source, each with an id of its own and an answer."""
    found = load_records(store, source, ReasoningProblem)[:count]
    bad = next((p.id for p in found if not p.answer), None)
    if bad is not None:
        raise ValidationFailure(f"problem {bad} of suite {source} has no answer: every item of a suite needs one")
    if len({p.id for p in found}) < len(found):
        raise ValidationFailure(f"suite {source} has an id twice: scores are paired by it, give each item its own")
    return [p.dump() for p in found]


def reasoning_items(ctx: StageContext) -> list[ReasoningProblem]:
    """The items of every held-out reasoning suite of the round, from Prepare's manifest."""
    listed: dict[str, Any] = ctx.inputs["Prepare"].details.get("suites", {})
    names = [name for name, suite in listed.items() if suite.get("track") == "reasoning"]
    return [ReasoningProblem.model_validate(v) for n in names for v in ctx.records("Prepare", f"suites/{n}.jsonl")]
