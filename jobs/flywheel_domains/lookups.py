"""Which look-ups show what a right agent must know, starting from what the caller says and growing by what is shown.

A proof is a set of cells, never a list of calls: any reads that show enough will do. `path_of` finds one such way, with
every argument of every call taken from what was said or shown before; if there is none, the domain is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain, islice, product
from typing import Any

from flywheel_domains.behaviour import Behaviour, Result, proven
from flywheel_domains.case import Call, Step, StepKind
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell
from flywheel_domains.model import Arg, Read
from flywheel_domains.session import Session
from flywheel_domains.tools import call as call_tool
from flywheel_domains.unknown import Unknown
from flywheel_domains.values import plain
from flywheel_domains.world import World

MOST_LOOKS = 40
"""Reads for one decision."""
MOST_SEARCHES = 24
"""Searches by one tool with values that are known."""
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
MOST_CALLS = 400
"""Calls that are tried for one decision."""
LEADS = 2
"""What a row that leads on counts, beside anything else that is new."""
MOST_ROWS = 4
MOST_COMBINED = 24
"""Wanted rows and combinations of arguments for which one search is tried."""


class Unprovable(Exception):
    """No reads show what this decision rests on. `cells` are those that nothing showed."""

    def __init__(self, result: Result, cells: frozenset[Cell]) -> None:
        self.result, self.cells = result, cells
        shown = ", ".join(f"{c.table}/{c.row}.{c.column}" for c in sorted(cells)[:4])
        super().__init__(f"{result.call.name} ({result.verdict}) rests on what nothing shows: {shown or 'unknown ids'}")


@dataclass
class Knowledge:
    """What an agent was told and shown so far: cells, ids of rows by table, and plain values."""

    domain: Domain
    seen: set[Cell] = field(default_factory=set)
    ids: dict[str, dict[str, None]] = field(default_factory=dict)
    values: set[str] = field(default_factory=set)
    identified: bool = False

    def told(self, value: Any, table: str = "") -> None:
        """A value that the caller said; of a reference, the row's id."""
        if isinstance(value, Mapping):
            for member in value.values():
                self.told(member, table)
        elif isinstance(value, list | tuple):
            for member in value:
                self.told(member, table)
        elif value is not None and not isinstance(value, Unknown):
            self.values.add(_text(value))
            if table:
                self.ids.setdefault(table, {})[str(value)] = None

    def shown(self, world: World, cells: Iterable[Cell]) -> None:
        """Cells that an answer showed, with the values that they have."""
        view = world.view()
        for cell in cells:
            if cell in self.seen:
                continue
            self.seen.add(cell)
            if cell.row == "*":
                continue
            row = view.values(cell.table, cell.row)
            if row is None:
                continue
            self.ids.setdefault(cell.table, {})[cell.row] = None
            value = row.get(cell.column)
            kind = self.domain.columns[cell.table].get(cell.column)
            self.told(value, kind.table if kind is not None and kind.kind == "ref" else "")
            if isinstance(value, datetime):
                self.values.add(_text(value.date()))

    def knows(self, value: Any) -> bool:
        """Whether a value was said or shown."""
        if isinstance(value, list | tuple):
            return all(map(self.knows, value))
        return value is None or _text(value) in self.values


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    found = plain(value)
    return found if isinstance(found, str) else repr(found)


@dataclass(frozen=True)
class Path:
    """One right way in full: identification, look-ups, questions and writes. `revealed` is all that it shows."""

    steps: tuple[Step, ...]
    revealed: frozenset[Cell]

    @property
    def looks(self) -> tuple[Call, ...]:
        """The look-ups."""
        return tuple(step.call for step in self.steps if step.kind is StepKind.LOOK and step.call is not None)


def path_of(domain: Domain, found: Behaviour) -> Path:
    """A right way with its look-ups. Raises Unprovable."""
    knowledge = Knowledge(domain)
    case = found.case
    for name, value in case.knows.items():
        knowledge.told(value)
        knowledge.seen.add(Cell(domain.caller_table or "", case.caller, name))
    steps: list[Step] = []
    for result in found.results:
        steps += _way(domain, knowledge, result)
    return Path(tuple(steps), frozenset(knowledge.seen))


def _way(domain: Domain, knowledge: Knowledge, result: Result) -> list[Step]:
    steps: list[Step] = []
    goal = domain.wishes[result.option.wish].goal
    said = {name: value for name, value in result.option.said.items() if name not in result.option.hidden}
    _hear(domain, knowledge, goal, said)
    for limit in result.option.limits.values():
        knowledge.told(limit)
    for marks in result.option.described.values():
        for _, value in marks:
            knowledge.told(value)
    session = result.session
    for step in result.steps:
        if step.kind is StepKind.IDENTIFY:
            assert step.call is not None
            outcome = call_tool(domain, result.world, session, step.call.name, dict(step.call.args))
            knowledge.shown(result.world, outcome.revealed)
            knowledge.identified = True
            steps.append(step)
    for step in result.steps:
        if step.kind is StepKind.ASK:
            _hear(domain, knowledge, goal, {name: result.told.get(name) for name in step.slots})
            _hear(domain, knowledge, goal, result.option.said)
            steps.append(step)
    _hear(domain, knowledge, goal, result.told)
    steps += _looks(domain, knowledge, result, session)
    for step in result.steps:
        if step.kind in (StepKind.CONFIRM, StepKind.CALL, StepKind.HAND_OVER, StepKind.LOOK):
            steps.append(step)
            if step.kind is not StepKind.CONFIRM and step.call is not None:
                outcome = call_tool(domain, result.world, session, step.call.name, dict(step.call.args))
                knowledge.shown(outcome.world, outcome.revealed)
    return steps


def _hear(domain: Domain, knowledge: Knowledge, goal: str, said: Mapping[str, Any]) -> None:
    args = domain.parts[goal].args
    for name, value in said.items():
        arg = args.get(name)
        inner = arg.list if arg is not None and arg.list is not None else arg
        knowledge.told(value, (inner.ref or "") if inner is not None else "")


def _looks(domain: Domain, knowledge: Knowledge, result: Result, session: Session) -> list[Step]:
    """Reads until the decision follows from what is seen."""
    steps: list[Step] = []
    tried: dict[str, frozenset[Cell]] = {}
    if proven(domain, result, result.told, knowledge.seen, knowledge.identified):
        return steps
    while True:
        wanted = result.proof - knowledge.seen
        best = (
            _best(domain, knowledge, result, session, candidates(domain, knowledge, wanted), tried) if wanted else None
        )
        if best is None or not best[0]:  # everything is seen, or something else may do as well
            if proven(domain, result, result.told, knowledge.seen, knowledge.identified):
                return steps
            if best is None or best[1] < LEADS:
                searches = chain(searches_for(domain, knowledge, result.world, wanted), _searches(domain, knowledge))
                best = _best(domain, knowledge, result, session, searches, tried, first=True) or best
        if best is None or len(steps) >= MOST_LOOKS:
            raise Unprovable(result, wanted)
        call = best[2]
        steps.append(Step(StepKind.LOOK, result.want, call))
        knowledge.shown(result.world, tried[_key(call)])


def _key(call: Call) -> str:
    return f"{call.name}({sorted(call.args.items())!r})"


def _best(
    domain: Domain,
    knowledge: Knowledge,
    result: Result,
    session: Session,
    calls: Iterable[Call],
    tried: dict[str, frozenset[Cell]],
    first: bool = False,
) -> tuple[int, int, Call] | None:
    """The call that shows most of what is wanted (or the `first` that shows any), or leads on; None if none does."""
    wanted = result.proof - knowledge.seen
    rows = _rows_of(domain, wanted)
    best: tuple[int, int, Call] | None = None
    for call in calls:
        key = _key(call)
        if key not in tried:
            if len(tried) > MOST_CALLS:
                break
            tried[key] = call_tool(domain, result.world, session, call.name, dict(call.args)).revealed
        score = len(tried[key] & wanted)
        if best is not None and score < best[0]:
            continue
        fresh = tried[key] - knowledge.seen
        leads = LEADS * len(rows.intersection((cell.table, cell.row) for cell in fresh)) or bool(fresh)
        if (score or leads) and (best is None or (score, leads) > best[:2]):
            best = (score, leads, call)
            if first and score:
                break
    return best


def searches_for(domain: Domain, knowledge: Knowledge, world: World, wanted: frozenset[Cell]) -> Iterator[Call]:
    """Searches that could show wanted rows, by arguments that are known, or named in the tool's own schema."""
    view = world.view()
    rows: dict[str, dict[str, None]] = {}
    for cell in sorted(wanted):
        if cell.row != "*":
            rows.setdefault(cell.table, {})[cell.row] = None
    for name, tool in domain.tools.items():
        if tool.read is None or tool.read.where is None:
            continue
        for id in list(rows.get(tool.read.table, ()))[:MOST_ROWS]:
            values = view.values(tool.read.table, id) or {}
            lists = [_for_arg(domain, knowledge, arg, values) for arg in tool.args.values()]
            for given in islice(product(*lists), MOST_COMBINED):
                yield Call(name, {arg: value for arg, value in zip(tool.args, given, strict=True) if value is not None})


def _for_arg(domain: Domain, knowledge: Knowledge, arg: Arg, row: Mapping[str, Any]) -> list[Any]:
    """Values that an agent could give for an argument, those of the wanted row first; None leaves it out."""
    if arg.list is not None or arg.object is not None:
        return [None]
    kind = domain.arg_type(arg)
    if kind.kind == "enum":
        found: list[Any] = sorted(kind.values, key=lambda value: value not in row.values())
    elif kind.kind == "ref":
        found = sorted(knowledge.ids.get(kind.table, ()), key=lambda id: (id not in row.values(), id))
    else:
        held = [
            value.date() if kind.kind == "date" and isinstance(value, datetime) else value for value in row.values()
        ]
        found = [
            plain(value) for value in held if isinstance(value, _PYTHON.get(kind.kind, ())) and knowledge.knows(value)
        ]
    return [*found, None] if arg.optional or not found else found


_PYTHON: dict[str, type] = {"string": str, "int": int, "money": int, "date": date, "datetime": datetime}


def _rows_of(domain: Domain, wanted: frozenset[Cell]) -> set[tuple[str, str]]:
    """Rows that are wanted, or whose list is wanted: a read that makes one of them known leads on."""
    rows = {(cell.table, cell.row) for cell in wanted if cell.row != "*"}
    for cell in wanted:
        column, equal, parent = cell.column.partition("=")
        kind = domain.columns[cell.table].get(column) if equal and cell.row == "*" else None
        if kind is not None:
            rows.add((kind.table, parent))
    return rows


def candidates(domain: Domain, knowledge: Knowledge, wanted: frozenset[Cell]) -> Iterator[Call]:
    """Reads that an agent could make with what it knows: by every known id, and the searches that the proof names."""
    rows = _rows_of(domain, wanted)
    tables = {table for table, _ in rows} | {cell.table for cell in wanted}
    for name, tool in domain.tools.items():
        if tool.read is None:
            continue
        if tool.read.get is not None and len(tool.args) == 1:
            shown = _shown(domain, tool.read)
            if tables & shown:
                ids = sorted(knowledge.ids.get(tool.read.get, ()))
                alone = len(shown) == 1  # nothing but the row itself
                yield from (
                    Call(name, {tool.read.key or "": id}) for id in ids if not alone or (tool.read.get, id) in rows
                )
        elif tool.read.where is None and not tool.args:
            yield Call(name, {})
    for cell in sorted(wanted):
        if cell.row == "*" and cell.column.endswith(")"):
            call = _named(cell)
            if call is not None and all(map(knowledge.knows, call.args.values())):
                yield call


def _shown(domain: Domain, tool: Read) -> set[str]:
    """The tables of which a read shows cells."""
    view = domain.views[tool.show]
    found = {view.of}
    parts = [(view.of, view.show)]
    parts += [(domain.children[view.of][name][0], columns) for name, columns in view.children.items()]
    for table, columns in parts:
        found.add(table)
        for path in columns:
            at = table
            for step in path.split(".")[:-1]:
                at = domain.columns[at][step].table
                found.add(at)
    return found


def _searches(domain: Domain, knowledge: Knowledge) -> Iterator[Call]:
    """Searches by ids, words of an enumeration and dates that were said or shown."""
    for name, tool in domain.tools.items():
        if tool.read is None or tool.read.get is not None:
            continue
        args = {key: arg for key, arg in tool.args.items() if not arg.optional}
        if args:
            values = product(*(_fitting(domain, knowledge, arg) for arg in args.values()))
            yield from (Call(name, dict(zip(args, each, strict=True))) for each in islice(values, MOST_SEARCHES))


def _fitting(domain: Domain, knowledge: Knowledge, arg: Arg) -> list[str]:
    if arg.list is not None or arg.object is not None:
        return []
    kind = domain.arg_type(arg)
    if kind.kind == "ref":
        return sorted(knowledge.ids.get(kind.table, ()))
    if kind.kind == "date":
        return sorted(value for value in knowledge.values if DATE.fullmatch(value))
    return [value for value in kind.values if knowledge.knows(value)]


def _named(cell: Cell) -> Call | None:
    """The search that a listing's cell names."""
    name, _, rest = cell.column.partition("(")
    try:
        return Call(name, json.loads(rest[:-1]))
    except ValueError:
        return None


def missing(
    domain: Domain, found: Behaviour, revealed: frozenset[Cell] | set[Cell], identified: bool = True
) -> list[Result]:
    """The results that do not follow from these cells, with all that is said known: empty if everything is proved."""
    return [r for r in found.results if not proven(domain, r, r.told, revealed, identified)]
