"""What an item is about: the facts that it shares with others, and the strata of its suite that it belongs to."""

from __future__ import annotations

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import content_digest
from flywheel_api.records.reasoning import Problem
from flywheel_jobs.agentic.distinct import near_task


def facts_of(record: Problem | Task) -> str:
    """What items that move together have in common: values of a problem in whatever order and words, a task's world.

    An item of unknown form shares its facts with nobody.
    """
    if isinstance(record, Problem):
        if record.drawn is not None:
            family, values = record.drawn
            return content_digest(family, sorted(values, key=repr))
        return content_digest(record.typed) if record.typed else record.content
    return near_task(record)  # the same case in other words is the same fact


def strata_of(record: Problem | Task) -> dict[str, str]:
    """Dimension to value: family and level of a problem, expected outcome and kind of branch of a task."""
    if isinstance(record, Problem):
        found = {"family": record.family, "level": str(record.level or "")}
    else:
        found = {"outcome": record.outcome, "kind": record.kind}
    return {dimension: value for dimension, value in found.items() if value}
