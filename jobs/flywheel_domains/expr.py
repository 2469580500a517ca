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
import builtins
import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, NamedTuple

from flywheel_domains import functions as f
from flywheel_domains.errors import ExprError
from flywheel_domains.unknown import UNKNOWN, Undecided, Unknown, is_unknown

LONGEST_TEXT = 4_000
MOST_NODES = 600
DEEPEST = 40
LARGEST = 10**15


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


class ExprSyntax(ValueError):
    """The text is not an expression of the language; the message says what to write instead."""


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
    check = _Check()
    check.see(tree, frozenset(), 0)
    return Expr(
        text=text,
        where=where,
        names=frozenset(check.names),
        calls=frozenset(check.calls),
        attributes=frozenset(check.attributes),
        _fast=_function(_Fast().visit(copy.deepcopy(tree))),
        _three_valued=_function(_ThreeValued().visit(tree)),
    )


def compile_lookup(text: str, where: str = "") -> tuple[tuple[str, ...], Expr]:
    """A named helper, `(b, cabin): expression`: its parameters, and what it computes with them in the scope."""
    head = re.fullmatch(r"\s*\(([^()]*)\)\s*:(.*)", text, re.DOTALL)
    names = [name.strip() for name in head[1].split(",") if name.strip()] if head else []
    if head is None or not all(map(_plain, names)) or len(set(names)) < len(names):
        raise ExprSyntax("write it as (name, name): expression")
    return tuple(names), compile_expr(head[2].strip(), where)


def compile_each(text: str, where: str = "") -> tuple[str, Expr]:
    """`name in list`: the name, and the list."""
    name, found, members = text.partition(" in ")
    if not found or not _plain(name.strip()):
        raise ExprSyntax("write it as: name in list")
    return name.strip(), compile_expr(members.strip(), where)


def _plain(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


def _function(body: ast.expr) -> Callable[[Scope], Any]:
    arguments = ast.arguments(posonlyargs=[], args=[ast.arg("_s")], kwonlyargs=[], kw_defaults=[], defaults=[])
    tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
    code: CodeType = compile(tree, "<domain>", "eval")
    made: Callable[[Scope], Any] = builtins.eval(code, dict(_GLOBALS))
    return made


# ---- what is allowed ----------------------------------------------------------------------------------------------

_ALLOWED: tuple[type[ast.AST], ...] = (
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.Compare, ast.IfExp, ast.Call, ast.Attribute, ast.Subscript, ast.Name,
    ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.ListComp, ast.GeneratorExp,
)  # fmt: skip
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.Not, ast.USub, ast.And, ast.Or)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot)
_INSTEAD = {
    ast.JoinedStr: "text is not formatted here",
    ast.Div: "there is no / (floats): write a // b, or percent(amount, rate)",
    ast.Pow: "there is no power",
    ast.NamedExpr: "nothing is assigned here: use `let`",
    ast.Lambda: "functions are declared in `lookups`",
    ast.Slice: "lists are not cut: use a comprehension",
    ast.Starred: "write the list as one argument",
}
SESSION = "session"
"""The only name whose attributes are called: `session.did('tool', row)`."""


class _Check:
    """Walks over the tree once: everything that is not allowed is refused, names are collected."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.calls: set[str] = set()
        self.attributes: set[str] = set()
        self.nodes = 0

    def see(self, node: ast.AST, bound: frozenset[str], depth: int) -> None:
        self.nodes += 1
        if self.nodes > MOST_NODES or depth > DEEPEST:
            raise ExprSyntax("too long or too deep: give parts of it a name in `lookups`")
        if not isinstance(node, _ALLOWED):
            kind = type(node)
            raise ExprSyntax(_INSTEAD.get(kind, f"{kind.__name__} is not part of the language"))
        rule = getattr(self, f"_{type(node).__name__.lower()}", None)
        if rule is not None:
            bound = rule(node, bound, depth) or bound
        for child in self._children(node):
            self.see(child, bound, depth + 1)

    def _children(self, node: ast.AST) -> Sequence[ast.AST]:
        if isinstance(node, ast.Call):
            return [*node.args, *(keyword.value for keyword in node.keywords)]
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            return [node.elt]
        if isinstance(node, ast.Dict):
            return [key for key in node.keys if key is not None] + node.values
        return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]

    def _constant(self, node: ast.Constant, bound: frozenset[str], depth: int) -> None:
        value = node.value
        if isinstance(value, float):
            raise ExprSyntax("there are no floats: money is in minor units, a share is percent(amount, rate)")
        if not isinstance(value, str | int | bool | None):
            raise ExprSyntax(f"{type(value).__name__} is not part of the language")
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ExprSyntax(f"a number is at most {LARGEST}")

    def _name(self, node: ast.Name, bound: frozenset[str], depth: int) -> None:
        if node.id.startswith("_"):
            raise ExprSyntax("no name begins with an underscore")
        if node.id not in bound:
            self.names.add(node.id)

    def _attribute(self, node: ast.Attribute, bound: frozenset[str], depth: int) -> None:
        if node.attr.startswith("_"):
            raise ExprSyntax("no attribute begins with an underscore")
        self.attributes.add(node.attr)

    def _call(self, node: ast.Call, bound: frozenset[str], depth: int) -> None:
        if isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if not isinstance(owner, ast.Name) or owner.id != SESSION or node.func.attr.startswith("_"):
                raise ExprSyntax("values have no methods here")
            self.names.add(SESSION)
        elif isinstance(node.func, ast.Name):
            if node.func.id.startswith("_") or node.func.id in bound:
                raise ExprSyntax(f"{node.func.id} is not a function")
            self.calls.add(node.func.id)
        else:
            raise ExprSyntax("only functions with a name are called")
        if any(keyword.arg is None or keyword.arg.startswith("_") for keyword in node.keywords):
            raise ExprSyntax("arguments are written one by one")
        quantified = isinstance(node.func, ast.Name) and node.func.id in ("any", "all")
        if quantified and (len(node.args) != 1 or node.keywords):
            raise ExprSyntax("any and all take one list")

    def _binop(self, node: ast.BinOp, bound: frozenset[str], depth: int) -> None:
        self._operator(node.op)

    def _unaryop(self, node: ast.UnaryOp, bound: frozenset[str], depth: int) -> None:
        self._operator(node.op)

    def _operator(self, operator: ast.AST) -> None:
        if not isinstance(operator, _OPERATORS):
            kind = type(operator)
            raise ExprSyntax(_INSTEAD.get(kind, f"{kind.__name__} is not part of the language"))

    def _compare(self, node: ast.Compare, bound: frozenset[str], depth: int) -> None:
        for operator, right in zip(node.ops, node.comparators, strict=True):
            nothing = isinstance(right, ast.Constant) and right.value is None
            if isinstance(operator, ast.Is | ast.IsNot) and not nothing:
                raise ExprSyntax("`is` is for None only: write ==")

    def _dict(self, node: ast.Dict, bound: frozenset[str], depth: int) -> None:
        if None in node.keys:
            raise ExprSyntax("entries are written one by one")

    def _listcomp(self, node: ast.ListComp, bound: frozenset[str], depth: int) -> frozenset[str]:
        return self._comprehension(node.generators, bound, depth)

    def _generatorexp(self, node: ast.GeneratorExp, bound: frozenset[str], depth: int) -> frozenset[str]:
        return self._comprehension(node.generators, bound, depth)

    def _comprehension(self, parts: list[ast.comprehension], bound: frozenset[str], depth: int) -> frozenset[str]:
        if len(parts) > 3:
            raise ExprSyntax("at most three `for` in one comprehension")
        for part in parts:
            self.see(part.iter, bound, depth + 1)
            bound |= _targets(part.target)
            for condition in part.ifs:
                self.see(condition, bound, depth + 1)
        return bound


def _targets(target: ast.expr) -> frozenset[str]:
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    if not all(isinstance(name, ast.Name) and _plain(name.id) for name in names):
        raise ExprSyntax("a comprehension binds plain names")
    return frozenset(name.id for name in names if isinstance(name, ast.Name))


# ---- the two codes ------------------------------------------------------------------------------------------------


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def _later(body: ast.expr) -> ast.Lambda:
    nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    return ast.Lambda(nothing, body)


def _truth(body: ast.expr) -> ast.expr:
    """`and` and `or` are true or false and never one of their operands: with an unknown one that could not be said."""
    return ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), body))


_TWO = {ast.Mult: "_times", ast.FloorDiv: "_divide", ast.Mod: "_rest"}
_COMPARED = {ast.Eq: "_equal", ast.NotEq: "_unequal", ast.In: "_within", ast.NotIn: "_not_within"}


class _Fast(ast.NodeTransformer):
    """Plain Python: names from the scope, attributes and the dangerous operators through `functions`."""

    def __init__(self) -> None:
        self.bound: list[frozenset[str]] = [frozenset()]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if any(node.id in names for names in self.bound):
            return node
        return ast.Subscript(ast.Name("_s", ast.Load()), ast.Constant(node.id), ast.Load())

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return _call("_attribute", self.visit(node.value), ast.Constant(node.attr))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return _call("_item", self.visit(node.value), self.visit(node.slice))

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return _truth(ast.BoolOp(node.op, [self.visit(value) for value in node.values]))

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left, right = self.visit(node.left), self.visit(node.right)
        name = _TWO.get(type(node.op))
        return _call(name, left, right) if name else ast.BinOp(left, node.op, right)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        values = [node.left, *node.comparators]
        steps = [self._step(values[i], op, values[i + 1]) for i, op in enumerate(node.ops)]
        return steps[0] if len(steps) == 1 else self._all(steps)

    def _step(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
        first, second = self.visit(copy.deepcopy(left)), self.visit(copy.deepcopy(right))  # the middle of a < b < c
        if isinstance(operator, ast.Is | ast.IsNot):
            operator = ast.Eq() if isinstance(operator, ast.Is) else ast.NotEq()
        name = _COMPARED.get(type(operator))
        return _call(name, first, second) if name else ast.Compare(first, [operator], [second])

    def _all(self, steps: list[ast.expr]) -> ast.expr:
        return _truth(ast.BoolOp(ast.And(), steps))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [ast.keyword(keyword.arg, self.visit(keyword.value)) for keyword in node.keywords]
        if isinstance(node.func, ast.Attribute):
            return ast.Call(self.visit_Attribute(node.func), arguments, keywords)
        assert isinstance(node.func, ast.Name)
        name = node.func.id
        if name in f.FUNCTIONS or name in ("any", "all"):
            return ast.Call(ast.Name(f"_f_{name}", ast.Load()), arguments, keywords)
        scope = ast.Name("_s", ast.Load())
        return ast.Call(_call("_function", scope, ast.Constant(name)), [scope, *arguments], keywords)

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        generators, depth = self._generators(node.generators)
        made = ast.ListComp(self.visit(node.elt), generators)
        del self.bound[len(self.bound) - depth :]
        return made

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        generators, depth = self._generators(node.generators)
        made = ast.GeneratorExp(self.visit(node.elt), generators)
        del self.bound[len(self.bound) - depth :]
        return made

    def _generators(self, parts: list[ast.comprehension]) -> tuple[list[ast.comprehension], int]:
        made = []
        for part in parts:
            members = _call("_f_list", self.visit(part.iter))
            self.bound.append(_targets(part.target))
            made.append(ast.comprehension(part.target, members, [self.visit(test) for test in part.ifs], 0))
        return made, len(parts)


class _ThreeValued(_Fast):
    """The same with truth as a function: each operand is evaluated apart, so that one unknown does not hide another."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        name = "_and" if isinstance(node.op, ast.And) else "_or"
        return _call(name, *(_later(self.visit(value)) for value in node.values))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        value = self.visit(node.operand)
        return _call("_not", _later(value)) if isinstance(node.op, ast.Not) else ast.UnaryOp(node.op, value)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return _call("_if", *(_later(self.visit(part)) for part in (node.test, node.body, node.orelse)))

    def _all(self, steps: list[ast.expr]) -> ast.expr:
        return _call("_and", *map(_later, steps))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not isinstance(node.func, ast.Name) or node.func.id not in ("any", "all"):
            return super().visit_Call(node)
        (argument,) = node.args
        kind = f"_{node.func.id}"
        if not isinstance(argument, ast.GeneratorExp | ast.ListComp):
            return _call(kind, _later(self.visit(argument)))
        return self._quantified(kind, list(argument.generators), argument.elt)

    def _quantified(self, kind: str, parts: list[ast.comprehension], element: ast.expr) -> ast.expr:
        """`any(e for x in xs if c)` is "some x with c and e"; `all` is "no x with c and not e"."""
        part, *rest = parts
        members = _call("_f_list", self.visit(part.iter))
        self.bound.append(_targets(part.target))
        tests = [self.visit(test) for test in part.ifs]
        inner = self._quantified(kind, rest, element) if rest else self.visit(element)
        self.bound.pop()
        if kind == "_all":
            tests = [_call("_not", _later(test)) for test in tests]
        each = _call("_and" if kind == "_any" else "_or", *map(_later, [*tests, inner]))
        generator = ast.GeneratorExp(each, [ast.comprehension(part.target, members, [], 0)])
        return _call(kind, _later(generator))


def _value(thunk: Callable[[], Any]) -> Any:
    try:
        return thunk()
    except Undecided:
        return UNKNOWN


def _and(*thunks: Callable[[], Any]) -> Any:
    return _decided((_value(thunk) for thunk in thunks), False)


def _or(*thunks: Callable[[], Any]) -> Any:
    return _decided((_value(thunk) for thunk in thunks), True)


def _decided(values: Iterable[Any], by: bool) -> Any:
    """`by` if one value is that; unknown if one may be; otherwise the opposite."""
    undecided = False
    try:
        for value in values:
            if isinstance(value, Unknown):
                undecided = True
            elif bool(value) is by:
                return by
    except Undecided:
        undecided = True
    return UNKNOWN if undecided else not by


def _not(thunk: Callable[[], Any]) -> Any:
    value = _value(thunk)
    return UNKNOWN if isinstance(value, Unknown) else not value


def _if(test: Callable[[], Any], then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    value = _value(test)
    if not isinstance(value, Unknown):
        return then() if value else otherwise()
    left, right = _value(then), _value(otherwise)
    same = f.equal(left, right)
    return left if same is True else UNKNOWN


def _any(members: Callable[[], Any]) -> Any:
    found = _value(members)
    return UNKNOWN if isinstance(found, Unknown) else _decided(found, True)


def _all(members: Callable[[], Any]) -> Any:
    found = _value(members)
    return UNKNOWN if isinstance(found, Unknown) else _decided(found, False)


def _scope_function(scope: Scope, name: str) -> Callable[..., Any]:
    try:
        return scope.calls[name]
    except KeyError:
        raise NameError(f"there is no function {name} here") from None


_GLOBALS: dict[str, Any] = {
    "__builtins__": {},
    "_attribute": f.attribute, "_item": f.item, "_equal": f.equal, "_unequal": f.unequal, "_within": f.within,
    "_not_within": f.not_within, "_times": f.times, "_divide": f.divide, "_rest": f.rest, "_function": _scope_function,
    "_and": _and, "_or": _or, "_not": _not, "_if": _if, "_any": _any, "_all": _all,
    "_f_any": f.decided_any, "_f_all": f.decided_all,
    **{f"_f_{name}": function for name, function in f.FUNCTIONS.items()},
}  # fmt: skip
