"""Edits of single cells that put a rule on one side of its limit: by its own examples, or by a cell that it reads."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from flywheel_domains.behaviour import Result
from flywheel_domains.case import Call, Edit
from flywheel_domains.domain import Domain
from flywheel_domains.errors import ExprError
from flywheel_domains.expr import Cell, Expr, ExprSyntax, Scope, compile_expr
from flywheel_domains.model import Rule, RuleExample
from flywheel_domains.rules import read, scope_of
from flywheel_domains.slots import plain_value
from flywheel_domains.unknown import is_unknown
from flywheel_domains.values import ColumnType, plain
from flywheel_domains.world import Row, World

MOST_VALUES = 12
"""Values that are tried for one cell."""


def merged(old: tuple[Edit, ...], new: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """Edits after edits: the later one of a cell counts."""
    cells = {(edit.table, edit.row, edit.column): edit for edit in (*old, *new)}
    return tuple(cells.values())


def scope_at(domain: Domain, result: Result, call: Call | None = None) -> Scope:
    """The names at a result, before it was carried out; `other` is another caller."""
    scope = scope_of(
        domain, result.world, result.session, call or asked_call(domain, result), None, result.option.limits
    )
    table = domain.caller_table
    if table is not None:
        others = (id for id in scope.view.ids(table) if id != result.session.caller)
        scope["other"] = scope.view.row(table, next(others, None))
    return scope


def asked_call(domain: Domain, result: Result) -> Call:
    """The call that the rules were asked about: for a hand-over, the one that was wished."""
    wish = domain.wishes[result.option.wish]
    if domain.tools.get(result.call.name) is not None and domain.tools[result.call.name].ends:
        return Call(wish.goal, dict(result.told))
    return result.call


def example_edits(domain: Domain, result: Result, example: RuleExample) -> tuple[Edit, ...]:
    """The cells that an example of a rule sets, for the rows of this call. What cannot be set here is left out."""
    scope = scope_at(domain, result)
    scope.view.trace = None
    edits = []
    for path, value in example.changes.items():
        cell = _cell(path, scope)
        if cell is None:
            continue
        kind = domain.columns[cell.table].get(cell.column)
        found = _value(kind, value, scope)
        if kind is not None and not is_unknown(found):
            edits.append(Edit(*cell, plain_value(found)))
    return tuple(edits)


def example_said(domain: Domain, result: Result, example: RuleExample) -> dict[str, Any] | None:
    """The values that an example of a rule is made `with`, as the caller of this wish would say them.

    None where they cannot say them: they are computed, withheld, or no arguments of the wish.
    """
    scope = scope_at(domain, result)
    scope.view.trace = None
    slots = domain.wishes[result.option.wish].slots
    said: dict[str, Any] = {}
    for name, value in example.given.items():
        slot = slots.get(name)
        if slot is None or slot.way == "value" or name not in result.option.said or name in result.option.hidden:
            return None
        kind = domain.arg_type(domain.parts[domain.wishes[result.option.wish].goal].args[name])
        found = _value(kind, value, scope)
        if is_unknown(found):
            return None
        said[name] = plain(plain_value(found))
    return said


@lru_cache(maxsize=1024)
def _head(path: str) -> tuple[Expr, str] | None:
    head, _, column = path.rpartition(".")
    try:
        return (compile_expr(head), column) if head else None
    except ExprSyntax:
        return None


def _cell(path: str, scope: Scope) -> Cell | None:
    """The cell that `b.cabin` or `b.segments[0].departure.state` names."""
    parts = _head(path)
    if parts is None:
        return None
    try:
        row = parts[0].eval(scope)
    except ExprError:
        return None
    return Cell(row.table, row.id, parts[1]) if isinstance(row, Row) else None


def _value(kind: ColumnType | None, expr: Expr, scope: Scope) -> Any:
    """The value of an expression; a bare word of an enumeration is that word."""
    if kind is not None and kind.kind == "enum" and expr.text.strip() in kind.values:
        return expr.text.strip()
    try:
        return expr.eval(scope)
    except ExprError:
        return expr.text.strip() if kind is not None and kind.kind in ("enum", "string") else None


def flips(
    domain: Domain, result: Result, rule: Rule, fires: bool, rng: random.Random | None = None
) -> Iterator[tuple[Edit, ...]]:
    """Edits of one cell after which a rule fires, or does not, in the call of a result."""
    scope = scope_at(domain, result)
    try:
        cells = sorted(read(domain, rule, scope).cells)
    except ExprError:  # it was read of a call that took this one's place, or speaks about another one of the case
        return
    if rng is not None:
        rng.shuffle(cells)
    call = asked_call(domain, result)
    for cell in cells:
        for value in other_values(domain, result.world, cell):
            try:
                world = result.world.with_cells({cell: value})
                after = scope_of(domain, world, result.session, call, None, result.option.limits)
                if read(domain, rule, after).holds is fires:
                    yield (Edit(*cell, value),)
                    break
            except (ValueError, ExprError):
                continue


def other_values(domain: Domain, world: World, cell: Cell) -> list[Any]:
    """Values that a cell could have instead: all of an enumeration; around limits for numbers and moments."""
    if cell.row == "*" or cell.column == "id":
        return []
    kind = domain.columns[cell.table].get(cell.column)
    row = world.view().values(cell.table, cell.row)
    if kind is None or row is None:
        return []
    old = row[cell.column]
    declared = domain.tables[cell.table].columns.get(cell.column)
    found = [value for value in _VALUES.get(kind.kind, _none)(domain, world, kind, old) if value != old]
    if declared is not None and declared.nullable and old is not None:
        found.append(None)
    return found[:MOST_VALUES]


def _none(domain: Domain, world: World, kind: ColumnType, old: Any) -> list[Any]:
    return []


def _numbers(domain: Domain, world: World, kind: ColumnType, old: Any) -> list[Any]:
    number = old or 0
    return [0, 1, number + 1, number - 1, number + 5, number * 2, number + 100_000][:MOST_VALUES]


_HOURS = (1, 23, 25, 47, 49, 24 * 15, 24 * 45)


def _moments(domain: Domain, world: World, kind: ColumnType, old: Any) -> list[Any]:
    now: datetime = world.now or domain.clock.moment
    return [now + timedelta(hours=sign * hours) for hours in _HOURS for sign in (-1, 1)]


def _dates(domain: Domain, world: World, kind: ColumnType, old: Any) -> list[Any]:
    today: date = (world.now or domain.clock.moment).date()
    return [today + timedelta(days=d) for d in (-1, 1, 0, -8, 8, -15, 15, -31, 31, -366, 366)]


def _refs(domain: Domain, world: World, kind: ColumnType, old: Any) -> list[Any]:
    return [id for _, id in zip(range(6), world.view().ids(kind.table), strict=False)]


_VALUES: dict[str, Callable[[Domain, World, ColumnType, Any], list[Any]]] = {
    "enum": lambda domain, world, kind, old: list(kind.values),
    "bool": lambda domain, world, kind, old: [True, False],
    "int": _numbers,
    "money": _numbers,
    "datetime": _moments,
    "date": _dates,
    "ref": _refs,
}
