"""What tools.py may hold: functions over the database. What reaches further is a fault with its line, before it runs.

This finds mistakes, not attacks: the process in which the code runs is what holds (`cage`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from flywheel_domains.errors import Fault

MODULES = (
    "__future__", "bisect", "calendar", "collections", "collections.abc", "dataclasses", "datetime", "enum",
    "fractions", "functools", "heapq", "itertools", "math", "operator", "re", "string", "typing", "unicodedata",
)  # fmt: skip
"""What tools.py may import: what computes, and holds no clock, file, process or random number."""
NAMES = {
    "open", "eval", "exec", "compile", "input", "print", "globals", "locals", "vars", "breakpoint", "getattr",
    "setattr", "delattr", "memoryview", "id", "hash", "object", "type", "super",
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today"}
MOST_BYTES = 200_000


def check_code(text: str, file: str = "tools.py") -> list[Fault]:
    """Everything in the text that no function of a domain needs."""
    if len(text) > MOST_BYTES:
        return [Fault(file, 1, "the file", f"code has at most {MOST_BYTES} characters")]
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        return [Fault(file, line, "the file", f"not Python: {getattr(error, 'msg', error)}")]
    return [Fault(file, line, where, message, advice) for line, where, message, advice in _found(tree)]


def functions(text: str) -> dict[str, tuple[str, ...]]:
    """The functions of a text that parses, and the names of their arguments after `db` and `now`."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            found[node.name] = tuple(names[2:]) if names[:2] == ["db", "now"] else ("?",)
    return found


def _found(tree: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    for statement in tree.body:
        yield from _top(statement)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name not in MODULES:
                        yield line, f"import {alias.name}", "is not for domains", _instead(alias.name)
            case ast.ImportFrom(module=module, level=level):
                if level or module not in MODULES:
                    yield line, f"from {module} import", "is not for domains", _instead(module or "")
            case ast.Name(id=name) if name in NAMES or name.startswith("__"):
                yield line, name, "is not for domains", "functions compute from `db` and their arguments"
            case ast.Attribute(attr=name) if name.startswith("_"):
                yield line, name, "no attribute begins with an underscore", ""
            case ast.Call(func=ast.Attribute(attr=name)) if name in CLOCKS:
                yield line, name, "there is one clock", "use the argument `now`"
            case ast.Global() | ast.Nonlocal():
                yield line, "global", "nothing is kept between calls", ""
            case ast.Constant(value=float() | complex()):
                yield line, "a float", "there are no floats", "money is in minor units"
            case ast.BinOp(op=ast.Div()):
                yield line, "/", "there are no floats", "write a // b"
            case ast.AsyncFunctionDef() | ast.Await() | ast.Yield() | ast.YieldFrom():
                yield line, type(node).__name__, "functions are plain", ""


def _top(statement: ast.stmt) -> Iterator[tuple[int, str, str, str]]:
    """On the top level stand imports, functions and constants: nothing that could be changed by a call."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.Expr(value=ast.Constant()):
            return
        case ast.Assign(value=value) | ast.AnnAssign(value=value) if value is not None and _fixed(value):
            return
    yield statement.lineno, "the top level", "holds imports, functions and constants only", ""


def _fixed(value: ast.expr) -> bool:
    if isinstance(value, ast.Tuple):
        return all(map(_fixed, value.elts))
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "frozenset":
        return all(isinstance(arg, ast.Tuple | ast.List | ast.Set | ast.Constant) for arg in value.args)
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.UnaryOp) and isinstance(value.operand, ast.Constant)
    )


def _instead(module: str) -> str:
    if module in ("time", "random", "secrets", "uuid"):
        return "tools know no wall clock and no chance: use `now`, and ids are made for you"
    return f"allowed: {', '.join(MODULES[1:])}"
