"""JSON schema of a tool's arguments as the short form of `args:`; what has no form is a TODO that says what it was."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Mapping
from typing import Any

from flywheel_domains.importers.draft import todo

PLAIN = {"string": "string", "integer": "int", "boolean": "bool"}
LONGEST = 38  # of a name in the format, with room for a sign that it was taken
FORMATS = {"date": "date", "date-time": "datetime"}


def arguments(schema: Any, tables: Collection[str] = ()) -> dict[str, Any]:
    """Every property of an object schema; one that is not required is optional. Without a schema that is a TODO."""
    if not isinstance(schema, Mapping):
        return {"value": {"type": todo("the source gives no schema of its arguments")}}
    properties = schema.get("properties")
    required = schema.get("required") or []
    found: dict[str, Any] = {}
    for said, spec in properties.items() if isinstance(properties, Mapping) else ():
        name = _free(str(said), found)
        renamed = {} if name == said else {"about": todo(f"the source calls it {said}")}
        optional = {} if said in required else {"optional": True}
        found[name] = {**_named(name, spec, tables), **renamed, **optional}
    return found


def _free(said: str, taken: Collection[str]) -> str:
    """A name that the format and its expressions can use, and that no other argument has."""
    name = re.sub(r"\W+", "_", said.lower(), flags=re.ASCII).strip("_")[:LONGEST]
    name = name if name[:1].isalpha() else f"a_{name}"
    name = f"{name}_" if keyword.iskeyword(name) or keyword.iskeyword(name.capitalize()) else name
    while name in taken:
        name += "_"
    return name


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
        choices = [choice for choice in spec.get(key) or [] if not _null(choice)]
        if choices and isinstance(choices[0], Mapping) and all(choice == choices[0] for choice in choices):
            return choices[0]
    if isinstance(spec.get("enum"), list) and None in spec["enum"]:
        spec = {**spec, "enum": [value for value in spec["enum"] if value is not None]}
    kinds = spec.get("type")
    if isinstance(kinds, list):
        named = [kind for kind in kinds if kind != "null"]
        return {**spec, "type": named[0] if len(named) == 1 else None}
    return spec


def _null(choice: Any) -> bool:
    return isinstance(choice, Mapping) and (choice.get("type") in ("null", ["null"]) or choice.get("enum") == [None])


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
