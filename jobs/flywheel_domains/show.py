"""What a view shows of a row, and so which cells it reveals."""

from __future__ import annotations

from typing import Any

from flywheel_domains.expr import Cell
from flywheel_domains.model import View as Shown
from flywheel_domains.values import plain
from flywheel_domains.world import Row, View


def show_row(view: View, shown: Shown, row: Row, revealed: set[Cell]) -> dict[str, Any] | str:
    """The row as the view has it; what can be seen in it is added to `revealed`."""
    answer = _columns(view, row.table, row.id, shown.show, revealed)
    if shown.plain:
        return ", ".join(str(value) for value in answer.values() if value is not None)
    for name, columns in shown.children.items():
        child, column = view.domain.children[row.table][name]
        ids = view.children(child, column, row.id)
        revealed.add(Cell(child, "*", f"{column}={row.id}"))
        revealed.update(
            Cell(child, id, column) for id in ids
        )  # a child that is shown under its parent shows its parent
        answer[name] = [_columns(view, child, id, columns, revealed) for id in ids]
    return answer


def _columns(view: View, table: str, id: str, columns: tuple[str, ...], revealed: set[Cell]) -> dict[str, Any]:
    revealed.add(Cell(table, id, "id"))
    return {path: plain(_value(view, table, id, path, revealed)) for path in columns}


def _value(view: View, table: str, id: str, path: str, revealed: set[Cell]) -> Any:
    """A column, or one of the row that it refers to: every cell on the way is seen."""
    column, _, rest = path.partition(".")
    revealed.add(Cell(table, id, column))
    row = view.values(table, id)
    assert row is not None
    value = row[column]
    if not rest or value is None:
        return value
    return _value(view, view.domain.columns[table][column].table, value, rest, revealed)
