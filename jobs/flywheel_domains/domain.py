"""A whole domain: the blocks of the file by name, and what follows from them once all names are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from flywheel_domains.blocks import LookupText, Name, Part
from flywheel_domains.layout import Layout, make_layout
from flywheel_domains.model import (
    FORMAT,
    Act,
    Arg,
    Caller,
    Clock,
    Holdout,
    Money,
    Persona,
    Prompt,
    Rule,
    Tool,
    View,
    Wish,
)
from flywheel_domains.tables import Column, Table
from flywheel_domains.talk import Talk, clean, digits, values_of
from flywheel_domains.values import SCALARS, ColumnType
from flywheel_domains.verbs import verbs_of


def _named(raw: object) -> object:
    """A mapping of blocks, each told its own name."""
    if not isinstance(raw, dict):
        return raw
    return {key: {**value, "name": key} if isinstance(value, dict) else value for key, value in raw.items()}


def _tables(raw: object) -> object:
    if not isinstance(raw, dict):
        return raw
    tables = {}
    for key, value in raw.items():
        if isinstance(value, dict) and isinstance(value.get("columns"), dict):
            value = {**value, "columns": _named(value["columns"])}
        tables[key] = value
    return _named(tables)


class Domain(Part):
    """What domain.yaml says. `folder` and `digest` say which package it is."""

    format: Literal["flywheel.dev/domain/v1"]
    domain: Name
    title: str = ""
    clock: Clock
    money: Money = Money()
    types: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    constants: dict[Name, Any] = Field(default_factory=dict)
    tables: Annotated[dict[Name, Table], BeforeValidator(_tables)]
    lookups: dict[Name, LookupText] = Field(default_factory=dict)
    views: Annotated[dict[Name, View], BeforeValidator(_named)] = Field(default_factory=dict)
    tools: Annotated[dict[Name, Tool], BeforeValidator(_named)]
    groups: dict[Name, tuple[str, ...]] = Field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    allow_is: Literal["silent"] = "silent"
    acts: Annotated[dict[Name, Act], BeforeValidator(_named)] = Field(default_factory=dict)
    wishes: Annotated[dict[Name, Wish], BeforeValidator(_named)] = Field(default_factory=dict)
    callers: Annotated[dict[Name, Caller], BeforeValidator(_named)] = Field(default_factory=dict)
    personas: tuple[Persona, ...] = ()
    holdout: Holdout = Holdout()
    outcomes: tuple[Name, ...] = ()
    caller: Name | None = None
    prompt: Prompt = Prompt()

    _folder: Path | None = PrivateAttr(default=None)
    _digest: str = PrivateAttr(default="")
    _arg_types: dict[int, ColumnType] = PrivateAttr(default_factory=dict)
    _lines: Mapping[tuple[str | int, ...], int] = PrivateAttr(default_factory=dict)

    @property
    def folder(self) -> Path | None:
        """Where the package lies, for its code."""
        return self._folder

    @property
    def digest(self) -> str:
        """What the package is known by."""
        return self._digest

    def line_of(self, path: tuple[str | int, ...]) -> int:
        """The line of a part of the file, for faults that show only when it is used."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    # ---- types

    def column_type(self, column: Column) -> ColumnType:
        """What the column holds. Raises ValueError for a type that is not there."""
        if column.ref is not None:
            if column.ref not in self.tables:
                raise ValueError(f"there is no table {column.ref}")
            return ColumnType("ref", table=column.ref)
        return self.type_named(column.type or "string")

    def type_named(self, said: object) -> ColumnType:
        """A type as it is written: a scalar's name, an enumeration's name or its values, or {list: type}."""
        if isinstance(said, list | tuple):
            return ColumnType("enum", values=tuple(map(str, said)))
        if isinstance(said, dict):
            if set(said) == {"list"}:
                return ColumnType("list", item=self.type_named(said["list"]))
            if set(said) == {"ref"} and said["ref"] in self.tables:
                return ColumnType("ref", table=said["ref"])
            raise ValueError("write {list: type}")
        if said in SCALARS:
            return ColumnType(str(said), minor=self.money.minor)
        if said in self.types:
            return ColumnType("enum", values=self.types[str(said)])
        raise ValueError(f"there is no type {said}: {', '.join([*SCALARS, *self.types])}")

    def arg_type(self, arg: Arg) -> ColumnType:
        """What a scalar argument holds. Raises ValueError for a type or table that is not there."""
        found = self._arg_types.get(id(arg))  # arguments live as long as their domain
        if found is None:
            if arg.ref is not None and arg.ref not in self.tables:
                raise ValueError(f"there is no table {arg.ref}")
            found = ColumnType("ref", table=arg.ref) if arg.ref is not None else self.type_named(arg.type or "string")
            self._arg_types[id(arg)] = found
        return found

    # ---- what follows

    @cached_property
    def verbs(self) -> tuple[str, ...]:
        """What its tools do, as verbs: who says that they have done one of them claims a write."""
        return verbs_of(name for name, tool in self.tools.items() if tool.writes and not tool.ends)

    @cached_property
    def spoken(self) -> Talk:
        """Numbers and days that the policy and the tools name, which are true in every conversation.

        Amounts are not among them: one that the policy names stands among the constants, or a rule forgets it.
        """
        told = [*(rule.say for rule in self.rules), *(tool.about for tool in self.tools.values())]
        return replace(
            values_of(digits(clean("\n".join(told))), self.money.currency, self.money.minor), money=frozenset()
        )

    @cached_property
    def layout(self) -> Layout:
        """What expressions may name."""
        return make_layout(self)

    @cached_property
    def columns(self) -> dict[str, dict[str, ColumnType]]:
        """Table -> column -> type; a child table has its parent's column first, then `id`."""
        found: dict[str, dict[str, ColumnType]] = {}
        for name, table in self.tables.items():
            own: dict[str, ColumnType] = {"id": ColumnType("string")}
            if table.parent is not None and table.parent_column is not None:
                own[table.parent_column] = ColumnType("ref", table=table.parent)
            for column in table.columns.values():
                if column.name != "id":
                    own[column.name] = self.column_type(column)
            found[name] = own
        return found

    @cached_property
    def children(self) -> dict[str, dict[str, tuple[str, str]]]:
        """Table -> name of a list of its rows -> (table, column) whose references point here.

        A child table has its name. So has any other table with exactly one reference here, if the name is free.
        """
        found: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in self.tables}
        for name, columns in self.columns.items():
            parent = self.tables[name].parent
            for target in self.tables:
                refs = [column for column, kind in columns.items() if kind.kind == "ref" and kind.table == target]
                if parent == target:
                    refs = [self.tables[name].parent_column or ""]
                if len(refs) == 1 and name not in self.columns[target]:
                    found[target][name] = (name, refs[0])
        return found

    def groups_of(self, call: str) -> frozenset[str]:
        """The names by which a rule's `for` may speak about a tool or an act.

        Its own; `all`; `reads`, `writes` or `acts`; `private` for reads of what belongs to a member; `booking` for what
        has an argument booking_id; and the groups that the domain declares.
        """
        return self._groups[call]

    @cached_property
    def parts(self) -> dict[str, Tool | Act]:
        """Tools and acts by name: what a wish may be for."""
        return {**self.tools, **self.acts}

    @cached_property
    def _groups(self) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        for name, part in self.parts.items():
            words = {name, "all"}
            if isinstance(part, Act):
                words.add("acts")
            else:
                words.add("writes" if part.writes else "reads")
                if not part.writes and any(arg.ref in self.personal for arg in part.args.values()):
                    words.add("private")
            if not (isinstance(part, Tool) and part.ends):
                words |= {
                    arg_name.removesuffix("_id")
                    for arg_name, arg in part.args.items()
                    if arg.ref and not arg.optional and arg_name.endswith("_id")
                }
            words |= {group for group, members in self.groups.items() if name in members or words & set(members)}
            found[name] = frozenset(words)
        return found

    def rules_of(self, call: str) -> tuple[Rule, ...]:
        """The rules that speak about a tool or an act."""
        return self._rules_of[call]

    @cached_property
    def _rules_of(self) -> dict[str, tuple[Rule, ...]]:
        return {
            name: tuple(rule for rule in self.rules if words & set(rule.applies))
            for name, words in self._groups.items()
        }

    def rule(self, id: str) -> Rule:
        """A rule by its id. Raises KeyError."""
        return self._rule_by_id[id]

    @cached_property
    def _rule_by_id(self) -> dict[str, Rule]:
        return {rule.id: rule for rule in self.rules}

    @cached_property
    def way_to_caller(self) -> dict[str, tuple[str, str]]:
        """Table -> the column by which its rows belong to a caller, and the table that it refers to."""
        found: dict[str, tuple[str, str]] = {}
        for _ in self.tables:
            for name, columns in self.columns.items():
                owners = [(c, k.table) for c, k in columns.items() if k.kind == "ref"]
                near = [pair for pair in owners if pair[1] == self.caller_table or pair[1] in found]
                if name != self.caller_table and name not in found and near:
                    found[name] = near[0]
        return found

    @cached_property
    def caller_table(self) -> str | None:
        """The table of those who call: the one named, or what the tool shows by which a caller is identified."""
        if self.caller is not None:
            return self.caller
        for tool in self.tools.values():
            if tool.proves is not None and tool.read is not None:
                return tool.read.table
        return None

    @cached_property
    def personal(self) -> frozenset[str]:
        """Tables whose rows belong to a caller: theirs, and what refers to it, however far."""
        if self.caller_table is None:
            return frozenset()
        found = {self.caller_table}
        while True:
            more = {
                name
                for name, columns in self.columns.items()
                if any(kind.kind == "ref" and kind.table in found for kind in columns.values())
            }
            if more <= found:
                return frozenset(found)
            found |= more


__all__ = ["FORMAT", "Domain"]
