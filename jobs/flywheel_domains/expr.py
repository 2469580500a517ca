"""Expressions: a checked subset of Python, compiled once to code, evaluated with three truth values.

The text is parsed, every node is checked against a list of what is allowed, names become look-ups in a `Scope`, and
the tree is compiled twice. The first code is plain Python and fast; it stops with `Undecided` where an unknown value
decides. Then the second is run, in which `and`, `or`, `not`, `if`, `any` and `all` are functions of three values. So a
value that comes out in spite of unknown ones is the value for whatever they may be.

No assignment, no float, no text formatting, no attribute with an underscore, no method, no loop but a comprehension
over rows or given lists: an expression always ends, and touches nothing.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flywheel_domains.codegen import Fast, ThreeValued, function_of
from flywheel_domains.errors import ExprError
from flywheel_domains.grammar import LONGEST_TEXT, Check, ExprSyntax, plain_name
from flywheel_domains.unknown import UNKNOWN, Undecided, Unknown, is_unknown

__all__ = ["Cell", "Expr", "ExprSyntax", "Scope", "Trace", "compile_each", "compile_expr", "compile_lookup"]


class Cell(NamedTuple):
    """One value of the tables. Column `id` stands for whether the row is there; row `*` for a listing.

    A listing (`Cell("segments", "*", "booking=AB12")`) is which rows there are, so it is also the evidence that there
    is no other one.
    """

    table: str
    row: str
    column: str


class Trace(set[Cell]):
    """The cells that were read."""


class Scope(dict[str, Any]):
    """Names and their values, for one evaluation after another: its own, then `lets`, then those of `base`.

    Lets are evaluated when they are first read; `calls` are functions that get the scope; `view` holds the trace.
    A let that is read again adds its cells again, since it may belong to another proof.
    """

    __slots__ = ("base", "calls", "kept", "lets", "view")

    def __init__(
        self,
        values: Mapping[str, Any] | None = None,
        *,
        view: Any = None,
        lets: Mapping[str, Expr] | None = None,
        base: Mapping[str, Any] | None = None,
        calls: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        super().__init__(values or {})
        self.view, self.lets, self.base, self.calls = view, lets or {}, base or {}, calls or {}
        self.kept: dict[str, tuple[Any, frozenset[Cell]]] = {}

    def __missing__(self, name: str) -> Any:
        """A let or a name of the base. Raises NameError for a name that is nowhere."""
        if name in self.lets:
            return self._let(name)
        try:
            return self.base[name]
        except KeyError:
            raise NameError(f"there is no {name} here") from None

    def _let(self, name: str) -> Any:
        trace: Trace | None = self.view.trace if self.view is not None else None
        if name not in self.kept:
            if trace is None:
                self.kept[name] = self.lets[name].eval(self), frozenset()
            else:
                self.view.trace = own = Trace()
                try:
                    self.kept[name] = self.lets[name].eval(self), frozenset(own)
                finally:
                    self.view.trace = trace
        value, cells = self.kept[name]
        if trace is not None:
            trace |= cells
        return value

    def inner(self, values: Mapping[str, Any]) -> Scope:
        """The scope of a named helper: its parameters and the base, not the names around the call."""
        return Scope(values, view=self.view, base=self.base, calls=self.calls)


@dataclass(frozen=True)
class Expr:
    """A compiled expression. `names` are the free names, `calls` the functions and `attributes` what it reads."""

    text: str
    where: str
    names: frozenset[str]
    calls: frozenset[str]
    attributes: frozenset[str]
    _fast: Callable[[Scope], Any] = field(repr=False, compare=False)
    _three_valued: Callable[[Scope], Any] = field(repr=False, compare=False)

    def eval(self, scope: Scope) -> Any:
        """The value, or UNKNOWN if it depends on what is not known. Raises ExprError for what cannot be computed."""
        try:
            try:
                value = self._fast(scope)
            except Undecided:
                value = self._three_valued(scope)
        except Undecided:
            return UNKNOWN
        except ExprError:
            raise
        except Exception as error:
            raise ExprError(self.where, self.text, _said(error)) from error
        return UNKNOWN if is_unknown(value) else value

    def true(self, scope: Scope) -> bool | Unknown:
        """The value as truth: a condition must be true, false or unknown, and nothing else."""
        value = self.eval(scope)
        if isinstance(value, Unknown | bool):
            return value
        if value is None:
            return False
        return bool(value)

    def __reduce__(self) -> tuple[Callable[[str, str], Expr], tuple[str, str]]:
        """The text, compiled anew on the other side of a process boundary."""
        return compile_expr, (self.text, self.where)


def _said(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    return f"there is no entry {text!r}" if isinstance(error, KeyError) else str(text) or type(error).__name__


def compile_expr(text: str, where: str = "") -> Expr:
    """The expression, ready to be evaluated. Raises ExprSyntax."""
    if len(text) > LONGEST_TEXT:
        raise ExprSyntax(f"an expression has at most {LONGEST_TEXT} characters: give parts of it a name in `lookups`")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExprSyntax(f"not an expression: {getattr(error, 'msg', error)}") from None
    check = Check()
    check.see(tree, frozenset(), 0)
    return Expr(
        text=text,
        where=where,
        names=frozenset(check.names),
        calls=frozenset(check.calls),
        attributes=frozenset(check.attributes),
        _fast=function_of(Fast().visit(copy.deepcopy(tree))),
        _three_valued=function_of(ThreeValued().visit(tree)),
    )


def compile_lookup(text: str, where: str = "") -> tuple[tuple[str, ...], Expr]:
    """A named helper, `(b, cabin): expression`: its parameters, and what it computes with them in the scope."""
    head = re.fullmatch(r"\s*\(([^()]*)\)\s*:(.*)", text, re.DOTALL)
    names = [name.strip() for name in head[1].split(",") if name.strip()] if head else []
    if head is None or not all(map(plain_name, names)) or len(set(names)) < len(names):
        raise ExprSyntax("write it as (name, name): expression")
    return tuple(names), compile_expr(head[2].strip(), where)


def compile_each(text: str, where: str = "") -> tuple[str, Expr]:
    """`name in list`: the name, and the list."""
    name, found, members = text.partition(" in ")
    if not found or not plain_name(name.strip()):
        raise ExprSyntax("write it as: name in list")
    return name.strip(), compile_expr(members.strip(), where)
