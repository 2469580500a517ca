"""From a checked tree to code, twice: plain Python, and with three truth values."""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Callable, Iterable, Mapping
from types import CodeType
from typing import Any, Protocol

from flywheel_domains import functions as f
from flywheel_domains.grammar import targets
from flywheel_domains.unknown import UNKNOWN, Undecided, Unknown


class Names(Protocol):
    """What code asks for names: a scope."""

    calls: Mapping[str, Callable[..., Any]]

    def __getitem__(self, name: str) -> Any: ...


def function_of(body: ast.expr) -> Callable[[Any], Any]:
    arguments = ast.arguments(posonlyargs=[], args=[ast.arg("_s")], kwonlyargs=[], kw_defaults=[], defaults=[])
    tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
    code: CodeType = compile(tree, "<domain>", "eval")
    made: Callable[[Any], Any] = builtins.eval(code, dict(_GLOBALS))
    return made


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


class Fast(ast.NodeTransformer):
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
            self.bound.append(targets(part.target))
            made.append(ast.comprehension(part.target, members, [self.visit(test) for test in part.ifs], 0))
        return made, len(parts)


class ThreeValued(Fast):
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
        self.bound.append(targets(part.target))
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


def _scope_function(scope: Names, name: str) -> Callable[..., Any]:
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
