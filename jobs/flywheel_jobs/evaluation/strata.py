"""What an item is about: the facts that it shares with others, and the strata of its suite that it belongs to."""

from __future__ import annotations

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import content_digest
from flywheel_api.records.reasoning import Problem
from flywheel_jobs.agentic.distinct import near_task


def facts_of(record: Problem | Task) -> str:
    """What items that move together have in common: values of a problem in whatever order and words, a task's rows.

    A world alone is no fact: its other rows are drawn anew, as those of another world are. An item of unknown form, or
    that rests on no row, shares its facts with nobody who does not ask the same.
    """
    if isinstance(record, Problem):
        if record.drawn is not None:
            family, values = record.drawn
            return content_digest(family, sorted(values, key=repr))
        return content_digest(record.typed) if record.typed else record.content
    rows = {cell.rpartition("/")[0] for cell in record.right.proof}
    named = sorted(row for row in rows if not row.endswith("/*"))  # not those that a table was searched for
    return content_digest(record.package, record.world_seed, named) if named else near_task(record)


def strata_of(record: Problem | Task) -> dict[str, str]:
    """Dimension to value: family and level of a problem, expected outcome and kind of branch of a task."""
    if isinstance(record, Problem):
        found = {"family": record.family, "level": str(record.level or "")}
    else:
        found = {"outcome": record.outcome, "kind": record.kind}
    return {dimension: value for dimension, value in found.items() if value}
