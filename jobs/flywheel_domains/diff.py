"""What a conversation changed, in a form in which two ways to the same end are equal.

Rows that were there are compared by id and column. Rows that were created or dropped are compared by content: an id
that a counter gave says nothing, the order of children says nothing, and a child that was taken away and put back is as
it was.
Columns with `compare: ignore` are left out, those with `compare: fold` are compared without regard to case.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell
from flywheel_domains.values import fold, plain
from flywheel_domains.world import Values, World


@dataclass(frozen=True)
class Diff:
    """`changed` cells with new values; `created` and `dropped` rows as (table, content), as often as they occur."""

    changed: tuple[tuple[Cell, Any], ...] = ()
    created: tuple[tuple[str, str], ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changed or self.created or self.dropped)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "changed": [[*cell, plain(value)] for cell, value in self.changed],
            "created": [list(row) for row in self.created],
            "dropped": [list(row) for row in self.dropped],
        }


def diff(before: World, after: World) -> Diff:
    """What is different in `after`."""
    return _Comparison(before, after).result()


class _Comparison:
    def __init__(self, before: World, after: World) -> None:
        self.domain: Domain = before.domain
        self.before, self.after = before.view(), after.view()
        self.rows = {
            table: dict.fromkeys([*before.patch.get(table, ()), *after.patch.get(table, ())])
            for table in self.domain.tables
            if before.patch.get(table) is not after.patch.get(table)
        }
        self.created = {
            (table, id)
            for table, id in self._all()
            if self._old(table, id) is None and self._new(table, id) is not None
        }
        self.dropped = {
            (table, id)
            for table, id in self._all()
            if self._old(table, id) is not None and self._new(table, id) is None
        }

    def _all(self) -> list[tuple[str, str]]:
        return [(table, id) for table, ids in self.rows.items() for id in ids]

    def _old(self, table: str, id: str) -> Values | None:
        return self.before.values(table, id)

    def _new(self, table: str, id: str) -> Values | None:
        return self.after.values(table, id)

    def result(self) -> Diff:
        changed = []
        for table, id in self._all():
            old, new = self._old(table, id), self._new(table, id)
            if old is not None and new is not None and old is not new:
                for column in self._compared(table):
                    left, right = self._value(table, column, old), self._value(table, column, new)
                    if left != right:
                        changed.append((Cell(table, id, column), right))
        made = Counter(self._content(table, id, new=True) for table, id in self.created if not self._inside(table, id))
        gone = Counter(self._content(table, id, new=False) for table, id in self.dropped)
        return Diff(
            changed=tuple(sorted(changed, key=lambda each: each[0])),
            created=tuple(sorted((made - gone).elements())),
            dropped=tuple(sorted((gone - made).elements())),
        )

    def _compared(self, table: str) -> list[str]:
        columns = self.domain.tables[table].columns
        return [
            name
            for name in self.domain.columns[table]
            if name != "id" and (name not in columns or columns[name].compare != "ignore")
        ]

    def _value(self, table: str, column: str, row: Values) -> Any:
        """A cell for comparison: folded if so declared, a reference to a created row by that row's content."""
        value, kind = row[column], self.domain.columns[table][column]
        if kind.kind == "ref" and value is not None and (kind.table, value) in self.created:
            return self._content(kind.table, value, new=True, alone=True)[1]
        declared = self.domain.tables[table].columns.get(column)
        if declared is not None and declared.compare == "fold" and isinstance(value, str):
            return fold(value)
        return value

    def _inside(self, table: str, id: str) -> bool:
        """Whether a created row belongs to another created one, whose content holds it."""
        per, row = self.domain.tables[table].per, self._new(table, id)
        return per is not None and row is not None and (per.parent, row[per.column]) in self.created

    def _content(self, table: str, id: str, *, new: bool, alone: bool = False) -> tuple[str, str]:
        """A row without its id, with the children that were made with it (unless `alone`), as text."""
        row: Mapping[str, Any] = (self._new(table, id) if new else self._old(table, id)) or {}
        per = self.domain.tables[table].per
        content = {column: plain(self._value(table, column, dict(row))) for column in self._compared(table)}
        if new and self._inside(table, id) and per is not None:
            content.pop(per.column)
        if new and not alone:
            for name, declared in self.domain.tables.items():
                if declared.per is not None and declared.per.parent == table:
                    ids = self.after.children(name, declared.per.column, id)
                    children = [self._content(name, each, new=True)[1] for each in ids if (name, each) in self.created]
                    content[f"+{name}"] = sorted(children)
        return table, json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
