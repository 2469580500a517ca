"""The API reference in Markdown, one page per kind, from the same schemas as the CRDs; and a page of presets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flywheel_api import API_VERSION
from flywheel_api.crd import root_rules
from flywheel_api.presets import PRESETS, WARM_UPS
from flywheel_api.resources import KINDS, Kind
from flywheel_api.schema import Schema, structural_schema
from flywheel_api.turns import TURNS, Turn

HEADER = "<!-- Generated from operator/flywheel_api by `make generate`; change the models, not this file. -->\n\n"
_LIMITS = (("minimum", "≥"), ("maximum", "≤"))
_SIZES = (("Items", "items"), ("Properties", "keys"))


def kind_page(kind: Kind) -> str:
    """The page of a kind."""
    lines = [
        f"# {kind.kind}\n",
        f"{kind.description}\n",
        f"`apiVersion: {API_VERSION}`, `kind: {kind.kind}`, short name `{kind.short}`.\n",
        *_rules({"x-kubernetes-validations": root_rules(kind)}),
        "Numbers that are not whole are strings, so that they stay exact; durations are written `90s` or `1h30m`.\n",
        *sections("spec", structural_schema(kind.spec)),
        *sections("status", structural_schema(kind.status, defaults=False)),
    ]
    return HEADER + "\n".join(lines).rstrip() + "\n"


def sections(path: str, schema: Schema, shown: dict[str, str] | None = None) -> Iterator[str]:
    """An object's heading, text, table of fields and rules; then the objects inside it.

    Fields that stand on the page already are not listed again: `shown` holds where each set of them does.
    """
    shown = {} if shown is None else shown
    yield f"## {path}\n"
    fields = json.dumps(schema.get("properties", {}))
    first = shown.setdefault(fields, path)
    if first != path:
        yield f"Fields as of [{first}](#{_anchor(first)}).\n"
        return
    if schema.get("description"):
        yield f"{schema['description']}\n"
    yield "| field | type | default | meaning |\n|---|---|---|---|"
    required = schema.get("required", [])
    for name, child in schema.get("properties", {}).items():
        yield _row(name, child, name in required)
    yield ""
    yield from _rules(schema)
    for name, child in schema.get("properties", {}).items():
        inner, mark = _object_of(child)
        if inner.get("properties"):
            yield from sections(f"{path}.{name}{mark}", inner, shown)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z0-9-]", "", heading.lower())


def _object_of(schema: Schema) -> tuple[Schema, str]:
    return (schema["items"], "[]") if schema.get("type") == "array" else (schema, "")


def _row(name: str, schema: Schema, required: bool) -> str:
    default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "**required**" if required else ""
    text = [str(schema.get("description", "")).partition(" Default: ")[0], *_limits(schema)]
    if text[0].startswith("Default: "):
        text[0] = ""
    if _keys(schema):
        text.append(f"One entry per `{_keys(schema)}`.")
    text += [_sentence(rule) for rule in schema.get("x-kubernetes-validations", []) if "properties" not in schema]
    meaning = " ".join(part for part in text if part)
    return f"| `{name}` | {_type(schema)} | {_cell(default)} | {_cell(meaning)} |"


def _sentence(rule: dict[str, str]) -> str:
    """A scalar's rule: its message already says what to write."""
    return rule["message"][0].upper() + rule["message"][1:] + "."


def _keys(schema: Schema) -> str:
    return ", ".join(schema.get("x-kubernetes-list-map-keys", []))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "quantity" if "x-kubernetes-int-or-string" in schema else "any value"))


def _limits(schema: Schema) -> list[str]:
    signs = dict(_LIMITS) | ({"minimum": ">"} if schema.get("exclusiveMinimum") else {})
    found = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    found += [f"At most {schema['max' + key]} {word}" for key, word in _SIZES if "max" + key in schema]
    return [", ".join(found) + "."] if found else []


def _rules(schema: Schema) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", [])
    if rules:
        yield "Refused by the API server, with these words:\n"
        yield from (f"- {rule['message']}" for rule in rules)
        yield ""


def presets_page() -> str:
    """The page of training presets, with every value of each track."""
    lines = [
        "# Training presets\n",
        "`spec.training.preset` of a FlywheelRound names one. Everything below can be overridden, field by field, in",
        "`spec.training`. Fields that a preset does not set have the defaults of an [RLJob](rljob.md).\n",
    ]
    for name, tracks in PRESETS.items():
        lines += [f"## {name}\n", "| field | " + " | ".join(tracks) + " |", "|---|" + "---|" * len(tracks)]
        flat = {track: dict(_flatten(fields)) for track, fields in tracks.items()}
        for field in dict.fromkeys(key for fields in flat.values() for key in fields):
            cells = [f"`{flat[track][field]}`" if field in flat[track] else "" for track in tracks]
            lines.append(f"| `{field}` | " + " | ".join(cells) + " |")
        lines += ["", *_by_round(TURNS[name]), *_warm_up(WARM_UPS[name])]
    return HEADER + "\n".join(lines).rstrip() + "\n"


def _by_round(table: Sequence[Turn]) -> Iterator[str]:
    """What a preset says of a campaign's rounds by their number."""
    changed = list(dict.fromkeys(name for turn in table for name in turn.algorithm))
    names = ["difficulty", "replayShare", *(f"algorithm.{_camel(name)}" for name in changed)]
    yield "| round of a campaign | " + " | ".join(f"`{name}`" for name in names) + " |\n|---|" + "---|" * len(names)
    for number, turn in enumerate(table, start=1):
        which = f"{number} and later" if number == len(table) > 1 else str(number)
        values = [f"{turn.low} to {turn.high}", turn.replay_share, *(turn.algorithm.get(name, "") for name in changed)]
        yield f"| {which} | " + " | ".join(f"`{v}`" if v else "as above" for v in values) + " |"
    yield ""


def _warm_up(numbers: dict[str, Any]) -> Iterator[str]:
    said = ", ".join(f"`{_camel(name)}` `{value}`" for name, value in numbers.items())
    yield f"With `training.warmUp: SFT`: {said}.\n"


def _flatten(fields: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        name = prefix + (key if "." in key else _camel(key))  # verl's keys are as they are
        if hasattr(value, "dump"):
            yield from _flatten(value.dump(), f"{name}.")
        elif isinstance(value, dict):
            yield from _flatten(value, f"{name}.")
        else:
            yield name, value


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(part.capitalize() for part in rest)


def write_reference(folder: Path) -> list[Path]:
    """Write every page; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {f"{kind.singular}.md": kind_page(kind) for kind in KINDS} | {"presets.md": presets_page()}
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in pages]
