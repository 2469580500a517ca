"""Held-out suites: built-in ones by name, and problems of a user's own.

A suite is fixed by its name and size, or by its source: no round's seed changes it, so that scores of different rounds
compare.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import content_digest
from flywheel_api.records.reasoning import Persona, Problem, QuarantinedRow
from flywheel_api.results import PreparedResult, SuiteInfo, Track
from flywheel_api.round import SuiteSpec
from flywheel_api.round_evaluation import HELDOUT, NUMERACY
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import heldout
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.domains.packages import Package
from flywheel_jobs.domains.shelf import Shelf
from flywheel_jobs.harness.context import OutputFile, StageContext
from flywheel_jobs.reasoning.truths import CONVENTION, with_truth
from flywheel_jobs.seeds import numeracy
from flywheel_jobs.sources.load import Source, load
from flywheel_jobs.storage.store import Store

DEFAULT_ITEMS = 50
NUMERACY_ITEMS = 210  # then each family has items of each level


@dataclass(frozen=True)
class Suite:
    """A suite's items; those of the other track are none."""

    name: str
    problems: Sequence[Problem] = ()
    tasks: Sequence[Task] = ()
    quarantine: Sequence[QuarantinedRow] = ()
    aside: int = 0
    """Rows of its source that were set aside, of which the first are in `quarantine`."""

    @property
    def items(self) -> list[Problem | Task]:
        """Its items, of whichever track."""
        return [*self.problems, *self.tasks]

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


def build(
    spec: SuiteSpec, heldout_personas: list[Persona], store: Store, domains: Mapping[str, Package], shelf: Shelf
) -> Suite:
    """The suite that a round names. `domains` are its packages, by name, on the shelf.

    Raises ValidationFailure listing the names there are, or the first bad record.
    """
    if spec.source is not None:
        found = own_items(spec, spec.source, store)
        return Suite(spec.name, problems=found.records, quarantine=found.quarantine, aside=found.wrong + found.unusable)
    if spec.name == NUMERACY:
        rng = random.Random(f"suite/{spec.name}")
        return Suite(spec.name, problems=numeracy.suite(rng, spec.items or NUMERACY_ITEMS))
    package = domains.get(heldout.domain_of_suite(spec.name))
    if package is not None:
        return Suite(
            spec.name, tasks=heldout.build(spec.name, spec.items or DEFAULT_ITEMS, heldout_personas, package, shelf)
        )
    known = ", ".join([NUMERACY, *(f"{name}{HELDOUT}" for name in domains)])
    raise ValidationFailure(f"there is no suite {spec.name!r}: spec.evaluation.suites can name {known}")


def own_items(spec: SuiteSpec, source: str, store: Store) -> Source[Problem]:
    """The first `items` usable problems of a source. Raises ValidationFailure where there are fewer.

    Set aside are those whose answer nothing could be compared with, and those that ask what an earlier one asks with
    another answer.
    """
    answers: dict[str, Problem] = {}

    def refine(problem: Problem) -> tuple[Problem, str]:
        problem, wrong = with_truth(problem)
        if wrong:
            return problem, f"its answer {problem.answer!r:.80} cannot be compared with any: give {CONVENTION}"
        first = answers.setdefault(content_digest(problem.messages()), problem)
        return problem, "" if first.answer == problem.answer else f"{first.id} asks the same, with another answer"

    fields = spec.fields.columns() if spec.fields else {}
    name = f"spec.evaluation.suites ({spec.name}).fields"
    found = load(store, source, Problem, name, fields, spec.items, refine=refine)
    if spec.items is not None and len(found.records) < spec.items:
        raise ValidationFailure(
            f"suite {spec.name} is to have {spec.items} items and {source} has {len(found.records)} that can be used: "
            "lower items, or leave it out to take all"
        )
    return found


def reasoning_items(ctx: StageContext) -> list[Problem]:
    """The items of every held-out reasoning suite of the round, from Prepare's manifest."""
    suites = ctx.result(Stage.PREPARE, PreparedResult).suites
    paths = [s.path for s in suites if s.track is Track.REASONING]
    return [p for path in paths for p in ctx.records(Stage.PREPARE, path, Problem)]
