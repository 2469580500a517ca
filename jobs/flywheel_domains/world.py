"""A world: generated tables that are shared and never changed, and a patch over them.

Reading goes through a `View`, which hands out rows, follows references, notes the cells that were read and, if it is
told what is known, answers UNKNOWN for the rest. Writing goes through a `Draft`, from which a new world is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell, Expr, Scope, Trace
from flywheel_domains.ids import Ids
from flywheel_domains.layout import CHILDREN, PLAIN, layout_of
from flywheel_domains.session import Session, SessionFields
from flywheel_domains.unknown import UNKNOWN, Fields, Unknown
from flywheel_domains.values import fold, normalise, plain

T = TypeVar("T")
KEPT = 256
"""Results that are kept for one world."""
_tuple = tuple.__new__
Values = dict[str, Any]
Found = dict[tuple[str, str], list[str]]
"""What searching tools found in a world, by tool and arguments: a world does not change."""
Patch = dict[str, dict[str, Values | None]]
"""Table -> id -> the whole row, or None if it was dropped."""


@dataclass
class Base:
    """The generated tables of one seed, with an index of references and the number of rows that were ever made."""

    domain: Domain
    seed: int
    tables: dict[str, dict[str, Values]] = field(default_factory=dict)
    index: dict[tuple[str, str], dict[str, list[str]]] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    ids: dict[str, Ids] = field(default_factory=dict)

    def insert(self, table: str, row: Values) -> None:
        """Adds a generated row, while the base is being built."""
        self.tables[table][row["id"]] = row
        for column in layout_of(self.domain).refs[table]:
            if row.get(column) is not None:
                self.index.setdefault((table, column), {}).setdefault(row[column], []).append(row["id"])

    @cached_property
    def digest(self) -> str:
        """Digest of the tables."""
        return _digest(self.tables)


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=plain, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _real(base: Base, patch: Patch) -> Patch:
    """A patch without what is as it was."""
    return {
        table: kept
        for table, rows in patch.items()
        if (kept := {id: row for id, row in rows.items() if row != base.tables[table].get(id)})
    }


class Row(Fields):
    """A row of a view: attributes are columns, referred rows, and lists of the rows that refer to it."""

    __slots__ = ("id", "table", "view")

    def __init__(self, view: View, table: str, id: str) -> None:
        self.view, self.table, self.id = view, table, id

    def get(self, name: str) -> Any:
        """A column, the row that it refers to, or a list of rows."""
        return self.view.get(self.table, self.id, name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.view.get(self.table, self.id, name)

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Row):
            return self.id == other.id and self.table == other.table
        if isinstance(other, Unknown):
            return other == self
        return isinstance(other, str) and other == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"{self.table}/{self.id}"

    def plain(self) -> str:
        """The id, which is what a reference is outside."""
        return self.id


class View:
    """Reads a world. `trace` collects the cells that are read; `known`, if given, is all that may be read."""

    __slots__ = ("_excluded", "_layout", "base", "domain", "found", "known", "now", "patch", "trace")

    def __init__(
        self,
        domain: Domain,
        base: Base,
        patch: Patch,
        trace: Trace | None = None,
        known: frozenset[Cell] | set[Cell] | None = None,
        now: datetime | None = None,
    ) -> None:
        self.domain, self.base, self.patch, self.trace, self.known = domain, base, patch, trace, known
        self.now = now
        self.found: Found | None = None
        self._layout = layout_of(domain)
        self._excluded: dict[tuple[str, str], set[str]] | None = None

    @property
    def digest(self) -> str:
        """Digest of the content as it is now."""
        return _digest([self.base.digest, _real(self.base, self.patch)])

    # ---- rows

    def values(self, table: str, id: str) -> Values | None:
        """The stored values of a row, or None if it is not there."""
        changed = self.patch.get(table)
        if changed is not None and id in changed:
            return changed[id]
        return self.base.tables[table].get(id)

    def ids(self, table: str) -> Iterator[str]:
        """Ids of a table: generated rows in their order, then created ones."""
        rows, changed = self.base.tables[table], self.patch.get(table)
        if changed is None:
            yield from rows
            return
        for id in rows:
            if id not in changed or changed[id] is not None:
                yield id
        for id, row in changed.items():
            if row is not None and id not in rows:
                yield id

    def row(self, table: str, id: Any) -> Any:
        """A row by id, or None; that there is none is a cell as well."""
        if id is None or isinstance(id, Unknown | Row):
            return id
        if table not in self._layout.attributes:
            raise KeyError(f"there is no table {table}")
        if self.values(table, id) is not None:
            return Row(self, table, id)
        return None if self._read(Cell(table, id, "id")) else UNKNOWN

    def row_of(self, table: str, id: str) -> Row:
        """A row that is there, without asking."""
        return Row(self, table, id)

    def rows(self, table: str) -> Any:
        """All rows of a table."""
        if table not in self._layout.attributes:
            raise KeyError(f"there is no table {table}")
        if not self._read(Cell(table, "*", "*")):
            return UNKNOWN
        return [Row(self, table, id) for id in self.ids(table)]

    def children(self, table: str, column: str, parent: str) -> list[str]:
        """Ids of the rows of a table that refer to a row by a column."""
        found = self.base.index.get((table, column), {}).get(parent, ())
        changed = self.patch.get(table)
        if changed is None:
            return list(found)
        here = {id: None for id, row in changed.items() if row is not None and row[column] == parent}
        order = {id: None for id in found if id in here or id not in changed}
        return list(order | here)

    # ---- cells

    def get(self, table: str, id: str, name: str) -> Any:
        """A column of a row, the row it refers to, or a list of rows. Raises AttributeError."""
        if name == "id":
            return id
        kind = self._layout.attributes[table].get(name)
        if kind is None:
            raise AttributeError(f"{table} has no {name}")
        tag, target, column = kind
        if tag is CHILDREN:
            if not self._read(Cell(target, "*", f"{column}={id}")):
                return UNKNOWN
            return [Row(self, target, each) for each in self.children(target, column, id)]
        # the innermost loop of all that is computed: `_read` and `values` are written out
        if self.trace is not None:
            self.trace.add(_tuple(Cell, (table, id, name)))
        if self.known is not None and (table, id, name) not in self.known:
            return self._unread(table, id, name)
        changed = self.patch.get(table)
        row = changed[id] if changed is not None and id in changed else self.base.tables[table].get(id)
        if row is None:
            raise AttributeError(f"{table}/{id} is not there any more")
        value = row[name]
        return value if tag is PLAIN or value is None else Row(self, target, value)

    def _read(self, cell: Cell) -> bool:
        """Notes a cell; False if it is not known."""
        if self.trace is not None:
            self.trace.add(cell)
        return self.known is None or cell in self.known

    def _unread(self, table: str, id: str, name: str) -> Unknown:
        """An unknown cell; of a reference it is known that it is not one of those whose list does not show the row."""
        if self._excluded is None:
            self._excluded = {}
            for cell in self.known or ():
                column, equal, parent = cell.column.partition("=")
                if cell.row == "*" and equal:
                    self._excluded.setdefault((cell.table, column), set()).add(parent)
        parents = self._excluded.get((table, name))
        if not parents:
            return UNKNOWN
        row = self.values(table, id)
        return Unknown(frozenset(parents - {row[name]} if row else parents))

    # ---- expressions

    def scope(
        self,
        values: Mapping[str, Any] | None = None,
        lets: Mapping[str, Expr] | None = None,
        session: Session | None = None,
    ) -> Scope:
        """The names of the domain over this view: constants, the clock, the session, who calls."""
        base = dict(self._layout.names)
        if self.now is not None:
            base["now"], base["today"] = self.now, self.now.date()
        base["session"] = SessionFields(session or Session())
        caller_table = self.domain.caller_table
        if session is not None and session.caller is not None and caller_table is not None:
            base["caller"] = Row(self, caller_table, session.caller)
        return Scope(values, view=self, lets=lets, base=base, calls=self._layout.calls)


class World:
    """Tables at one moment: a shared base and a patch. It is never changed; a draft makes a new one."""

    __slots__ = ("_digest", "_kept", "base", "domain", "found", "made", "now", "patch")

    def __init__(
        self,
        domain: Domain,
        base: Base,
        patch: Patch | None = None,
        made: Mapping[str, int] | None = None,
        now: datetime | None = None,
    ) -> None:
        self.domain, self.base, self.now = domain, base, now
        self.patch: Patch = patch or {}
        self.made: Mapping[str, int] = made or {}
        self._digest = ""
        self.found: Found = {}
        self._kept: dict[Hashable, Any] = {}

    def view(self, trace: Trace | None = None, known: frozenset[Cell] | set[Cell] | None = None) -> View:
        """A way to read it."""
        view = View(self.domain, self.base, self.patch, trace, known, self.now)
        view.found = self.found
        return view

    def row(self, table: str, id: str) -> Row | None:
        """A row, read without trace."""
        found: Row | None = self.view().row(table, id)
        return found

    def rows(self, table: str) -> list[Row]:
        """All rows of a table, read without trace."""
        found: list[Row] = self.view().rows(table)
        return found

    def draft(self) -> Draft:
        """A copy to write to."""
        return Draft(self)

    def with_cells(self, cells: Mapping[Cell, Any]) -> World:
        """The world with some values changed: how a branch or a twin patches its state. Raises ValueError."""
        draft = self.draft()
        for cell, value in cells.items():
            draft.set(cell.table, cell.row, {cell.column: value})
        return draft.world()

    def keep(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` works out about this world, once: a world is never changed, so that it stays right."""
        found: T | None = self._kept.get(key)
        if found is None:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = found = make()
        return found

    def at(self, now: datetime) -> World:
        """The same tables at another time than the domain's: how a branch patches the clock."""
        return World(self.domain, self.base, self.patch, self.made, now)

    def check(self) -> list[str]:
        """Invariants that do not hold, over all rows."""
        view = self.view()
        return broken(view, [(table, id) for table in self.domain.tables for id in view.ids(table)])

    @property
    def digest(self) -> str:
        """Digest of the content: two worlds with the same rows have the same, however they came about."""
        if not self._digest:
            self._digest = self.view().digest
        return self._digest


def broken(view: View, rows: Iterable[tuple[str, str]]) -> list[str]:
    """The invariants that do not hold for some rows, in plain words."""
    found = []
    for table, id in rows:
        for check in view.domain.tables[table].check:
            if not check.true(view.scope({"it": Row(view, table, id)})):
                found.append(f"{table}/{id}: not so: {check.text}")
    return found


class Draft(View):
    """A view that can be written to. Tables are copied when they are first written to; the world stays as it is."""

    __slots__ = ("_own", "made", "touched")

    def __init__(self, world: World) -> None:
        super().__init__(world.domain, world.base, dict(world.patch), now=world.now)
        self.made = dict(world.made)
        self._own: set[str] = set()
        self.touched: dict[tuple[str, str], None] = {}

    def world(self) -> World:
        """The world as written."""
        return World(self.domain, self.base, self.patch, self.made, self.now)

    def _table(self, table: str) -> dict[str, Values | None]:
        if table not in self._own:
            self._own.add(table)
            self.patch[table] = dict(self.patch.get(table, {}))
        return self.patch[table]

    def set(self, table: str, id: str, values: Mapping[str, Any]) -> None:
        """Changes columns of a row. Raises ValueError for what the column does not hold."""
        row = self.values(table, id)
        if row is None:
            raise ValueError(f"{table}/{id} is not there")
        new = {name: self._value(table, name, value) for name, value in values.items()}
        if any(row[name] != value for name, value in new.items()):
            self._table(table)[id] = {**row, **new}
            self.touched[table, id] = None

    def add(self, table: str, values: Mapping[str, Any]) -> Row:
        """Creates a row; columns that are not given are empty or have their only value. Raises ValueError."""
        columns = self._layout.columns[table]
        unknown = set(values) - set(columns)
        if unknown:
            raise ValueError(f"{table} has no column {', '.join(sorted(unknown))}")
        row: Values = {"id": ""}
        for name in columns:
            if name != "id":
                given = values[name] if name in values else self._layout.defaults[table].get(name)
                row[name] = self._value(table, name, given)
        row["id"] = self._new_id(table, row)
        self._table(table)[row["id"]] = row
        self.touched[table, row["id"]] = None
        return Row(self, table, row["id"])

    def drop(self, table: str, id: str) -> None:
        """Takes a row away. Raises ValueError if it is not there."""
        if self.values(table, id) is None:
            raise ValueError(f"{table}/{id} is not there")
        self.touched[table, id] = None
        rows = self._table(table)
        if id in self.base.tables[table]:
            rows[id] = None
        else:
            del rows[id]

    def _new_id(self, table: str, row: Values) -> str:
        number = self.made.get(table, self.base.made.get(table, 0))
        self.made[table] = number + 1
        id = self.id_of(table, number, row)
        if self.values(table, id) is not None:
            raise ValueError(f"{table} has {id} already")
        return id

    def id_of(self, table: str, number: int, row: Values) -> str:
        """The id of a table's row by its number, or by an expression over its columns."""
        gen = self.domain.tables[table].columns["id"].gen
        assert gen is not None
        if gen.code is not None:
            return self.base.ids[table].number(number)
        if gen.seq is not None:
            return gen.seq.replace("%d", str(number + 1))
        if gen.expr is None:
            raise ValueError(f"ids of {table} are made by code, seq or expr")
        rows = {
            name: Row(self, kind.table, row[name])
            if kind.kind == "ref" and row.get(name) is not None
            else row.get(name)
            for name, kind in self._layout.columns[table].items()
        }
        return str(gen.expr.eval(self.scope(rows)))

    def _value(self, table: str, name: str, value: Any) -> Any:
        kind = self._layout.columns[table].get(name)
        if kind is None or name == "id":
            raise ValueError(f"{table} has no column {name} that can be written")
        column = self.domain.tables[table].columns.get(name)
        if value is None:
            if column is None or not column.nullable:
                raise ValueError(f"{table}.{name} is never empty")
            return None
        try:
            found = normalise(kind, value)
        except ValueError as error:
            raise ValueError(f"{table}.{name}: {error}") from None
        if kind.kind == "ref" and self.values(kind.table, found) is None:
            raise ValueError(f"{table}.{name}: {kind.table} has no {found}")
        return fold(found) if column is not None and column.fold and isinstance(found, str) else found
