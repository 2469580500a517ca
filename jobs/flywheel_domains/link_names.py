"""What an expression may name: every name, function and attribute in it is one that is there."""

from __future__ import annotations

from collections.abc import Iterable

from flywheel_domains.document import Document, Path
from flywheel_domains.domain import Domain
from flywheel_domains.expr import Expr
from flywheel_domains.functions import FUNCTIONS

WORLD_CALLS = {"row", "rows", "listing", "any", "all"}
DRAWN_CALLS = {"pick", "rand"}
EVERYWHERE = {"now", "today", "caller", "session"}
YAML_WORDS = {"yes": "true", "no": "false", "null": "None"}
UNITS = {"days", "hours", "minutes", "seconds", "total_seconds"}
SPAN = "a span of time is compared with another one: now - it.at > hours(48)"


class Names:
    """Checks expressions of a domain and notes faults in its document."""

    def __init__(self, domain: Domain, document: Document) -> None:
        self.domain, self.document = domain, document
        self.fault = document.fault
        self.attributes: set[str] = set()

    def expr(self, path: Path, expr: Expr | None, names: Iterable[str] = (), calls: Iterable[str] = ()) -> None:
        """Every name, function and attribute of an expression is one that is there."""
        if expr is None:
            return
        object.__setattr__(expr, "where", f"{self.document.file}:{self.document.line(path)} {'.'.join(map(str, path))}")
        known = {*names, *EVERYWHERE, *self.domain.constants}
        for name in sorted(expr.names - known):
            self.fault(path, f"there is no {name} here", self.quoted(name) or near(name, known))
        functions = {*FUNCTIONS, *WORLD_CALLS, *self.domain.lookups, *calls}
        for name in sorted(expr.calls - functions):
            self.fault(path, f"there is no function {name}", near(name, functions))
        for name in sorted(expr.attributes - self.attributes):
            hint = SPAN if name in UNITS else near(name, self.attributes)
            self.fault(path, f"no table or argument has {name}", hint)

    def quoted(self, name: str) -> str:
        """What to write instead of a word that is no name, but a value, or what YAML or JSON call one."""
        if name in YAML_WORDS:
            return f"write {YAML_WORDS[name]}"
        if name in self._values():
            return f"a value stands in quotes of its own: \"'{name}'\""
        return ""

    def _values(self) -> set[str]:
        """Values of all enumerations, of columns' own ones too."""
        kinds = (kind for columns in self.domain.columns.values() for kind in columns.values())
        return {str(value) for kind in kinds for value in kind.values or ()}


def near(name: str, known: Iterable[str]) -> str:
    """A question that helps against a slip of the pen."""
    close = sorted(other for other in known if other[:3] == name[:3] and other != name)[:3]
    return f"did you mean {' or '.join(close)}?" if close else ""
