"""Words in the code: docstrings begin with a whole sentence, and every law that a comment cites is in the documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("operator", "jobs", "tests", "images")
LAWS = re.compile(r"\blaws? (\d+)(?: (?:and|to) (\d+))?")


def sources() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def torn(source: str) -> list[str]:
    """First lines of docstrings that end before their sentence does."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    first = [text.splitlines()[0] for text in texts if text]
    return [line for line in first if line[-1] not in ".:?!"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_a_whole_sentence_on_one_line(folder: str) -> None:
    found = {path: torn(path.read_text()) for path in sorted((ROOT / folder).rglob("*.py"))}
    assert not {str(path.relative_to(ROOT)): lines for path, lines in found.items() if lines}


def test_a_torn_docstring_is_found() -> None:
    assert torn('def load() -> None:\n    """Reads the file and names the bad\n    record."""\n')
    assert not torn('"""Reads the file.\n\nNames the bad record."""\n')


def test_every_law_that_is_cited_is_in_the_documents() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    laws = {int(number) for number in re.findall(r"^(\d+)\. \*\*", page.partition("## The packages")[0], re.MULTILINE)}
    assert laws == set(range(1, 16))
    cited = {int(n) for path in sources() for pair in LAWS.findall(path.read_text()) for n in pair if n}
    assert cited <= laws
