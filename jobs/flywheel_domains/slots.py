"""Values of slots that nobody says: rows that are described, optima, totals spread over what may pay, whole sets.

An agent has to find them, so the cells that they rest on belong to the proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel_domains.case import Want
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Cell, Expr, Scope
from flywheel_domains.functions import attribute
from flywheel_domains.model import Act, Arg, Choose, Spread, Tool
from flywheel_domains.unknown import UNKNOWN, Undecided, Unknown, is_unknown
from flywheel_domains.values import plain
from flywheel_domains.world import View

COMPUTED = frozenset({"choose", "spread", "all"})
"""Ways of a slot whose value is found, not said."""


class Tie(Exception):
    """Two values are equally good, and the words do not say which: such a want is no task."""


class NoCandidate(Exception):
    """There is nothing to choose from: the wish cannot be fulfilled. `cells` are those that say so."""

    cells: frozenset[Cell] = frozenset()


def part_of(domain: Domain, goal: str) -> Tool | Act:
    """The tool or the act of a name."""
    return domain.tools.get(goal) or domain.acts[goal]


def is_set(domain: Domain, wish: str) -> str | None:
    """The slot that stands for a whole set of rows, if the wish has one."""
    return next((name for name, slot in domain.wishes[wish].slots.items() if slot.way == "all"), None)


def owned(domain: Domain, view: View, table: str, caller: str) -> list[str]:
    """Ids of the rows of a table that belong to a caller, by the references from it to them, however far."""
    if table == domain.caller_table:
        return [caller]
    path = domain.way_to_caller.get(table)
    if path is None:
        return list(view.ids(table))
    column, owner = path
    return [
        id for parent in owned(domain, view, owner, caller) for id in listed(domain, view, owner, parent, table, column)
    ]


def listed(domain: Domain, view: View, owner: str, parent: str, table: str, column: str) -> list[str]:
    """Rows of a table under a row of another; what it reads is the list, where the language has one."""
    for name, child in domain.children[owner].items():
        if child == (table, column):
            rows = view.get(owner, parent, name)
            if isinstance(rows, Unknown):
                raise Undecided
            return [row.id for row in rows]
    return view.children(table, column, parent)


def described(domain: Domain, view: View, table: str, caller: str, marks: tuple[tuple[str, Any], ...]) -> Any:
    """The id of the caller's row that has these values, UNKNOWN if that cannot be told yet. Raises Tie."""
    try:
        ids = owned(domain, view, table, caller)
        fits = [id for id in ids if _fits(view, table, id, marks)]
    except Undecided:
        return UNKNOWN
    if len(fits) > 1:
        raise Tie(f"{len(fits)} rows of {table} fit the description")
    if not fits:
        raise NoCandidate(f"no row of {table} fits the description")
    return fits[0]


def _fits(view: View, table: str, id: str, marks: tuple[tuple[str, Any], ...]) -> bool:
    for path, value in marks:
        found = plain_at(view, table, id, path)
        if is_unknown(found):
            raise Undecided
        if plain(found) != value:
            return False
    return True


def plain_at(view: View, table: str, id: str, path: str) -> Any:
    """The value at `column` or `reference.column` of a row; a list's is that of its members, sorted."""
    value: Any = view.row(table, id)
    for step in path.split("."):
        if isinstance(value, list):
            value = [attribute(each, step) for each in value]
        elif value is not None:
            value = attribute(value, step)
    if isinstance(value, list):
        return tuple(sorted(map(str, map(plain_value, value))))
    return plain_value(value)


def plain_value(value: Any) -> Any:
    """A row as its id, so that values compare."""
    if isinstance(value, list | tuple):
        return tuple(plain_value(member) for member in value)
    if isinstance(value, Mapping):
        return {key: plain_value(member) for key, member in value.items()}
    if isinstance(value, Unknown):
        return value
    return value if value is None or isinstance(value, str | int) else plain(value)


def computed(domain: Domain, scope: Scope, want: Want, name: str) -> Any:
    """The value of a slot that is found; UNKNOWN if it rests on what is not known. Raises Tie, NoCandidate."""
    slot = domain.wishes[want.wish].slots[name]
    arg = part_of(domain, domain.wishes[want.wish].goal).args[name]
    try:
        if slot.choose is not None:
            return _chosen(slot.choose, arg, scope)
        if slot.spread is not None:
            return _spread(domain, slot.spread, arg, scope)
        assert slot.all is not None
        rows = slot.all.source.eval(scope)
        if isinstance(rows, Unknown):
            return UNKNOWN
        return tuple(plain_value(row) for row in rows if slot.all.where is None or _true(slot.all.where, scope, row))
    except Undecided:
        return UNKNOWN


def _about(scope: Scope, row: Any) -> Scope:
    scope["it"] = scope["x"] = scope["w"] = row
    return scope


def _true(test: Expr, scope: Scope, row: Any) -> bool:
    value = test.true(_about(scope, row))
    if isinstance(value, Unknown):
        raise Undecided
    return value


def _chosen(choose: Choose, arg: Arg, scope: Scope) -> Any:
    candidates = choose.source.eval(scope)
    if isinstance(candidates, Unknown):
        return UNKNOWN
    if not candidates:
        raise NoCandidate("there is nothing to choose from")
    scores = [choose.score.eval(_about(scope, each)) for each in candidates]
    if is_unknown(scores):
        return UNKNOWN
    limit = min(scores) if choose.way == "min" else max(scores)
    best = [each for each, score in zip(candidates, scores, strict=True) if score == limit]
    if len(best) > 1:
        raise Tie(f"{len(best)} candidates are equally good")
    found = plain_value(best[0])
    return (found,) if arg.list is not None and not isinstance(found, tuple) else found


def _spread(domain: Domain, spread: Spread, arg: Arg, scope: Scope) -> Any:
    """Kind by kind in the stated order, each used up before the next; the last takes what is left."""
    left = spread.total.eval(scope)
    rows = spread.of.eval(scope)
    if is_unknown([left, rows]):
        return UNKNOWN
    fields = arg.list.object if arg.list is not None else None
    assert fields is not None
    row_field = next(name for name, field in fields.items() if field.ref)
    money_field = next(name for name, field in fields.items() if name != row_field)
    parts: list[dict[str, Any]] = []
    for number, kind in enumerate(spread.over):
        fits = [row for row in rows if _true(kind, scope, row)]
        if number == len(spread.over) - 1:
            if left and len(fits) > 1:
                raise Tie("the rest could go to either of two")
            amounts = [(row, left) for row in fits]
        else:
            amounts = [(row, attribute(row, _amount(domain, row.table))) for row in fits]
            if is_unknown([amount for _, amount in amounts]):
                return UNKNOWN
            if len(fits) > 1 and left < sum(amount for _, amount in amounts):
                raise Tie("not all of a kind are used up, and the words do not say which")
        for row, amount in amounts:
            used = min(left, amount)
            if used > 0:
                parts.append({row_field: row.id, money_field: used})
                left -= used
    if left:
        raise NoCandidate("it cannot be paid in full")
    return tuple(parts)


def _amount(domain: Domain, table: str) -> str:
    return next(name for name, kind in domain.columns[table].items() if kind.kind == "money")
