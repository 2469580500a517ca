"""Records are read by their fields and properties, never by a key that another room has put into one of their maps."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MAPS = {"case", "typed", "details"}  # of Task, Problem, and of whatever is scored
READERS = [
    path
    for package in ("operator/flywheel_operator", "jobs/flywheel_jobs", "jobs/flywheel_standin")
    for path in sorted((ROOT / package).rglob("*.py"))
]


def read_by_key(source: str) -> list[str]:
    """Reads of one of these maps by a key that is written out, with their lines."""
    return [f"{n.lineno}: {ast.unparse(n)}" for n in ast.walk(ast.parse(source)) if _by_key(n)]


def _by_key(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):
        return _is_map(node.value) and _is_word(node.slice)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        return _is_map(node.func.value) and bool(node.args) and _is_word(node.args[0])
    return False


def _is_map(node: ast.expr) -> bool:
    if isinstance(node, ast.BoolOp):  # (record.typed or {})
        return any(_is_map(value) for value in node.values)
    return isinstance(node, ast.Attribute) and node.attr in MAPS


def _is_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_no_record_is_read_by_a_key() -> None:
    found = {str(path.relative_to(ROOT)): wrong for path in READERS if (wrong := read_by_key(path.read_text()))}
    assert len(READERS) > 100 and not found


@pytest.mark.parametrize(
    "breach", ['task.case.get("seed")', '(record.typed or {})["family"]', 't.details.get("formed", 1.0)']
)
def test_a_read_by_a_key_is_found(breach: str) -> None:
    assert read_by_key(breach)
