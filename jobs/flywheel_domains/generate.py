"""The world of a seed: rows by the generators of the declaration, tables and columns in the order of the file."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from flywheel_domains import people
from flywheel_domains.domain import Domain
from flywheel_domains.errors import DomainError, ExprError, Fault
from flywheel_domains.expr import Expr, Scope
from flywheel_domains.gens import Bias, Gen
from flywheel_domains.ids import Ids, IdsUsedUp
from flywheel_domains.tables import Column, Table
from flywheel_domains.values import ColumnType, fold, normalise
from flywheel_domains.world import Base, Draft, Row, Values, World

STEP = 5
"""Minutes between moments that are drawn from a range of hours."""
KEPT = 64
"""Worlds that are kept: branches and twins share them."""


def build_world(domain: Domain, seed: int) -> World:
    """The world of a seed, shared by all who ask for it. Raises DomainError if a generator does not work."""
    return _kept(_ByIdentity(domain), seed)


class _ByIdentity:
    """A domain as a key: by its digest, since two loads of one package are one."""

    __slots__ = ("domain",)

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    def __hash__(self) -> int:
        return hash(self.domain.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.domain is self.domain


@lru_cache(maxsize=KEPT)
def _kept(key: _ByIdentity, seed: int) -> World:
    return _Builder(key.domain, seed).build()


class _Builder:
    def __init__(self, domain: Domain, seed: int) -> None:
        self.domain, self.seed = domain, seed
        self.base = Base(domain, seed)
        self.draft = Draft(World(domain, self.base))
        self.rng = random.Random()
        self.calls: Mapping[str, Callable[..., Any]] = {
            **domain.layout.calls,
            "pick": lambda scope, *given: self.rng.choice(given),
            "rand": lambda scope, least, most: self.rng.randint(least, most),
        }

    def build(self) -> World:
        for name in self.domain.tables:
            self.base.tables[name] = {}
            gen = self.domain.tables[name].columns["id"].gen
            if gen is not None and gen.code is not None:
                self.base.ids[name] = Ids.of(gen.code, f"{self.seed}/{name}")
        for name, table in self.domain.tables.items():
            self.rng.seed(f"{self.seed}/{name}")
            for given in self._given(table):
                self._row(name, table, given)
        return World(self.domain, self.base)

    def _given(self, table: Table) -> list[Values]:
        """What each row of a table starts from: its parent, and the value that it stands for."""
        if table.per is None:
            if not isinstance(table.rows, tuple):
                return [{} for _ in range(table.rows or 0)]
            return [self._data(table, row) for row in table.data]
        rows: list[Values] = []
        for parent in self.base.tables[table.per.parent]:
            start = {table.per.column: parent}
            if table.per.each is not None and table.fill is not None:
                rows += [{**start, table.fill: value} for value in self.domain.types[table.per.each]]
            else:
                rows += [dict(start) for _ in range(self.rng.randint(*table.per.number or (0, 0)))]
        return rows

    def _data(self, table: Table, row: Mapping[str, Any]) -> Values:
        """A row that is given, as it is inside."""
        kinds = self.domain.columns[table.name]
        values = {key: None if value is None else normalise(kinds[key], value) for key, value in row.items()}
        for key, value in values.items():
            if kinds[key].kind == "ref" and value is not None and value not in self.base.tables[kinds[key].table]:
                self._fault(table.name, key, f"{kinds[key].table} has no {value}")
        return values

    def _row(self, name: str, table: Table, row: Values) -> None:
        number = self.base.made.get(name, 0)
        self.base.made[name] = number + 1
        scope = Scope(view=self.draft, base=self.domain.layout.names, calls=self.calls)
        kinds = self.domain.columns[name]
        for key, value in row.items():
            scope[key] = self._seen(kinds[key], value)
        given = "id" in row
        late = not given and table.columns["id"].gen is not None and table.columns["id"].gen.expr is not None
        if not late and not given:
            row["id"] = scope["id"] = self._id(name, number, row)
        for column in table.columns.values():
            if column.name in row or column.name == "id":
                continue
            value = self._drawn(name, column, kinds[column.name], scope, number)
            row[column.name] = value
            scope[column.name] = self._seen(kinds[column.name], value)
        if late:
            row["id"] = self._id(name, number, row)
        if row["id"] in self.base.tables[name]:
            self._fault(name, "id", f"{row['id']} is made twice")
        self.base.insert(name, {"id": row.pop("id"), **{key: row[key] for key in kinds if key != "id"}})

    def _id(self, name: str, number: int, row: Values) -> str:
        try:
            return self.draft.id_of(name, number, row)
        except IdsUsedUp as error:
            self._fault(name, "id", str(error))
        except (ExprError, ValueError) as error:
            self._fault(name, "id", _why(error))
        raise AssertionError

    def _seen(self, kind: ColumnType, value: Any) -> Any:
        return Row(self.draft, kind.table, value) if kind.kind == "ref" and value is not None else value

    def _fault(self, table: str, column: str, message: str) -> None:
        where = f"tables.{table}.columns.{column}"
        line = self.domain.line_of(("tables", table, "columns", column))
        raise DomainError([Fault("domain.yaml", line, where, message)]) from None

    def _drawn(self, name: str, column: Column, kind: ColumnType, scope: Scope, number: int) -> Any:
        try:
            if column.gen is None:
                raw = self._reference(column, kind, scope)
            else:
                raw = self._value(column.gen, kind, scope, number)
            if raw is None:
                if not column.nullable:
                    raise ValueError("nothing to choose from, and the column is never empty")
                return None
            value = normalise(kind, raw)
        except (ExprError, ValueError, KeyError) as error:
            self._fault(name, column.name, _why(error))
        return fold(value) if column.fold and isinstance(value, str) else value

    def _reference(self, column: Column, kind: ColumnType, scope: Scope) -> Any:
        ids = list(self.base.tables[kind.table])
        if column.where is not None:
            ids = [id for id in ids if column.where.true(self._with_it(scope, Row(self.draft, kind.table, id)))]
        return self.rng.choice(ids) if ids else None

    def _with_it(self, scope: Scope, row: Row) -> Scope:
        scope["it"] = row
        return scope

    def _value(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        if gen.none is not None and self.rng.random() < gen.none:
            return None
        if gen.bias is not None and self.rng.random() < gen.bias.share:
            return self._biased(gen.bias, kind, scope)
        return _WAYS[gen.way](self, gen, kind, scope, number)

    def _biased(self, bias: Bias, kind: ColumnType, scope: Scope) -> Any:
        if bias.limits:
            limit = self.rng.choice(bias.limits).eval(scope)
            step = bias.step.eval(scope) if bias.step is not None else _least_step(kind)
            return limit + self.rng.choice((-1, 0, 1)) * step
        if bias.hours is not None:
            return self._hours(bias.hours)
        if bias.days is not None:
            return self._days(bias.days, kind)
        if bias.range is not None:
            return self.rng.randint(*bias.range)
        return self._weighted(bias.weights or {})

    def _weighted(self, weights: Mapping[str, int]) -> str:
        return self.rng.choices(list(weights), list(weights.values()))[0]

    def _hours(self, hours: tuple[int, int]) -> datetime:
        least, most = (each * 60 // STEP for each in hours)
        return self.domain.clock.moment + timedelta(minutes=STEP * self.rng.randint(least, most))

    def _days(self, days: tuple[int, int], kind: ColumnType) -> Any:
        moment = self.domain.clock.moment + timedelta(days=self.rng.randint(*days))
        return moment if kind.kind == "datetime" else moment.date()

    # ---- the ways

    def _code(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return Ids.of(gen.code or "", f"{self.seed}/{gen.code}").number(number)

    def _seq(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return (gen.seq or "").replace("%d", str(number + 1))

    def _person(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return people.person(self.rng, gen.person or "full")

    def _email(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return people.email(scope[gen.email or ""], number + 1)

    def _date(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        least, most = (normalise(ColumnType("date"), each) for each in gen.date or ())
        return least + timedelta(days=self.rng.randint(0, (most - least).days))

    def _weights(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return self._weighted(gen.weights or {})

    def _any(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        choices = list(self.domain.types.get(gen.any or "", ())) or list(self.base.tables.get(gen.any or "", ()))
        if gen.differs is not None:
            other = gen.differs.eval(scope)
            others = list(other) if isinstance(other, list | tuple) else [getattr(other, "id", other)]
            choices = [choice for choice in choices if choice not in others]
        return self.rng.choice(choices) if choices else None

    def _fixed(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return gen.value

    def _expr(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        found: Expr | None = gen.expr
        assert found is not None
        return found.eval(scope)

    def _chance(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return self.rng.random() < (gen.chance or 0)

    def _range(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return self.rng.randint(*gen.range or (0, 0))

    def _in_hours(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return self._hours(gen.hours or (0, 0))

    def _in_days(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return self._days(gen.days or (0, 0), kind)

    def _pick(self, gen: Gen, kind: ColumnType, scope: Scope, number: int) -> Any:
        return self.rng.choice(gen.pick or ())


def _why(error: Exception) -> str:
    return f"{error.message} in `{error.text}`" if isinstance(error, ExprError) else str(error)


def _least_step(kind: ColumnType) -> Any:
    """The least that two values of a type differ by, as windows are stated."""
    if kind.kind == "datetime":
        return timedelta(minutes=1)
    return timedelta(days=1) if kind.kind == "date" else 1


_WAYS: dict[str, Callable[..., Any]] = {
    "code": _Builder._code,
    "seq": _Builder._seq,
    "person": _Builder._person,
    "email": _Builder._email,
    "date": _Builder._date,
    "weights": _Builder._weights,
    "any": _Builder._any,
    "value": _Builder._fixed,
    "expr": _Builder._expr,
    "chance": _Builder._chance,
    "range": _Builder._range,
    "hours": _Builder._in_hours,
    "days": _Builder._in_days,
    "pick": _Builder._pick,
}
