"""What a view shows of a row, and so which cells it reveals."""

from __future__ import annotations

from typing import Any

from flywheel_domains.expr import Cell
from flywheel_domains.model import View as Shown
from flywheel_domains.values import plain
from flywheel_domains.world import Row, View


def show_row(view: View, shown: Shown, row: Row, revealed: set[Cell]) -> dict[str, Any] | str:
    """The row as the view has it; what can be seen in it is added to `revealed`."""
    answer = _columns(view, row, shown.show, revealed)
    if shown.plain:
        return ", ".join(str(value) for value in answer.values() if value is not None)
    for name, columns in shown.children.items():
        child, column = view.domain.children[row.table][name]
        revealed.add(Cell(child, "*", f"{column}={row.id}"))
        rows = [Row(view, child, id) for id in view.children(child, column, row.id)]
        for each in rows:
            revealed.add(Cell(child, each.id, column))  # a child that is shown under its parent shows its parent
        answer[name] = [_columns(view, each, columns, revealed) for each in rows]
    return answer


def _columns(view: View, row: Row, columns: tuple[str, ...], revealed: set[Cell]) -> dict[str, Any]:
    revealed.add(Cell(row.table, row.id, "id"))
    return {path: plain(_value(view, row, path, revealed)) for path in columns}


def _value(view: View, row: Row, path: str, revealed: set[Cell]) -> Any:
    value: Any = row
    for step in path.split("."):
        if value is None:
            return None
        revealed.add(Cell(value.table, value.id, step))
        value = value.get(step)
    return value
