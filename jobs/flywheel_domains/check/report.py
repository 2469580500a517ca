"""What `domain test` says: a line per check, then every finding with its place and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a domain: where it stands, and what its author can do."""

    check: str
    file: str
    line: int
    where: str
    message: str
    advice: str = ""

    def text(self) -> str:
        """`file:line: where: message`, as editors follow it, and the advice below."""
        head = f"{self.file}:{self.line}: {self.where}: {self.message} [{self.check}]"
        return f"{head}\n    {self.advice}" if self.advice else head


@dataclass(frozen=True)
class Row:
    """A check that ran: what it asks, how many findings it had and how long it took."""

    check: str
    about: str
    findings: int
    seconds: float
    waits: str = ""

    @property
    def result(self) -> str:
        """Ok, the number of findings, or the check that has to be clean first."""
        if self.waits:
            return self.waits
        return "ok" if not self.findings else f"{self.findings} finding{'s' if self.findings > 1 else ''}"


@dataclass
class Report:
    """All of it; printed by the command and read by tests and by Preflight."""

    name: str
    rows: list[Row] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    prompt_tokens: int = 0
    """The longest first prompt, in tokens by rule of thumb; 0 where none could be made."""
    sample: str = ""

    @property
    def passed(self) -> bool:
        """True when nothing was found."""
        return not self.findings

    def text(self) -> str:
        """The whole report as it is printed."""
        return "\n".join([*self._table(), *self._found(), *self._sample(), *self._facts()])

    def _table(self) -> Iterator[str]:
        yield f"domain {self.name}"
        width = max((len(row.check) for row in self.rows), default=5)
        result = max((len(row.result) for row in self.rows), default=2)
        for row in self.rows:
            yield f"{row.check.ljust(width)}  {row.result.ljust(result)}  {row.seconds:6.2f} s  {row.about}"

    def _found(self) -> Iterator[str]:
        if self.findings:
            yield ""
        for finding in sorted(self.findings, key=lambda f: (f.file, f.line, f.check, f.where)):
            yield finding.text()

    def _sample(self) -> Iterator[str]:
        if self.sample:
            yield "\nA conversation as it should go:\n"
            yield self.sample

    def _facts(self) -> Iterator[str]:
        if self.facts:
            yield ""
        for name, value in self.facts.items():
            yield f"{name}: {value}"
        spent = sum(row.seconds for row in self.rows)
        yield f"{'passed' if self.passed else 'FAILED'}: {len(self.findings)} findings, {spent:.1f} s"
