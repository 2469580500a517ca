"""What can be wrong with a domain, and how it is said: what, where, and what to write instead.

Three kinds that must not be mixed up. A `Fault` is the author's: found at load or by the tester, with file and line. A
`ToolFault` is a tool of the domain that misbehaved while it ran: it names the tool, and what was running is void. A
`Refusal` is no error at all: it is what a tool rightly answers, and data for whoever called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that is wrong in a domain: `where` is the path in the file, `advice` what to write instead."""

    file: str
    line: int
    where: str
    message: str
    advice: str = ""

    def __str__(self) -> str:
        advice = f" ({self.advice})" if self.advice else ""
        return f"{self.file}:{self.line}: {self.where}: {self.message}{advice}"


class DomainError(Exception):
    """A domain that cannot be used, with all faults that were found, in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(map(str, self.faults)))


ToolFaultKind = Literal["raised", "timeout", "memory", "output", "inputs", "network", "outside", "unequal", "invariant"]


class ToolFault(Exception):
    """A tool of the domain did what no tool may do. What was running is void; it is never an answer.

    `kind`: it raised, ran too long, took too much memory, answered with too much, changed its inputs, reached for the
    network or for anything else outside, answered differently the second time, or left an invariant broken.
    """

    def __init__(self, tool: str, kind: ToolFaultKind, message: str) -> None:
        self.tool, self.kind, self.message = tool, kind, message
        super().__init__(f"{tool}: {kind}: {message}")

    def __reduce__(self) -> tuple[type[ToolFault], tuple[str, str, str]]:
        """Three arguments again, so that it crosses a process boundary."""
        return type(self), (self.tool, self.kind, self.message)


class ExprError(Exception):
    """An expression raised while it was evaluated; `where` is its place in the domain's file."""

    def __init__(self, where: str, text: str, message: str) -> None:
        self.where, self.text, self.message = where, text, message
        super().__init__(f"{where}: {message} in `{text}`")


@dataclass(frozen=True)
class Refusal:
    """What a tool answers when it does not do what was asked: a name, and values that the caller may hear."""

    error: str
    tell: Mapping[str, object] = field(default_factory=dict)

    def answer(self) -> dict[str, object]:
        """The refusal as the tool's output."""
        return {"error": self.error, **self.tell}
