"""One JSON object that is no row but a whole table, in the ways that people and libraries write one."""

from __future__ import annotations

from typing import Any

NAMES = (
    "question",
    "problem",
    "prompt",
    "persona",
    "messages",
    "conversations",
)  # an object with one of these is a row
_NESTED = 3


def table(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of an object that holds a table; None where it is a row itself.

    A list of objects beside scalars (`{"data": [...]}`), also some levels down; a list a column; what pandas writes of
    itself (an object a column, by number of row) and its `split`; an object a row, under its id.
    """
    rows = _columns(value) or _numbered(value)
    return rows or (None if _is_row(value) else _split(value) or _listed(value, _NESTED) or _keyed(value))


def _is_row(value: dict[str, Any]) -> bool:
    return any(name in value for name in NAMES)


def _columns(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    lists = list(value.values())
    if len(lists) < 2 or not all(isinstance(v, list) for v in lists) or len({len(v) for v in lists}) != 1:
        return None
    if any(not isinstance(entry, (str, int, float, type(None))) for column in lists for entry in column):
        return None  # a list of messages is one row's
    return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]


def _numbered(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    columns = list(value.values())
    if not _is_row(value) or not all(isinstance(v, dict) and v.keys() == columns[0].keys() for v in columns):
        return None
    return _columns({name: list(column.values()) for name, column in value.items()})


def _split(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    names, rows = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(rows, list):
        return None
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return None
    return [dict(zip(map(str, names), row, strict=True)) for row in rows]


def _listed(value: dict[str, Any], depth: int) -> list[dict[str, Any]] | None:
    lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(x, dict) for x in v)]
    if len(lists) == 1:
        return list(lists[0])
    inner = [v for v in value.values() if isinstance(v, dict)]
    return _listed(inner[0], depth - 1) if len(inner) == 1 and not lists and depth else None


def _keyed(value: dict[str, Any]) -> list[dict[str, Any]] | None:
    rows = list(value.values())
    return rows if rows and all(isinstance(row, dict) and _is_row(row) for row in rows) else None
