"""A tool method that finds rows, refuses, and sets or adds, in the format's words; what does more stays TODO."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PLAIN = (
    ast.Expression, ast.Name, ast.Load, ast.Attribute, ast.Constant, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.BinOp,
    ast.IfExp, ast.List, ast.And, ast.Or, ast.Not, ast.USub, ast.Add, ast.Sub, ast.Mult, ast.Eq, ast.NotEq, ast.Lt,
    ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn,
)  # fmt: skip


class Beyond(Exception):
    """The method does something that this reader has no words for."""


@dataclass
class Body:
    """What was understood of a method so far."""

    tables: Collection[str]
    args: Collection[str]
    let: dict[str, str] = field(default_factory=dict)
    rows: dict[str, str] = field(default_factory=dict)
    made: dict[str, dict[str, str]] = field(default_factory=dict)
    refuse: list[dict[str, str]] = field(default_factory=list)
    do: list[dict[str, Any]] = field(default_factory=list)
    read: dict[str, Any] = field(default_factory=dict)


def translate(node: ast.FunctionDef, tables: Mapping[str, str]) -> dict[str, Any] | None:
    """`read`, or `let`, `refuse` and `do`, of one method; None where it is beyond this. `tables`: table to view."""
    body = Body(tables, [arg.arg for arg in node.args.args])
    try:
        _steps(body, node.body)
    except Beyond:
        return None
    if body.do:
        return {"write": True, "let": body.let, "refuse": body.refuse, "do": body.do, "repeat": "again"}
    if body.read and not body.refuse:
        return {"read": {**body.read, "show": tables[body.read.get("all") or body.read["get"]]}}
    return None


def _steps(body: Body, lines: Sequence[ast.stmt]) -> None:
    for line in lines:
        if isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            continue
        step = _STEPS.get(type(line))
        if step is None:
            raise Beyond
        step(body, line)


def _if(body: Body, line: ast.If) -> None:
    if line.orelse:
        raise Beyond
    if len(line.body) != 1 or not isinstance(line.body[0], ast.Raise):
        raise Beyond
    if _is_missing(body, line.test):
        return  # a reference to no row is refused at the tool's door
    if body.do:
        raise Beyond  # a refusal after a change: all of a tool's refusals come first here
    body.refuse.append({"if": _text(body, line.test), "error": _error(line.body[0])})


def _is_missing(body: Body, test: ast.expr) -> bool:
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return isinstance(test.operand, ast.Name) and test.operand.id in body.rows
    compared = isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is) and isinstance(test.left, ast.Name)
    return compared and test.left.id in body.rows  # type: ignore[attr-defined]


def _error(line: ast.Raise) -> str:
    """A name for an error, from the fixed words of its message."""
    parts = [part.value for part in ast.walk(line) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    words = re.findall(r"[a-z]+", " ".join(parts).lower())
    return "_".join(words[:4]) or "refused"


def _assign(body: Body, line: ast.Assign) -> None:
    target = line.targets[0]
    if isinstance(target, ast.Attribute):
        _set(body, target, _text(body, line.value))
        return
    if not isinstance(target, ast.Name):
        raise Beyond
    found = _search(body, line.value)
    if found:
        body.rows[target.id], key = found
        body.let[target.id] = f"row('{found[0]}', {key})"
    elif isinstance(line.value, ast.Call) and line.value.keywords and not line.value.args:
        body.made[target.id] = {str(k.arg): _text(body, k.value) for k in line.value.keywords}
    elif body.do:
        raise Beyond
    else:
        body.let[target.id] = _text(body, line.value)


def _set(body: Body, target: ast.Attribute, value: str) -> None:
    if not isinstance(target.value, ast.Name) or target.value.id not in body.rows:
        raise Beyond
    body.do.append({"set": target.value.id, "to": {target.attr: value}})


def _augment(body: Body, line: ast.AugAssign) -> None:
    sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}.get(type(line.op))
    if sign is None or not isinstance(line.target, ast.Attribute):
        raise Beyond
    _set(body, line.target, f"it.{line.target.attr} {sign} ({_text(body, line.value)})")


def _search(body: Body, value: ast.expr) -> tuple[str, str] | None:
    """`next((p for p in self.db.printers if p.id == printer_id), None)`: (table, key)."""
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) == "next" and value.args):
        return None
    loop = value.args[0]
    if not isinstance(loop, ast.GeneratorExp) or len(loop.generators) != 1 or len(loop.generators[0].ifs) != 1:
        raise Beyond
    return _keyed(body, loop.generators[0].target, loop.generators[0].iter, loop.generators[0].ifs[0])


def _keyed(body: Body, item: ast.expr, where: ast.expr, test: ast.expr) -> tuple[str, str]:
    table = _table(body, where)
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        raise Beyond
    if ast.unparse(test.left) != f"{ast.unparse(item)}.id":
        raise Beyond
    return table, _text(body, test.comparators[0])


def _table(body: Body, where: ast.expr) -> str:
    text = ast.unparse(where).removesuffix(".values()")
    if not text.startswith("self.db.") or text[8:] not in body.tables:
        raise Beyond
    return text[8:]


def _for(body: Body, line: ast.For) -> None:
    """`for p in self.db.printers: if p.id == printer_id: …; return` is a search and what follows from it."""
    inner = line.body[0]
    if len(line.body) != 1 or not isinstance(inner, ast.If) or inner.orelse or not isinstance(line.target, ast.Name):
        raise Beyond
    table, key = _keyed(body, line.target, line.iter, inner.test)
    if not isinstance(inner.body[-1], ast.Return):
        raise Beyond
    body.rows[line.target.id], body.let[line.target.id] = table, f"row('{table}', {key})"
    _steps(body, inner.body)


def _call(body: Body, line: ast.Expr) -> None:
    call = line.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "append"):
        raise Beyond
    table, given = _table(body, call.func.value), call.args[0]
    if isinstance(given, ast.Name) and given.id in body.made:
        row = body.made[given.id]
    elif isinstance(given, ast.Call) and given.keywords:
        row = {str(keyword.arg): _text(body, keyword.value) for keyword in given.keywords}
    else:
        raise Beyond
    body.do.append({"add": table, "row": row})


def _return(body: Body, line: ast.Return) -> None:
    if body.do or line.value is None:
        return
    text, value = ast.unparse(line.value), line.value
    if (
        isinstance(value, ast.ListComp)
        and len(value.generators) == 1
        and ast.unparse(value.elt).endswith(".model_dump()")
    ):
        loop = value.generators[0]
        tests = [_text(body, test, {ast.unparse(loop.target): "it"}) for test in loop.ifs]
        body.read = {
            "all": _table(body, loop.iter),
            "where": " and ".join(tests) or "True",
            "sort": "it.id",
            "limit": 20,
        }
        return
    name = text.removesuffix(".model_dump()")
    if name == text or name not in body.rows:
        raise Beyond
    key = body.let[name].partition(", ")[2].removesuffix(")")
    body.read = {"get": body.rows[name], "key": key}


def _raise(body: Body, line: ast.Raise) -> None:
    if not (body.do or body.read):  # after a search: no such row
        raise Beyond


def _text(body: Body, node: ast.expr, renamed: Mapping[str, str] | None = None) -> str:
    """An expression in the format's words: names renamed, tuples as lists; raises Beyond for what is not plain."""
    node = _Renamed(renamed or {}).visit(ast.parse(ast.unparse(node), mode="eval"))
    for part in ast.walk(node):
        if not isinstance(part, PLAIN) or (isinstance(part, ast.Constant) and isinstance(part.value, float)):
            raise Beyond
        if isinstance(part, ast.Name) and part.id == "self":
            raise Beyond
    return ast.unparse(node)


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._names.get(node.id, node.id), ast.Load())

    def visit_Tuple(self, node: ast.Tuple) -> ast.AST:
        return ast.List([self.visit(part) for part in node.elts], ast.Load())


_STEPS: dict[type[ast.stmt], Any] = {
    ast.If: _if,
    ast.Assign: _assign,
    ast.AugAssign: _augment,
    ast.For: _for,
    ast.Expr: _call,
    ast.Return: _return,
    ast.Raise: _raise,
}
