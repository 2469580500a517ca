"""Tables from models: nested models become child tables, and generators are read off the rows that are there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from flywheel_domains.importers.draft import todo
from flywheel_domains.importers.python_source import Source

FEW = 8  # distinct strings up to which a column is an enumeration by its weights
PLAIN = {"str": "string", "int": "int", "bool": "bool"}


def held(source: Source, annotation: ast.expr) -> tuple[str, str]:
    """(container, what it holds): `Dict[str, Leg]` is ("map", "Leg"), `List[Leg]` ("list", "Leg"), else ("", text)."""
    node = _without_optional(_resolved(source, annotation))
    if isinstance(node, ast.Subscript):
        outer = ast.unparse(node.value).rpartition(".")[2].lower()
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer in ("dict", "list") and inner:
            return ("map" if outer == "dict" else "list"), ast.unparse(_without_optional(inner[-1]))
    return "", ast.unparse(node)


def _resolved(source: Source, node: ast.expr) -> ast.expr:
    return source.aliases.get(node.id, node) if isinstance(node, ast.Name) else node


def _without_optional(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Optional"):
        return node.slice
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return node.left if ast.unparse(node.right) == "None" else node
    return node


def tables(source: Source, database: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Every collection of the database as a table, its nested models as children; other fields are left out."""
    found: dict[str, Any] = {}
    for name, annotation in source.fields(database).items():
        container, model = held(source, annotation)
        if container and model in source.models:
            _table(found, source, name, model, _rows(data.get(name)), None)
    return found


def _rows(value: Any) -> list[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        return [{"id": key, **row} for key, row in value.items() if isinstance(row, Mapping)]
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _table(
    found: dict[str, Any], source: Source, name: str, model: str, rows: Sequence[Mapping[str, Any]], parent: str | None
) -> None:
    columns: dict[str, Any] = {}
    found[name] = {"rows": len(rows) or todo("how many rows"), "columns": columns}
    fields = source.fields(model)
    keyed = next((key for key in ("id", f"{model.lower()}_id") if key in fields), None)
    if parent:
        found[name] = {"per": {parent: [1, 2], "as": parent.rstrip("s")}, "columns": columns}
    seq = {"seq": f"{name[:1].upper()}%d"}
    keys = [row.get(keyed or "id", row.get("id")) for row in rows]
    columns["id"] = {"gen": seq if parent else _code(keys)}
    for column, annotation in fields.items():
        container, inner = held(source, annotation)
        values = [row.get(column) for row in rows]
        if inner in source.models:
            child = f"{name}_{column}"
            _table(found, source, child, inner, [row for value in values for row in _nested(value)], name)
        elif column != keyed:
            columns[column] = _column(source, annotation, container, values)


def _nested(value: Any) -> list[Mapping[str, Any]]:
    return _rows(value) or ([value] if isinstance(value, Mapping) else [])


def _column(source: Source, annotation: ast.expr, container: str, values: list[Any]) -> dict[str, Any]:
    resolved = _without_optional(_resolved(source, annotation))
    text = ast.unparse(resolved)
    known = [value for value in values if value is not None]
    kept: dict[str, Any] = (
        {"nullable": True} if "Optional" in ast.unparse(annotation) or "None" in ast.unparse(annotation) else {}
    )
    if container:
        return {"type": todo(f"a list column or a child table: the source says {ast.unparse(annotation)}"), **kept}
    if text.startswith(("Literal[", "typing.Literal[")) and isinstance(resolved, ast.Subscript):
        return {
            "type": list(ast.literal_eval(f"[{ast.unparse(resolved.slice).strip('()')}]")),
            **kept,
            **_weights(known),
        }
    if text == "float":
        return {"type": todo("money, or an int of smaller units: there are no fractions"), **kept}
    kind = PLAIN.get(text) or {"date": "date", "datetime": "datetime"}.get(text.rpartition(".")[2])
    if kind == "string":
        return {**_string(known), **kept}
    if kind == "int":
        numbers = [value for value in known if isinstance(value, int)]
        return {
            "type": "int",
            **kept,
            "gen": {"range": [min(numbers), max(numbers)]} if numbers else todo("a generator"),
        }
    if kind == "bool":
        share = round(sum(map(bool, known)) / len(known), 2) if known else 0.5
        return {"type": "bool", **kept, "gen": {"chance": share}}
    return {"type": kind or todo(f"the source says {text}"), **kept, "gen": todo("a generator")}


def _weights(values: Sequence[Any]) -> dict[str, Any]:
    counts = Counter(value for value in values if isinstance(value, str))
    return {"gen": {"weights": dict(sorted(counts.items()))}} if counts else {"gen": todo("weights of the values")}


def _string(values: list[Any]) -> dict[str, Any]:
    texts = [value for value in values if isinstance(value, str) and value]
    if not texts:
        return {"type": "string", "gen": todo("a generator")}
    for kind, reader in (("date", date.fromisoformat), ("datetime", datetime.fromisoformat)):
        if all(_reads(reader, text) for text in texts):
            first, last = min(texts), max(texts)
            return {"type": kind, "gen": {"date": [first, last]} if kind == "date" else {"hours": [-200, 200]}}
    if all("@" in text for text in texts):
        return {"type": "string", "fold": "case", "gen": {"email": todo("the column with the name")}}
    distinct = sorted(set(texts))
    if len(distinct) <= FEW < len(texts) * 2:
        return {"type": distinct, **_weights(texts)}
    return {"type": "string", "gen": {"pick": distinct[:24]}}


def _reads(reader: Any, text: str) -> bool:
    try:
        reader(text)
    except ValueError:
        return False
    return True


def _code(keys: Sequence[Any]) -> dict[str, str]:
    """The pattern of ids, `@` for a letter and `#` for a digit, where the first one has a pattern."""
    first = next((key for key in keys if isinstance(key, str) and 2 <= len(key) <= 12), "")
    if not re.fullmatch(r"[A-Za-z]*\d+|[A-Z0-9]+", first):
        return {"seq": "N%d"}
    prefix = re.match(r"[A-Za-z]*", first)
    digits = max(3, len(first) - len(prefix.group() if prefix else ""))
    return {"code": (prefix.group() if prefix else "") + "#" * digits}
