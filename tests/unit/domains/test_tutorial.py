"""The page about domains is right as it stands: its library is built from its text alone, its tables are counted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flywheel_domains
from flywheel_domains.check import check
from flywheel_domains.load import load
from unit.domains import tutorial
from unit.domains.tutorial import PAGE

FOLDER = Path(flywheel_domains.__file__).with_name("builtin")
ROW = re.compile(r"^\| ([a-z_]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tutorial.library(tmp_path_factory.mktemp("tutorial"))


def test_the_library_passes_the_tester_as_written(library: Path) -> None:
    report = check(library)
    assert report.passed, report.text()


def test_the_library_is_no_built_in_domain_and_has_no_code(library: Path) -> None:
    domain = load(library)
    assert domain.domain not in {path.name for path in FOLDER.iterdir()}
    assert not [tool.name for tool in domain.tools.values() if tool.code]


def test_the_table_of_what_needs_code_is_the_airline_that_is_there() -> None:
    domain = load(FOLDER / "airline")
    table = PAGE.partition("## How much needs code")[2].partition("A second shape")[0]
    rows = [
        (re.findall(r"[a-z_]+", ours) if "none" not in ours else [], code.strip())
        for theirs, ours, code in ROW.findall(table)
        if theirs != "theirs"
    ]
    assert len(rows) == 14
    assert sorted(name for names, _ in rows for name in names) == sorted(domain.tools)
    said = {name: code for names, code in rows for name in names}
    assert {name for name, code in said.items() if code != "no"} == {t.name for t in domain.tools.values() if t.code}
