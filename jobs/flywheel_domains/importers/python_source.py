"""Pydantic models and tool methods of a Python source, read as a syntax tree: nothing of it is ever run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flywheel_domains.importers.draft import ImportFault, read

DECORATORS = ("tool", "is_tool")


@dataclass(frozen=True)
class Method:
    """A tool: its name, whether it writes (None where nobody says), its arguments' annotations and its text."""

    name: str
    writes: bool | None
    about: str
    args: Mapping[str, ast.expr | None]
    optional: frozenset[str]
    node: ast.FunctionDef


@dataclass
class Source:
    """What a few files say together: models by name, aliases of types, and the tools in order."""

    models: dict[str, dict[str, ast.expr]] = field(default_factory=dict)
    bases: dict[str, list[str]] = field(default_factory=dict)
    aliases: dict[str, ast.expr] = field(default_factory=dict)
    tools: list[Method] = field(default_factory=list)

    def fields(self, model: str) -> dict[str, ast.expr]:
        """The fields of a model, inherited ones first."""
        found: dict[str, ast.expr] = {}
        for base in self.bases.get(model, []):
            found |= self.fields(base)
        return found | self.models.get(model, {})

    def database(self, names: tuple[str, ...] = ("DB",)) -> str | None:
        """The model that holds all tables: the one whose base is the framework's database."""
        held = [model for model, bases in self.bases.items() if any(base.endswith(names) for base in bases)]
        return held[-1] if held else None


def parse(paths: list[Path]) -> Source:
    """Reads all files as one source; raises ImportFault with the line of a syntax error."""
    source = Source()
    for path in paths:
        try:
            tree = ast.parse(read(path), filename=str(path))
        except (SyntaxError, ValueError, RecursionError) as problem:
            raise ImportFault(f"{path}:{getattr(problem, 'lineno', 1)}: not Python: {problem}") from problem
        for node in tree.body:
            _collect(source, node)
    return source


def _collect(source: Source, node: ast.stmt) -> None:
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        source.aliases[node.targets[0].id] = node.value
    if not isinstance(node, ast.ClassDef):
        return
    source.bases[node.name] = [ast.unparse(base).split("[")[0].rpartition(".")[2] for base in node.bases]
    fields = {
        line.target.id: line.annotation
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    source.models[node.name] = fields
    source.tools += [_method(line) for line in node.body if isinstance(line, ast.FunctionDef) and _is_tool(line)]


def _is_tool(node: ast.FunctionDef) -> bool:
    return any(name in DECORATORS for name, _ in _decorators(node))


def _decorators(node: ast.FunctionDef) -> Iterator[tuple[str, str]]:
    for mark in node.decorator_list:
        call = mark.func if isinstance(mark, ast.Call) else mark
        words = ast.unparse(mark.args[0]) if isinstance(mark, ast.Call) and mark.args else ""
        yield ast.unparse(call).rpartition(".")[2], words.rpartition(".")[2].upper()


def _method(node: ast.FunctionDef) -> Method:
    given = [arg for arg in [*node.args.args, *node.args.kwonlyargs] if arg.arg != "self"]
    defaults = len(node.args.defaults)
    late = {arg.arg for arg in node.args.args[len(node.args.args) - defaults :]} if defaults else set()
    late |= {a.arg for a, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if value is not None}
    kinds = {words for name, words in _decorators(node) if name in DECORATORS}
    writes = True if "WRITE" in kinds else False if kinds & {"READ", "THINK", "GENERIC"} else None
    text = (ast.get_docstring(node) or "").strip()
    about = " ".join(text.partition("\n\n")[0].split())
    return Method(node.name, writes, about, {a.arg: a.annotation for a in given}, frozenset(late), node)


def changes(node: ast.FunctionDef) -> bool:
    """Whether a method changes the database: it assigns to an attribute or item, or calls a list's or map's changer."""
    for part in ast.walk(node):
        targets = (
            part.targets if isinstance(part, ast.Assign) else [part.target] if isinstance(part, ast.AugAssign) else []
        )
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets) or isinstance(part, ast.Delete):
            return True
        called = part.func if isinstance(part, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in _CHANGERS and isinstance(called.value, ast.Attribute):
            return True
    return False


_CHANGERS = {
    "append",
    "extend",
    "insert",
    "remove",
    "pop",
    "clear",
    "update",
    "setdefault",
    "popitem",
    "add",
    "discard",
}
