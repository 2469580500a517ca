"""A domain that an importer could take over so far: written as a folder, with TODO where only a person knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TODO = "TODO"
LIMIT = 16 * 1024 * 1024  # bytes of one source file; a list of tools or a database of a benchmark is far below


class ImportFault(ValueError):
    """The source cannot be read as what it was said to be; the message names the file and what was expected."""


@dataclass
class Draft:
    """The declaration so far, in the order in which it is written, and what was not taken over."""

    name: str
    title: str = ""
    types: dict[str, list[str]] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    views: dict[str, Any] = field(default_factory=dict)
    tools: dict[str, Any] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    acts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def declaration(self) -> dict[str, Any]:
        """`domain.yaml` as data."""
        return {
            "format": "flywheel.dev/domain/v1",
            "domain": self.name,
            "title": self.title or self.name,
            "clock": {"now": "2031-03-14T10:00", "zone": "UTC", "per_turn": "0m"},
            "money": {"currency": "EUR", "minor": 2},
            "types": self.types,
            "tables": self.tables or {"things": {"rows": todo("how many rows"), "columns": {}}},
            "views": self.views,
            "tools": self.tools,
            "rules": self.rules or [_stub("first", "the sentence of a rule")],
            "acts": self.acts,
            "wishes": {"first": {"goal": todo("a tool or an act"), "slots": {}, "words": [todo("what a caller says")]}},
            "callers": {"mine": {"share": todo("0.85"), "knows": [todo("columns that a caller knows")]}},
            "personas": [{"id": "first", "trade": todo("what they do"), "tone": "brisk", "pushes": 1}],
            "holdout": {"by": ["persona", "wording", "state"], "share": 0.2},
            "outcomes": ["allowed", "refused"],
        }

    def write(self, folder: Path) -> list[Path]:
        """Makes the folder; an existing one is refused, so that no work of a person is written over."""
        if folder.exists() and any(folder.iterdir()):
            raise ImportFault(f"{folder} is not empty: name a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        filled = {key: value for key, value in self.declaration().items() if value not in ({}, [])}
        text = yaml.dump(filled, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=118)
        written = {"domain.yaml": _HEAD + text, **self.files}
        for name, content in written.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return [folder / name for name in written]

    def left(self) -> int:
        """How many places say TODO."""
        return _count(self.declaration())


_HEAD = """\
# Taken over by `python -m flywheel_jobs domain import`. Every TODO is something that the source does not say;
# `python -m flywheel_jobs domain test` refuses the domain until none is left.
"""


class _Plain(yaml.SafeDumper):
    """Without anchors: a column that two tables share is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def todo(what: str) -> str:
    """A place for a person to fill in; the loader refuses it and says the line."""
    return f"{TODO}: {what}"


def _stub(name: str, sentence: str) -> dict[str, Any]:
    return {
        "id": name,
        "for": [todo("tools or acts")],
        "when": todo("a predicate"),
        "verdict": todo("deny"),
        "say": sentence,
    }


def rules_of(policy: str) -> list[dict[str, Any]]:
    """A stub per statement of a policy in prose: its sentence stands, predicate and examples are for a person."""
    sentences = [line.strip(" -*\t") for line in policy.splitlines() if not line.lstrip().startswith(("#", "```"))]
    kept = [line for line in sentences if len(line.split()) > 3]
    return [_stub(f"p{number}", line) for number, line in enumerate(kept, 1)]


def read(path: Path) -> str:
    """A file of the source as text; raises ImportFault where it is missing, too large or not text."""
    try:
        if path.stat().st_size > LIMIT:
            raise ImportFault(f"{path} has more than {LIMIT // 2**20} MiB")
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise ImportFault(f"{path}: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise ImportFault(f"{path} is not UTF-8 text") from problem


def _count(value: Any) -> int:
    if isinstance(value, str):
        return int(value.startswith(TODO))
    if isinstance(value, Mapping):
        return sum(map(_count, value.values()))
    return sum(map(_count, value)) if isinstance(value, list) else 0
