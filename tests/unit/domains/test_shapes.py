"""A public domain's shape with data of our own passes the tester, and needs as much code as the page says."""

from __future__ import annotations

import re
from pathlib import Path

from flywheel_domains.check import check
from flywheel_domains.load import load

QUAY = Path(__file__).parent / "quay"
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "domains.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([a-z_]+) \| ([a-z_, ]+) \| (no) \|$", re.MULTILINE)


def test_the_telephone_company_passes_the_tester() -> None:
    report = check(QUAY, without=["again"])
    assert report.passed, report.text()


def test_the_page_counts_it_as_it_is() -> None:
    domain = load(QUAY)
    _, _, told = PAGE.partition("| theirs (telecom) |")
    ours = [name for _, names, _ in ROW.findall(told) for name in names.split(", ")]
    assert sorted(ours) == sorted(domain.tools) and not any(tool.code for tool in domain.tools.values())
    lines = len((QUAY / "domain.yaml").read_text(encoding="utf-8").splitlines())
    assert not (QUAY / "tools.py").exists()
    counted = (
        f"{lines} lines of declarations ({len(domain.tools)} tools, {len(domain.rules)} rules, {len(domain.wishes)}"
    )
    assert counted in told
