"""A deterministic transaction engine: a domain is tables, tools with preconditions, and rules, all of it data.

The reward's only evidence is what happens here: tables, the log of calls with the state's hash before and after, and
how the episode was closed. Text that a model prints is never evidence (docs/method.md, "Simulated user").
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flywheel_api.canonical import canonical_json
from flywheel_api.records.agentic import Call, LoggedCall

Scalar = str | int | bool
Row = dict[str, Scalar]
Tables = dict[str, dict[str, Row]]
"""Table name -> row key (always a string, as in JSON) -> columns."""

NOTHING_FOUND = "No Useful Information Found"
WRITTEN = "ok"
HASH_DIGITS = 16


class ToolRefused(Exception):
    """A precondition does not hold; the text is the tool's answer and nothing is changed."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a tool: `type` is a JSON schema scalar type."""

    name: str
    type: str = "string"
    description: str = ""

    def read(self, value: object) -> Scalar:
        """The value in the declared type; digits in quotes count as an integer. Raises ValueError."""
        if self.type == "integer":
            if isinstance(value, bool) or not isinstance(value, int | str):
                raise ValueError(f"{self.name} must be an integer")
            return int(value)
        if not isinstance(value, str):
            raise ValueError(f"{self.name} must be a string")
        return value


@dataclass(frozen=True)
class Tool:
    """A tool: `run` reads or changes the tables and returns the answer.

    It raises KeyError for an unknown key and ToolRefused where a precondition does not hold. `short` is the one-word
    gloss of the compact prompt.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    run: Callable[[Tables, Mapping[str, Scalar]], str]
    writes: bool = False
    short: str = ""

    def schema(self) -> dict[str, object]:
        """The tool in OpenAI's function schema."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": {
                    "type": "object",
                    "properties": {p.name: {"type": p.type, "description": p.description} for p in self.parameters},
                    "required": [p.name for p in self.parameters],
                },
            },
        }

    def read(self, arguments: object) -> dict[str, Scalar]:
        """Arguments checked and typed. Raises ValueError with a text for the caller."""
        if not isinstance(arguments, Mapping):
            raise ValueError("arguments must be a JSON object")
        names = {p.name for p in self.parameters}
        if missing := sorted(names - set(arguments)):
            raise ValueError(f"missing {', '.join(missing)}")
        if unknown := sorted(set(arguments) - names):
            raise ValueError(f"unknown {', '.join(unknown)}")
        return {p.name: p.read(arguments[p.name]) for p in self.parameters}


@dataclass(frozen=True)
class Column:
    """A column and the values that it may take; `default` fills what a branch leaves open."""

    name: str
    values: tuple[Scalar, ...]
    default: Scalar


@dataclass(frozen=True)
class Table:
    """A table of a domain; rows have exactly these columns."""

    name: str
    columns: tuple[Column, ...]

    def row(self, **values: Scalar) -> Row:
        """A row with defaults filled in. Raises ValueError for a column or value that the table does not know."""
        by_name = {c.name: c for c in self.columns}
        for name, value in values.items():
            if name not in by_name:
                raise ValueError(f"table {self.name} has no column {name!r}; it has {', '.join(by_name)}")
            if value not in by_name[name].values:
                raise ValueError(f"{self.name}.{name} cannot be {value!r}; it is one of {by_name[name].values}")
        return {c.name: values.get(c.name, c.default) for c in self.columns}


@dataclass(frozen=True)
class Rule:
    """A rule of the domain's policy: one declarative sentence, conditions only, no procedure.

    `ordinary` rules say what is done where nothing stands against the request.
    """

    id: str
    text: str
    ordinary: bool = False


@dataclass(frozen=True)
class Domain:
    """All that the engine and the flywheel know of a domain. `main_table` holds the rows that requests are about."""

    name: str
    tables: tuple[Table, ...]
    tools: tuple[Tool, ...]
    rules: tuple[Rule, ...]
    main_table: str
    key: Parameter
    key_range: tuple[int, int]

    def tool(self, name: str) -> Tool | None:
        """A tool by its exact name."""
        return next((t for t in self.tools if t.name == name), None)

    def table(self, name: str) -> Table:
        """A table by name. Raises KeyError."""
        return next(t for t in self.tables if t.name == name)

    def rule(self, rule_id: str) -> Rule:
        """A rule by id. Raises KeyError."""
        found = next((r for r in self.rules if r.id == rule_id), None)
        if found is None:
            raise KeyError(rule_id)
        return found

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the tools that change nothing."""
        return tuple(t.name for t in self.tools if not t.writes)

    @property
    def writes(self) -> tuple[str, ...]:
        """Names of the tools that change tables."""
        return tuple(t.name for t in self.tools if t.writes)


@dataclass
class Env:
    """One episode's environment: its own copy of the tables, its log, and how it was closed.

    A call happens in the turn that `turn` says; the agent's loop runs one call a turn, so every call opens the next
    turn. `settle_after` successful writes close the episode: the user's request is settled, rightly or wrongly.
    """

    domain: Domain
    tables: Tables
    settle_after: int | None = None
    turn: int = 0
    log: list[LoggedCall] = field(default_factory=list)
    closed: str | None = None

    def state(self) -> Tables:
        """A copy of the tables."""
        return copy.deepcopy(self.tables)

    def state_hash(self) -> str:
        """The first 16 hex digits of the sha256 of the tables' canonical JSON."""
        return hashlib.sha256(canonical_json(self.tables)).hexdigest()[:HASH_DIGITS]

    def next_turn(self) -> None:
        """Says that the agent speaks again: it has seen the answers so far."""
        self.turn += 1

    def end(self, reason: str) -> None:
        """Closes the episode; the first reason stands."""
        self.closed = self.closed or reason

    def call(self, name: str, arguments: object) -> str:
        """Carries a call out and logs it.

        The answer is text for the agent, also when the call is wrong; never raises for anything that an agent may do.
        """
        before = self.state_hash()
        status, output, typed, writes = self._run(name, arguments)
        logged = LoggedCall(
            name=name,
            arguments=typed,
            turn=self.turn,
            status=status,
            output=output,
            writes=writes,
            before=before,
            after=self.state_hash(),
        )
        self.log.append(logged)
        self.next_turn()
        if writes and status == "ok" and self.settle_after is not None and self.writes_done() >= self.settle_after:
            self.end("settled")
        return output

    def writes_done(self) -> int:
        """Successful writes so far."""
        return sum(c.writes and c.status == "ok" for c in self.log)

    def _run(self, name: str, arguments: object) -> tuple[str, str, Mapping[str, object], bool]:
        tool = self.domain.tool(name)
        plain = dict(arguments) if isinstance(arguments, Mapping) else {"value": arguments}
        if tool is None:
            names = ", ".join(t.name for t in self.domain.tools)
            return "unknown-tool", f"error: no tool {name!r}; there are {names}", plain, False
        if self.closed:
            return "closed", "error: the conversation is over", plain, tool.writes
        try:
            typed = tool.read(arguments)
        except ValueError as error:
            return "bad-arguments", f"error: {error}", plain, tool.writes
        draft = copy.deepcopy(self.tables)
        try:
            output = tool.run(draft, typed)
        except KeyError:
            return "not-found", NOTHING_FOUND, typed, tool.writes
        except ToolRefused as refusal:
            return "refused", f"error: {refusal}", typed, tool.writes
        if tool.writes:
            self.tables = draft
        return "ok", output, typed, tool.writes


def replay(domain: Domain, tables: Tables, calls: Iterable[Call]) -> tuple[Tables, list[LoggedCall]]:
    """The tables after `calls` on a copy of `tables`, and the log."""
    env = Env(domain, copy.deepcopy(tables))
    for call in calls:
        env.call(call.name, call.arguments)
    return env.state(), env.log
