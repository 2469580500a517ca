"""What the language of expressions allows: a list of kinds of nodes, and a sentence for what is not on it."""

from __future__ import annotations

import ast
from collections.abc import Sequence

LONGEST_TEXT = 4_000
MOST_NODES = 600
DEEPEST = 40
LARGEST = 10**15


class ExprSyntax(ValueError):
    """The text is not an expression of the language; the message says what to write instead."""


def plain_name(name: str) -> bool:
    return name.isidentifier() and not name.startswith("_")


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


class Check:
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
            if part.is_async:
                raise ExprSyntax("async is not part of the language")
            self.see(part.iter, bound, depth + 1)
            bound |= targets(part.target)
            for condition in part.ifs:
                self.see(condition, bound, depth + 1)
        return bound


def targets(target: ast.expr) -> frozenset[str]:
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    if not all(isinstance(name, ast.Name) and plain_name(name.id) for name in names):
        raise ExprSyntax("a comprehension binds plain names")
    return frozenset(name.id for name in names if isinstance(name, ast.Name))
