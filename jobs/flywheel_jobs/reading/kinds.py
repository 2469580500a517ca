"""The kinds of answers, and an answer as it is understood."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from flywheel_jobs.reading.expr import Node


class Kind(StrEnum):
    """What sort of answer it is."""

    NUMBER = "number"  # an exact rational
    SCALAR = "scalar"  # an expression with a value at every point
    ORDERED = "ordered"  # a tuple, vector, interval or row, with its brackets
    SET = "set"  # a set, or answers side by side
    CHOICE = "choice"  # the letter of a multiple choice
    RELATION = "relation"  # an equation or inequality that is no plain `x = ...`
    WORDS = "words"
    REFUSAL = "refusal"  # words that say that there is no answer
    UNFINISHED = "unfinished"  # a computation that was not carried out: equal to its own text alone
    OTHER = "other"  # not understood: equal to its own text alone


CHECKABLE = frozenset({Kind.NUMBER, Kind.SCALAR, Kind.ORDERED, Kind.SET, Kind.CHOICE, Kind.RELATION, Kind.WORDS})


@dataclass(frozen=True)
class Value:
    """An answer as it is understood. `text` is its folded writing."""

    kind: Kind
    text: str
    number: Fraction | None = None
    node: Node | None = None
    brackets: str = ""
    parts: tuple[Value, ...] = field(default=())
    name: str = ""  # of `x = 3`; a value without one agrees with any
    unit: str = ""  # of `12 cm`; a value without one agrees with any

    @property
    def checkable(self) -> bool:
        """Whether another answer can be told from this one by what it means."""
        return self.kind in CHECKABLE and all(p.checkable for p in self.parts)


NOTHING = Value(Kind.OTHER, "")
