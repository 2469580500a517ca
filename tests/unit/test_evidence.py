"""Pages of evidence, and the method's table of features, name tests and code: each of them exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")
PAGE, ENDPOINTS_AND_DATA, ASIDE, BAD_INPUT = (
    ROOT / "docs" / "evidence" / f"{name}.md" for name in ("reports-11", "reports-12", "aside-11", "bad-input")
)
METHOD = ROOT / "docs" / "method.md"
FEATURES = [f"{letter}{n}" for letter, most in (("A", 6), ("B", 12), ("C", 8), ("D", 8)) for n in range(1, most + 1)]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions)


def rows() -> list[str]:
    lines = [line for page in (PAGE, ENDPOINTS_AND_DATA, ASIDE, BAD_INPUT) for line in page.read_text().splitlines()]
    return [line for line in lines if line.startswith("| ") and NAMED.search(line)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip())
def test_every_test_that_a_report_names_exists(row: str) -> None:
    for path, name in NAMED.findall(row):
        assert name in names_in(path), f"{path} has no {name}"


def test_no_row_lacks_a_test_or_what_is_seen() -> None:
    table = [line.split("|") for line in PAGE.read_text().partition("## Six")[0].splitlines() if line.startswith("| ")]
    for cells in table:
        told = cells[1].strip() == "report" or (NAMED.search(cells[3]) and cells[4].strip())
        assert told, cells


def test_every_report_on_endpoints_and_data_has_its_row() -> None:
    found = re.findall(r"^\| (\d+) \| (.*)$", ENDPOINTS_AND_DATA.read_text(), re.MULTILINE)
    assert [int(number) for number, _ in found] == [*range(1, 39), *range(1, 35)]
    assert all(NAMED.search(rest) for _, rest in found)


def test_every_feature_of_the_method_has_code_and_test_or_a_reason() -> None:
    table = METHOD.read_text().partition("## The method's agentic features")[2]
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines() if re.match(r"\| [A-D]\d+ \|", line)
    ]
    assert [row for row, *_ in cells] == FEATURES
    for row, _, here, code, tests in cells:
        files, named = re.findall(r"`([\w/]+\.py)`", code), NAMED.findall(tests)
        assert (files and named) or here.startswith("absent"), row
        assert all((ROOT / "jobs" / file).is_file() for file in files), row
        assert all(name in names_in(path) for path, name in named), (row, named)
