"""The table of checks, and the loop that runs them."""

from __future__ import annotations

import resource
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from flywheel_domains.check import coverage, limits, proofs, sayings, sentences, verdicts, worlds
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
CASES = (*WORLDS, "reach", "raises")
"""What must be clean before a check's findings mean something: a rule that raises is in no case, nor what it denies."""
SHARES = (*CASES, "decisive", "layers")

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
    Check("raises", "no rule and no tool raises where it is played", verdicts.raises, WORLDS),
    Check("raises", "functions of tools.py keep to what a tool may do", verdicts.code, WORLDS),
    Check("decisive", "every rule is once the last word, and once read and not", verdicts.decisive, CASES),
    Check("decisive", "every wish makes tasks", verdicts.drawn, CASES),
    Check("limits", "rules fire where their examples say so", limits.examples_hold, CASES),
    Check("loopholes", "no two allowed calls come to what is denied", limits.ways_round, CASES),
    Check("words", "words and look-ups give every value of a wish", sayings.determined, CASES),
    Check("ties", "an optimum is one", sayings.ties, CASES),
    Check("layers", "no tool refuses what every rule allows", verdicts.refused_though_allowed, CASES),
    Check("layers", "`enforced: tool` is what tools do", verdicts.allowed_though_refused, CASES),
    Check("unchanged", f"at most {verdicts.MOST_UNCHANGED} % of tasks change nothing", verdicts.unchanged, SHARES),
    Check("outcomes", "every declared outcome happens", verdicts.outcomes, SHARES),
    Check("shown", "every column that decides something is shown by a read", proofs.unseen, CASES),
    Check("shown", "every verdict can be proved from what a caller says", proofs.unproven, CASES),
    Check("agents", "the right agent is paid, and no wrong one", proofs.agents, (*CASES, "shown")),
    Check("again", "two processes make the same worlds and the same cases", worlds.again, CASES),
)


def check(folder: Path, seed: int = 0, without: Collection[str] = ()) -> Report:
    """Runs every check but those named."""
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
    if not {finding.check for finding in report.findings} & set(CASES):
        sizes = sayings.prompt_sizes(subject)
        report.prompt_tokens = sizes[-1] if sizes else 0
        report.facts, report.sample = sayings.facts(subject, sizes), sayings.conversation(subject)
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
