"""The table of checks, and the loop that runs them."""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from flywheel_domains.check import coverage, sentences, worlds
from flywheel_domains.check.report import Finding, Report, Row
from flywheel_domains.check.subject import Subject
from flywheel_domains.errors import DomainError
from flywheel_domains.load import load

MOST = 20  # findings of one check that are kept: the same mistake shows in many cases


@dataclass(frozen=True)
class Check:
    """A row of the table: its name (several rows may share one), what it asks, and the function that finds."""

    name: str
    about: str
    run: Callable[[Subject], Iterator[Finding]]
    after: tuple[str, ...] = ()


WORLDS = ("generators",)
CASES = (*WORLDS, "reach")
"""What must be clean before a check's findings mean something: a rule that raises is in no case, nor what it denies."""
CHECKS = (
    Check("examples", "every rule has an example on each side of its limit", coverage.two_examples),
    Check("reach", "every act has an end", coverage.ends),
    Check("reach", "a wish or a rule reaches every write and every act", coverage.unreached),
    Check("sentences", "no sentence names a tool, an act or an argument", sentences.tool_names),
    Check("sentences", "no two rules have one sentence", sentences.alike),
    Check("sentences", "no sentence says an order of steps", sentences.order_words),
    Check("descriptions", "no description of a tool states a rule", sentences.descriptions),
    Check("generators", "worlds are made, and every row keeps its invariants", worlds.generators),
    Check("sentences", "no sentence holds a value of a row", sentences.own_values, WORLDS),
    Check("again", "two processes make the same worlds and the same cases", worlds.again, CASES),
)


def check(folder: Path, seed: int = 0, without: Collection[str] = ()) -> Report:
    """Runs every check but those named. Raises FileNotFoundError where there is no domain to be checked."""
    path = folder / "domain.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; `domain new NAME` writes one to begin with")
    report = Report(folder.resolve().name)
    started = _spent()
    try:
        domain = load(folder)
    except DomainError as error:
        report.findings = [Finding("schema", f.file, f.line, f.where, f.message, f.advice) for f in error.faults]
    spent = _spent() - started
    report.rows.append(Row("schema", "the declaration can be read", len(report.findings), spent))
    if report.findings:
        return report
    subject = Subject(folder, domain, seed)
    for row in CHECKS:
        if row.name not in without:
            _run(report, row, subject)
    return report


def _spent() -> float:
    """Seconds of processor time so far, of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _run(report: Report, row: Check, subject: Subject) -> None:
    """Runs a check, unless one that it rests on has found something."""
    first = {finding.check for finding in report.findings} & set(row.after)
    if first:
        report.rows.append(Row(row.name, row.about, 0, 0.0, f"after {min(first)}"))
        return
    started = _spent()
    found = list(islice(dict.fromkeys(row.run(subject)), MOST))
    report.findings += found
    report.rows.append(Row(row.name, row.about, len(found), _spent() - started))
