"""Tables as they are declared: columns, whose rows they are, what always holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flywheel_domains.blocks import Expression, Name, Named, Part
from flywheel_domains.gens import Gen


class Column(Named):
    """A column: a type or a reference, how it is compared, and how it is generated."""

    type: str | tuple[str, ...] | dict[str, Any] | None = None
    ref: str | None = None
    where: Expression | None = None
    nullable: bool = False
    fold: Literal["case"] | None = None
    compare: Literal["exact", "fold", "ignore"] = "exact"
    gen: Gen | None = None
    about: str = ""


class Per(Part):
    """`per: {bookings: [1, 3], as: booking}`: a number of rows for each row of a parent.

    `{departures: cabin, as: departure, fill: cabin}`: one row for each value of the enumeration, in column `fill`.
    """

    parent: str
    number: tuple[Annotated[int, Field(ge=0, le=50)], Annotated[int, Field(ge=0, le=50)]] | None = None
    each: str | None = None
    column: Name = Field(alias="as")
    fill: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, raw: object) -> object:
        if not isinstance(raw, dict) or "parent" in raw:
            return raw
        tables = [key for key in raw if key not in ("as", "fill")]
        if len(tables) != 1:
            raise ValueError("`per` names one table: {table: [least, most], as: column}")
        said = raw[tables[0]]
        number = {"each": said} if isinstance(said, str) else {"number": said}
        return {"parent": tables[0], **number, **{key: raw[key] for key in ("as", "fill") if key in raw}}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.each is None) != (self.fill is None):
            raise ValueError("`fill` names the column that takes the values of the enumeration")
        if self.number is not None and self.number[0] > self.number[1]:
            raise ValueError("the least comes first: [least, most]")
        return self


Data = Annotated[tuple[dict[Name, Any], ...], Field(min_length=1, max_length=5_000)]


class Table(Named):
    """A table: a number of rows, rows as they are, or some for each row of a parent (or each value of an enumeration).

    Of a row that is given, the columns that it does not name are generated.

    `check` holds conditions on each row (`it`), asserted after every call.
    """

    rows: Annotated[int, Field(ge=0, le=5_000)] | Data | None = None
    per: Per | None = None
    columns: dict[Name, Column]
    check: tuple[Expression, ...] = ()
    about: str = ""

    @property
    def data(self) -> tuple[dict[str, Any], ...]:
        """The rows that are given."""
        return self.rows if isinstance(self.rows, tuple) else ()

    @property
    def parent(self) -> str | None:
        """The table whose rows this one belongs to."""
        return self.per.parent if self.per else None

    @property
    def parent_column(self) -> str | None:
        """The column that refers to the parent."""
        return self.per.column if self.per else None

    @property
    def fill(self) -> str | None:
        """The column that takes each value of an enumeration once for every row of the parent."""
        return self.per.fill if self.per else None
