"""Scores of a model by item, and pairs of two models' scores on the same item.

Items are paired by what they say, not by their ids: a suite that was replaced under its address has other items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from flywheel_api.records.evaluation import EvaluationRow, GateRow
from flywheel_jobs.evaluation.intervals import Spread, exact, spread


@dataclass(frozen=True)
class ItemScore:
    """How many of a model's samples of an item were right, and what the item is about."""

    right: Fraction
    samples: int
    facts: str
    strata: Mapping[str, str]

    @property
    def mean(self) -> Fraction:
        """Share of right samples."""
        return self.right / self.samples


Scores = dict[str, dict[str, ItemScore]]
"""Suite -> content of an item -> its score."""


@dataclass(frozen=True)
class Pair:
    """Two models on one item; facts and strata are those of the second, which this round sampled."""

    before: ItemScore
    after: ItemScore

    @property
    def gain(self) -> Fraction:
        """Second less first, exact."""
        return self.after.mean - self.before.mean


def item_key(row: EvaluationRow | GateRow) -> str:
    """What an item is paired by. Rows of older versions have no content: they pair with nothing of this one."""
    return row.content or f"id {row.item}"


def item_scores(rows: Iterable[EvaluationRow | GateRow]) -> Scores:
    """Scores by suite and item. A row of the gate stands for all samples of its item."""
    found: Scores = {}
    for row in rows:
        samples = row.samples if isinstance(row, GateRow) else 1
        suite, key = found.setdefault(row.suite, {}), item_key(row)
        known = suite.get(key)
        right, total = exact(row.score) * samples, samples
        if known is not None:
            right, total = right + known.right, total + known.samples
        suite[key] = ItemScore(right, total, row.facts or key, row.strata)
    return found


def pairs(first: Mapping[str, ItemScore], second: Mapping[str, ItemScore]) -> list[Pair]:
    """Both models on every item that both were given, in a stable order."""
    return [Pair(first[key], second[key]) for key in sorted(first.keys() & second.keys())]


def gains(found: Iterable[Pair]) -> Spread:
    """The mean gain with its draws. Raises ValueError without a pair."""
    listed = list(found)
    return spread([p.gain for p in listed], -1, 1, [p.after.facts for p in listed])


def level(found: Iterable[ItemScore]) -> Spread:
    """A model's mean score with its draws. Raises ValueError without an item."""
    listed = list(found)
    return spread([s.mean for s in listed], 0, 1, [s.facts for s in listed])
