"""docs/reference/config.md from OperatorConfig: `python -m flywheel_operator.config_reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flywheel_api.reference import HEADER, sections
from flywheel_api.schema import Schema, structural_schema
from flywheel_operator.settings import OperatorConfig

PAGE = "docs/reference/config.md"
_TITLE = """# The operator's configuration

The chart's value `config` is laid over these defaults, map by map; unknown fields stop the operator at its start.
Images, namespaces and pull settings follow from the chart's other values.
"""


def config_page() -> str:
    """The page."""
    schema = _with_defaults(structural_schema(OperatorConfig), OperatorConfig().model_dump(mode="json", by_alias=True))
    return HEADER + "\n".join([_TITLE, *sections("config", schema)]).rstrip() + "\n"


def _with_defaults(schema: Schema, values: Any) -> Schema:
    """The schema with the real default of every field, so that both flavours show theirs; objects show none."""
    if "properties" in schema:
        fields = {name: _with_defaults(child, values.get(name)) for name, child in schema["properties"].items()}
        return {key: value for key, value in schema.items() if key not in ("default", "required")} | {
            "properties": fields
        }
    return schema if values in (None, {}, []) else schema | {"default": values}


def main() -> None:
    """Command line: writes into the repository that this file belongs to."""
    root = Path(__file__).resolve().parents[2]
    (root / PAGE).write_text(config_page(), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
