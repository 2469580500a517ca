"""Held-out suites: built-in ones by name, and problems of a user's own.

A suite is fixed by its name and size, or by its source: no round's seed changes it, so that scores of different rounds
compare.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel_api.records.agentic import Task
from flywheel_api.records.reasoning import Persona, Problem
from flywheel_api.results import PreparedResult, SuiteInfo, Track
from flywheel_api.round import SuiteSpec
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import heldout
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.harness.context import OutputFile, StageContext
from flywheel_jobs.reasoning.truths import CONVENTION, with_truth
from flywheel_jobs.seeds import arithmetic
from flywheel_jobs.storage.datasets import load_records
from flywheel_jobs.storage.store import Store

DEFAULT_ITEMS = 50

REASONING: dict[str, tuple[str, ...]] = {
    "arithmetic-heldout": ("add",),
    "arithmetic-mixed-heldout": tuple(arithmetic.ARITY),
}


@dataclass(frozen=True)
class Suite:
    """A suite's items; those of the other track are none."""

    name: str
    problems: Sequence[Problem] = ()
    tasks: Sequence[Task] = ()

    @property
    def info(self) -> SuiteInfo:
        """What the stage's result says of it."""
        track = Track.REASONING if self.problems else Track.AGENTIC
        return SuiteInfo(name=self.name, track=track, items=len(self.problems) or len(self.tasks))

    def file(self) -> OutputFile:
        """Its items as a file of the stage."""
        if self.problems:
            return OutputFile.of(self.info.path, Problem, self.problems)
        return OutputFile.of(self.info.path, Task, self.tasks)


def build(spec: SuiteSpec, heldout_personas: list[Persona], store: Store) -> Suite:
    """The suite that a round names. Raises ValidationFailure listing the names there are, or the first bad record."""
    if spec.source is not None:
        return Suite(spec.name, problems=own_items(spec.source, spec.items, store))
    count = spec.items or DEFAULT_ITEMS
    rng = random.Random(f"suite/{spec.name}")
    if spec.name in REASONING:
        return Suite(spec.name, problems=arithmetic.generate(rng, count, "heldout", REASONING[spec.name]))
    if spec.name in heldout.SUITES:
        return Suite(spec.name, tasks=heldout.build(spec.name, count, heldout_personas, rng))
    known = ", ".join([*REASONING, *heldout.SUITES])
    raise ValidationFailure(f"there is no suite {spec.name!r}: spec.evaluation.suites can name {known}")


def own_items(source: str, count: int | None, store: Store) -> list[Problem]:
    """The first `count` problems of a source, each with an id of its own and an answer."""
    found = load_records(store, source, Problem)[:count]
    bad = next((p.id for p in found if not p.answer), None)
    if bad is not None:
        raise ValidationFailure(f"problem {bad} of suite {source} has no answer: every item of a suite needs one")
    if len({p.id for p in found}) < len(found):
        raise ValidationFailure(f"suite {source} has an id twice: scores are paired by it, give each item its own")
    read = [with_truth(p) for p in found]
    wrong = [problem for problem, reason in read if reason]
    if wrong:
        raise ValidationFailure(
            f"{len(wrong)} of {len(found)} answers of suite {source} cannot be compared with any answer, such as "
            f"{wrong[0].answer!r} of problem {wrong[0].id}: give {CONVENTION}",
            reason="AnswerNotCheckable",
        )
    return [problem for problem, _ in read]


def reasoning_items(ctx: StageContext) -> list[Problem]:
    """The items of every held-out reasoning suite of the round, from Prepare's manifest."""
    suites = ctx.result(Stage.PREPARE, PreparedResult).suites
    paths = [s.path for s in suites if s.track is Track.REASONING]
    return [p for path in paths for p in ctx.records(Stage.PREPARE, path, Problem)]
