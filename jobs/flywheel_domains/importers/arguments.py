"""JSON schema of a tool's arguments as the short form of `args:`; what has no form is a TODO that says what it was."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flywheel_domains.importers.draft import todo

PLAIN = {"string": "string", "integer": "int", "boolean": "bool"}
FORMATS = {"date": "date", "date-time": "datetime"}


def arguments(schema: Any, tables: Collection[str] = ()) -> dict[str, Any]:
    """Every property of an object schema; one that is not required, or has a default, is optional."""
    if not isinstance(schema, Mapping) or not isinstance(schema.get("properties"), Mapping):
        return {}
    required = schema.get("required") or []
    found = {str(name): _named(str(name), spec, tables) for name, spec in schema["properties"].items()}
    return {name: spec if name in required else {**spec, "optional": True} for name, spec in found.items()}


def _named(name: str, spec: Any, tables: Collection[str]) -> dict[str, Any]:
    table = table_of(name, tables)
    return {"ref": table} if table else one(spec, tables)


def one(spec: Any, tables: Collection[str] = ()) -> dict[str, Any]:
    """One value: `{type: …}`, `{list: …}` or `{object: …}`, with its limits."""
    if not isinstance(spec, Mapping):
        return {"type": todo("a schema was expected")}
    spec = _without_null(spec)
    kind = spec.get("type")
    if isinstance(spec.get("enum"), list) and all(isinstance(value, str) for value in spec["enum"]):
        return {"type": list(spec["enum"])}
    if kind == "array":
        return {"list": one(spec.get("items", {}), tables), **_limits(spec, "minItems", "maxItems")}
    if kind == "object" and isinstance(spec.get("properties"), Mapping):
        return {"object": arguments(spec, tables)}
    if kind == "string":
        return {"type": FORMATS.get(str(spec.get("format")), "string")}
    if kind in PLAIN:
        return {"type": PLAIN[kind], **(_limits(spec, "minimum", "maximum") if kind == "integer" else {})}
    if kind == "number":
        return {"type": todo("money or int: there are no fractions")}
    return {"type": todo(f"the source says {kind or sorted(spec)}")}


def _without_null(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """`anyOf: [x, null]` and `type: [x, null]` are x: being optional is said by `required`."""
    for key in ("anyOf", "oneOf"):
        choices = [choice for choice in spec.get(key) or [] if choice != {"type": "null"}]
        if len(choices) == 1 and isinstance(choices[0], Mapping):
            return choices[0]
    kinds = spec.get("type")
    if isinstance(kinds, list):
        named = [kind for kind in kinds if kind != "null"]
        return {**spec, "type": named[0] if len(named) == 1 else None}
    return spec


def _limits(spec: Mapping[str, Any], low: str, high: str) -> dict[str, int]:
    pairs = (("min", spec.get(low)), ("max", spec.get(high)))
    return {name: value for name, value in pairs if isinstance(value, int) and not isinstance(value, bool)}


def table_of(name: str, tables: Collection[str]) -> str | None:
    """The table that an argument called `printer_id` points at: `printers`, if there is one."""
    stem = name.removesuffix("_id")
    if stem == name:
        return None
    plurals = (stem, stem + "s", stem + "es", stem.removesuffix("y") + "ies")
    return next(
        (table for table in tables if table in plurals or table.endswith(tuple("_" + p for p in plurals))), None
    )
