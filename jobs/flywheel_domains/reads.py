"""What a read tool finds, whether it is called or asked for in an expression (`listing('search', …)`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flywheel_domains.expr import Cell
from flywheel_domains.model import Tool
from flywheel_domains.unknown import UNKNOWN, is_unknown
from flywheel_domains.values import plain

if TYPE_CHECKING:
    from flywheel_domains.domain import Domain
    from flywheel_domains.session import Session
    from flywheel_domains.world import Row, View


def listing_cell(tool: Tool, values: Mapping[str, Any], table: str = "") -> Cell:
    """What a search reveals beyond the rows that it shows: that there are no others. `table`: what code searches."""
    if tool.read is not None and tool.read.where is None:
        return Cell(tool.read.table, "*", "*")
    return Cell(tool.read.table if tool.read is not None else table, "*", f"{tool.name}({_written(values)})")


def _written(values: Mapping[str, Any]) -> str:
    given = {key: plain(value) for key, value in values.items() if value is not None}
    return json.dumps(given, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def searched(domain: Domain, tool: Tool) -> str:
    """The table that a search in code shows rows of, "" if the tool is none."""
    return domain.views[tool.view].of if tool.kind == "read" and tool.view else ""


def find(view: View, tool: Tool, values: Mapping[str, Any], session: Session | None = None) -> list[Row]:
    """The rows that fit, in the tool's order and before its limit."""
    read = tool.read
    assert read is not None
    asked = frozenset[str]().union(*(expr.names for expr in (read.where, read.sort, *tool.let.values()) if expr))
    if view.found is None or asked & {"session", "caller"}:
        return _search(view, tool, values, session)
    key = (tool.name, _written(values))
    if key not in view.found:
        view.found[key] = [row.id for row in _search(view, tool, values, session)]
    return [view.row_of(read.table, id) for id in view.found[key]]


def _search(view: View, tool: Tool, values: Mapping[str, Any], session: Session | None) -> list[Row]:
    read = tool.read
    assert read is not None
    trace, known = view.trace, view.known
    view.trace = view.known = None  # which rows fit is what the listing says, not what it reads
    try:
        scope = view.scope(values, tool.let, session)
        found = []
        for row in view.rows(read.table):
            scope["it"] = row
            if read.where is None or read.where.true(scope):
                found.append(row)
        if read.sort is not None:
            found.sort(key=lambda row: (_sort_key(read.sort, scope, row), row.id))
    finally:
        view.trace, view.known = trace, known
    return found


def _sort_key(sort: Any, scope: Any, row: Row) -> Any:
    scope["it"] = row
    value = sort.eval(scope)
    if isinstance(value, list | tuple):
        return tuple((each is None, "" if each is None else plain(each)) for each in value)
    return (value is None, "" if value is None else value)


def listing(view: View, name: str, given: Mapping[str, Any]) -> Any:
    """The rows that a read tool would list, as an expression sees them: one cell says which there are."""
    tool = view.domain.tools.get(name)
    table = searched(view.domain, tool) if tool is not None else ""
    if tool is None or (not table and (tool.read is None or tool.read.get is not None)):
        raise NameError(f"there is no searching tool {name}")
    if is_unknown(list(given.values())):
        return UNKNOWN
    unknown = set(given) - set(tool.args)
    if unknown:
        raise TypeError(f"{name} has no argument {', '.join(sorted(unknown))}")
    values = {arg: given.get(arg) for arg in tool.args}
    values = {key: getattr(value, "id", value) for key, value in values.items()}
    cell = listing_cell(tool, values, table)
    if view.trace is not None:
        view.trace.add(cell)
    if view.known is not None and cell not in view.known:
        return UNKNOWN
    if tool.read is None:
        return _found_by_code(view, tool, values)
    return find(view, tool, values)[: tool.read.limit]


def _found_by_code(view: View, tool: Tool, values: Mapping[str, Any]) -> Any:
    from flywheel_domains.runner import decoded, runner_of  # it loads domains, which need this module

    answer = runner_of(view.domain).run(tool.name, (tool.code or "").removeprefix("tools."), view, values)
    return decoded(view, answer.result)
