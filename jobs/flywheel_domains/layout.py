"""What expressions over a domain may name, worked out once: attributes of rows, constants, functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flywheel_domains.expr import Scope
from flywheel_domains.functions import day
from flywheel_domains.reads import listing
from flywheel_domains.unknown import UNKNOWN
from flywheel_domains.values import ColumnType

if TYPE_CHECKING:
    from flywheel_domains.blocks import Lookup
    from flywheel_domains.domain import Domain

PLAIN, REF, CHILDREN = "plain", "ref", "children"


@dataclass(frozen=True)
class Layout:
    """Tables of a domain as look-ups that are fast."""

    columns: dict[str, dict[str, ColumnType]]
    attributes: dict[str, dict[str, tuple[str, str, str]]]
    refs: dict[str, tuple[str, ...]]
    defaults: dict[str, dict[str, Any]]
    names: dict[str, Any]
    calls: dict[str, Callable[..., Any]]


def layout_of(domain: Domain) -> Layout:
    """The layout of a domain; it is kept with it."""
    return domain.layout


def make_layout(domain: Domain) -> Layout:
    """Works the layout out."""
    attributes: dict[str, dict[str, tuple[str, str, str]]] = {}
    defaults: dict[str, dict[str, Any]] = {}
    for name, columns in domain.columns.items():
        own = {
            column: (REF, kind.table, "") if kind.kind == "ref" else (PLAIN, "", "") for column, kind in columns.items()
        }
        attributes[name] = {**own, **{word: (CHILDREN, *child) for word, child in domain.children[name].items()}}
        given = domain.tables[name].columns.values()
        defaults[name] = {c.name: c.gen.value for c in given if c.gen is not None and c.gen.way == "value"}
    moment = domain.clock.moment
    names = {**{key: _numbered(value) for key, value in domain.constants.items()}, "now": moment, "today": day(moment)}
    return Layout(
        columns=domain.columns,
        attributes=attributes,
        refs={
            name: tuple(column for column, kind in columns.items() if kind.kind == "ref")
            for name, columns in domain.columns.items()
        },
        defaults=defaults,
        names={**names, "caller": UNKNOWN},
        calls={
            "row": _row,
            "rows": _rows,
            "listing": _listing,
            **{name: _helper(name, lookup) for name, lookup in domain.lookups.items()},
        },
    )


def _numbered(value: Any) -> Any:
    """A decision table with whole numbers as keys where the file has them: keys are text in it."""
    if isinstance(value, dict):
        whole = re.compile(r"-?\d+")
        return {int(key) if whole.fullmatch(key) else key: _numbered(each) for key, each in value.items()}
    return [_numbered(each) for each in value] if isinstance(value, list) else value


def _row(scope: Scope, table: str, id: Any) -> Any:
    return scope.view.row(table, id)


def _rows(scope: Scope, table: str) -> Any:
    return scope.view.rows(table)


def _listing(scope: Scope, tool: str, **given: Any) -> Any:
    return listing(scope.view, tool, given)


def _helper(name: str, lookup: Lookup) -> Callable[..., Any]:
    names, body, code = lookup.args, lookup.body, (lookup.code or "").removeprefix("tools.")

    def call(scope: Scope, *given: Any) -> Any:
        if len(given) != len(names):
            raise TypeError(f"it takes {', '.join(names)}")
        return body.eval(scope.inner(dict(zip(names, given, strict=True))))

    def run(scope: Scope, *given: Any) -> Any:
        from flywheel_domains.runner import computed  # it starts processes: only where there is code

        if len(given) != len(names):
            raise TypeError(f"it takes {', '.join(names)}")
        return computed(scope.view, name, code, dict(zip(names, given, strict=True)))

    return call if body is not None else run
