"""How columns of a new world get their values, as it is declared."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from flywheel_domains.blocks import Expression, Part, Share


class Bias(Part):
    """A share of the rows gets its value from elsewhere: another range, or one step around each of some limits."""

    share: Share = 0.25
    hours: tuple[int, int] | None = None
    days: tuple[int, int] | None = None
    range: tuple[int, int] | None = None
    weights: dict[str, int] | None = None
    limits: tuple[Expression, ...] = ()
    step: Expression | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [self.hours, self.days, self.range, self.weights, self.limits or None]
        if sum(each is not None for each in given) != 1:
            raise ValueError("a bias has exactly one of hours, days, range, weights, limits")
        return self


def _weights(raw: object) -> object:
    """Keys of a mapping are text in the file; that a number is meant shows in the column's type."""
    if isinstance(raw, dict):
        return {str(key): value for key, value in raw.items()}
    return raw


class Gen(Part):
    """How a column gets its value in a new world: exactly one way, and perhaps a bias."""

    code: str | None = None
    seq: str | None = None
    person: Literal["full", "first", "last"] | None = Field(default=None, alias="name")
    email: str | None = None
    date: tuple[str, str] | None = None
    weights: Annotated[dict[str, Annotated[int, Field(ge=0)]] | None, BeforeValidator(_weights)] = None
    any: str | None = None
    differs: Expression | None = Field(default=None, alias="not")
    value: Any = None
    expr: Expression | None = None
    chance: Share | None = None
    range: tuple[int, int] | None = None
    hours: tuple[int, int] | None = None
    days: tuple[int, int] | None = None
    pick: tuple[str | int, ...] | None = None
    none: Share | None = None
    bias: Bias | None = None

    @cached_property
    def way(self) -> str:
        """Which of the ways it is."""
        return next(name for name in WAYS if name in self.model_fields_set)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in WAYS if name in self.model_fields_set]
        if len(given) != 1:
            raise ValueError(f"a generator is exactly one of {', '.join(WAYS).replace('person', 'name')}")
        return self


WAYS = (
    "code",
    "seq",
    "person",
    "email",
    "date",
    "weights",
    "any",
    "value",
    "expr",
    "chance",
    "range",
    "hours",
    "days",
    "pick",
)
