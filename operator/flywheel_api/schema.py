"""pydantic's JSON schema as a Kubernetes structural schema (apiextensions.k8s.io/v1).

What Kubernetes refuses is rewritten: `$ref`, `anyOf` with null, `const`, `title`, `additionalProperties: false`.
What it offers is used: defaults, limits, list types and CEL rules. It knows nothing of any particular resource.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from flywheel_api.base import PATTERN_MESSAGES

Schema = dict[str, Any]

_KEPT = (
    "description", "type", "format", "enum", "default", "minimum", "exclusiveMinimum", "maximum",
    "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties", "required", "properties", "items", "additionalProperties",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations",
)  # fmt: skip
_DROPPED = frozenset({"title", "$defs", "const", "anyOf", "allOf", "$ref", "pattern"})
_MAP_LIMITS = {"minLength": "minProperties", "maxLength": "maxProperties"}


class SchemaError(ValueError):
    """A model uses something that a structural schema cannot say."""


class _WithoutDefaults(GenerateJsonSchema):
    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def structural_schema(model: type[BaseModel], defaults: bool = True) -> Schema:
    """The structural schema of a model. Raises SchemaError for unions and recursive models.

    A status has no defaults: the server would add what its only writer did not say.
    """
    generator = GenerateJsonSchema if defaults else _WithoutDefaults
    raw = model.model_json_schema(by_alias=True, mode="validation", schema_generator=generator)
    return _convert(raw, raw.get("$defs", {}), model.__name__, seen=())


def without_item_defaults(schema: Schema, inside: bool = False) -> Schema:
    """The schema without defaults inside list items; their descriptions still tell them, and the models fill them in.

    Client-side apply and Argo CD compare lists as a whole: a default that the server adds to an item would show as a
    change in every apply and every sync.
    """
    found = {key: value for key, value in schema.items() if not (inside and key == "default")}
    if "properties" in found:
        found["properties"] = {name: without_item_defaults(v, inside) for name, v in found["properties"].items()}
    if "items" in found:
        found["items"] = without_item_defaults(found["items"], inside=True)
    if "additionalProperties" in found:
        found["additionalProperties"] = without_item_defaults(found["additionalProperties"], inside)
    return found


def _convert(node: Schema, defs: dict[str, Schema], where: str, seen: tuple[str, ...]) -> Schema:
    node, seen = resolved(node, defs, where, seen)
    unknown = set(node) - set(_KEPT) - _DROPPED
    if unknown:
        raise SchemaError(f"{where}: a structural schema has no {', '.join(sorted(unknown))}")
    found: Schema = {key: node[key] for key in _KEPT if key in node}
    if "exclusiveMinimum" in node:  # a flag beside the minimum, as in OpenAPI 3.0
        found |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
    if "const" in node:
        found["enum"] = [node["const"]]
    if isinstance(found.get("description"), str):
        found["description"] = " ".join(found["description"].split())
    if "pattern" in node:
        _add_pattern_rule(found, node["pattern"], where)
    _convert_children(found, defs, where, seen)
    _convert_default(found)
    return {key: found[key] for key in _KEPT if key in found}


def resolved(
    node: Schema, defs: dict[str, Schema], where: str, seen: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    """`node` with its reference or its optional's only alternative merged in; the node's own keys win.

    `seen` are the models around it. Raises SchemaError for unions and recursion.
    """
    while True:
        if "$ref" in node:
            name = str(node["$ref"]).rpartition("/")[2]
            if name in seen:
                raise SchemaError(f"{where}: {name} contains itself; a structural schema cannot")
            seen = (*seen, name)
            node = {**defs[name], **{k: v for k, v in node.items() if k != "$ref"}}
        elif "anyOf" in node:
            options = [option for option in node["anyOf"] if option.get("type") != "null"]
            if len(options) != 1:
                raise SchemaError(f"{where}: a union has no structural schema; make it an object with one member set")
            node = {**options[0], **{k: v for k, v in node.items() if k != "anyOf"}}
        else:
            return node, seen


def _add_pattern_rule(found: Schema, pattern: str, where: str) -> None:
    """A pattern as a CEL rule: the server's own words for `pattern` show only the expression."""
    if pattern not in PATTERN_MESSAGES:
        raise SchemaError(f"{where}: add a message for the pattern {pattern} to base.PATTERN_MESSAGES")
    quoted = pattern.replace("\\", "\\\\").replace("'", "\\'")
    rule = {"rule": f"self.matches('{quoted}')", "message": PATTERN_MESSAGES[pattern]}
    found["x-kubernetes-validations"] = [*found.get("x-kubernetes-validations", []), rule]


def _convert_children(found: Schema, defs: dict[str, Schema], where: str, seen: tuple[str, ...]) -> None:
    if "properties" in found:
        found["properties"] = {
            name: _convert(child, defs, f"{where}.{name}", seen) for name, child in found["properties"].items()
        }
    if "items" in found:
        found["items"] = _convert(found["items"], defs, f"{where}[]", seen)
    values = found.get("additionalProperties")
    if isinstance(values, bool):  # unknown fields are pruned, or refused under strict validation, without saying so
        del found["additionalProperties"]
        if values and "properties" not in found:
            found["x-kubernetes-preserve-unknown-fields"] = True
    elif isinstance(values, dict):
        found["additionalProperties"] = _convert(values, defs, f"{where}{{}}", seen)
        for plain, mapped in _MAP_LIMITS.items():
            if plain in found:
                found[mapped] = found.pop(plain)


def _convert_default(found: Schema) -> None:
    """Write defaults in full, for `kubectl explain` and so that CEL can rely on them; leave out what is empty."""
    if "default" not in found:
        return
    value = _without_empty(found["default"])
    if value is None or value in ({}, []):
        del found["default"]
    else:
        found["default"] = value
        if not isinstance(value, dict | list):  # `kubectl explain` shows no defaults of its own
            text = json.dumps(value) if isinstance(value, str) else str(value).lower()
            found["description"] = f"{found.get('description', '')} Default: {text}.".strip()


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        pruned = {key: _without_empty(item) for key, item in value.items()}
        return {key: item for key, item in pruned.items() if item is not None and item not in ({}, [])}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return value
