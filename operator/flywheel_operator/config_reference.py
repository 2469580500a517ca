"""What follows from OperatorConfig: its page, its part of the chart's values.schema.json, and the chart's defaults.

`python -m flywheel_operator.config_reference` writes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from flywheel_api.base import IMAGE_PATTERN
from flywheel_api.bounds import QUANTITY_PATTERN
from flywheel_api.reference import HEADER, sections
from flywheel_api.schema import Schema, resolved, structural_schema
from flywheel_operator.settings import OperatorConfig

CHART = "charts/flywheel"
DEFAULTS = f"{CHART}/files/defaults.yaml"
VALUES_SCHEMA = f"{CHART}/values.schema.json"
_DEFAULTS_HEADER = "# Generated from values.yaml by `make generate`, because templates cannot read that file.\n"
_LIMITS = ("minimum", "exclusiveMinimum", "maximum", "minLength", "maxLength", "pattern", "description")
_SHARED = "PodShape"  # stands once among the schema's definitions, for the nine places that take one
_IMAGE = {"type": ["string", "null"], "maxLength": 512, "pattern": f"^$|{IMAGE_PATTERN}"}
_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_BY_LABEL_KEY = frozenset({"labels", "annotations", "nodeSelector", "commonLabels", "commonAnnotations"})
PAGE = "docs/reference/config.md"
_TITLE = """# The operator's configuration

The chart's value `config` is laid over these defaults, map by map; unknown fields are refused at install, and
by the operator at its start.
Images, namespaces and pull settings follow from the chart's other values.
"""


def config_page() -> str:
    """The page."""
    schema = _with_defaults(structural_schema(OperatorConfig), OperatorConfig().model_dump(mode="json", by_alias=True))
    return HEADER + "\n".join([_TITLE, *sections("config", schema)]).rstrip() + "\n"


def _with_defaults(schema: Schema, values: Any) -> Schema:
    """The schema with the real default of every field, so that both flavours show theirs; objects show none."""
    if "properties" in schema:
        fields = {name: _with_defaults(child, (values or {}).get(name)) for name, child in schema["properties"].items()}
        return {key: value for key, value in schema.items() if key not in ("default", "required")} | {
            "properties": fields
        }
    return schema if values in (None, {}, []) else schema | {"default": values}


def config_schema() -> tuple[Schema, Schema]:
    """What `config` may hold in values: any part of OperatorConfig, numbers as YAML writes them, null for a default.

    And the definitions that it refers to.
    """
    raw = OperatorConfig.model_json_schema(by_alias=True)
    defs = raw["$defs"]
    return _values(raw, defs), {_SHARED: _values(defs[_SHARED], defs)}


def _values(raw: Schema, defs: dict[str, Schema]) -> Schema:
    if any(option.get("$ref", "").endswith(f"/{_SHARED}") for option in (raw, *raw.get("anyOf", []))):
        return {"$ref": f"#/definitions/{_SHARED}"}
    node, _ = resolved(raw, defs, "config", ())
    if raw.get("$ref", "").endswith("/Toleration"):
        node = node | {"allOf": [{"$ref": "#/definitions/tolerationRules"}]}
    found: Schema = {key: node[key] for key in (*_LIMITS, "allOf") if key in node}
    if "x-kubernetes-int-or-string" in node:
        return found | {"type": ["string", "number", "null"], "pattern": f"^{QUANTITY_PATTERN}$", "minimum": 0}
    if "enum" in node or "const" in node:
        return found | {"enum": [*node.get("enum", [node.get("const")]), None]}
    found["type"] = [node["type"], "null"]
    values = node.get("additionalProperties")
    if "properties" in node:
        found["additionalProperties"] = False
        found["properties"] = {name: _values(child, defs) for name, child in node["properties"].items()}
        for name in _BY_LABEL_KEY & found["properties"].keys():
            if "object" in found["properties"][name].get("type", ()):
                found["properties"][name]["propertyNames"] = {"$ref": "#/definitions/key"}
    elif isinstance(values, dict) and values:
        item = _values(values, defs)
        found["additionalProperties"] = item | _SCALAR if item["type"] == ["string", "null"] else item
    if "items" in node:
        found["items"] = _values(node["items"], defs)
    return found


def values_schema(committed: str) -> str:
    """values.schema.json with what `config` holds as OperatorConfig says today."""
    schema = json.loads(committed)
    schema["properties"]["config"], shared = config_schema()
    schema["definitions"] |= shared | {"image": _IMAGE}
    return json.dumps(schema, indent=2) + "\n"


def defaults(values: str) -> str:
    """values.yaml as the templates read it."""
    return _DEFAULTS_HEADER + yaml.safe_dump(yaml.safe_load(values), sort_keys=False)


def main() -> None:
    """Command line: writes into the repository that this file belongs to."""
    root = Path(__file__).resolve().parents[2]
    texts = {
        PAGE: config_page(),
        DEFAULTS: defaults((root / CHART / "values.yaml").read_text()),
        VALUES_SCHEMA: values_schema((root / VALUES_SCHEMA).read_text()),
    }
    for name, text in texts.items():
        (root / name).write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
