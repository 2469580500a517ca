"""What has happened in one conversation, as far as rules ask: who is identified, what was done, changed and said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flywheel_domains.unknown import UNKNOWN, Fields, Unknown
from flywheel_domains.values import plain


@dataclass(frozen=True)
class Done:
    """A write that was carried out: `rows` are (table, id) of what it changed, and of what that belongs to."""

    tool: str
    args: Mapping[str, Any]
    rows: frozenset[tuple[str, str]]
    result: Any = None


@dataclass(frozen=True)
class Session:
    """One conversation. `caller` is who really calls (an id), `identified` who was shown to, `said` what was agreed."""

    caller: str | None = None
    identified: str | None = None
    done: tuple[Done, ...] = ()
    said: frozenset[str] = frozenset()
    ended: bool = False

    def with_done(self, done: Done, ends: bool = False) -> Session:
        """After a write."""
        return replace(self, done=(*self.done, done), ended=self.ended or ends)

    def with_identified(self, row: str) -> Session:
        """After the caller was proved to be somebody."""
        return replace(self, identified=row)

    def with_said(self, *words: str) -> Session:
        """After the caller said something that rules ask for."""
        return replace(self, said=self.said | set(words))

    def earlier(self, tool: str, args: Mapping[str, Any]) -> Done | None:
        """The last write by this tool with the same arguments."""
        same = [done for done in self.done if done.tool == tool and plain(dict(done.args)) == plain(dict(args))]
        return same[-1] if same else None


@dataclass(frozen=True)
class SessionFields(Fields):
    """The session as expressions see it."""

    session: Session
    _methods: dict[str, Callable[..., Any]] = field(default_factory=dict, init=False, compare=False, repr=False)

    def get(self, name: str) -> Any:
        """`identified` as a value; `did`, `changed`, `count`, `said` as functions."""
        if name == "identified":
            return self.session.identified is not None and self.session.identified == self.session.caller
        method = _METHODS.get(name)
        if method is None:
            raise AttributeError(f"a session has no {name}")
        return lambda *given: method(self.session, *given)


def _did(session: Session, tool: str, row: Any = None) -> Any:
    """Whether a tool was carried out, with this row among its arguments if one is given."""
    done = [each for each in session.done if each.tool == tool]
    if isinstance(row, Unknown):
        return UNKNOWN if done else False
    if row is None:
        return bool(done)
    return any(_mentions(each.args, getattr(row, "id", row)) for each in done)


def _mentions(value: Any, row: str) -> bool:
    if isinstance(value, Mapping):
        return any(_mentions(member, row) for member in value.values())
    if isinstance(value, list | tuple):
        return any(_mentions(member, row) for member in value)
    return bool(plain(value) == row)


def _changed(session: Session, row: Any) -> Any:
    """Whether a row, or one that belongs to it, was changed."""
    if isinstance(row, Unknown):
        return UNKNOWN if session.done else False
    return any((row.table, row.id) in each.rows for each in session.done)


def _count(session: Session, tool: str) -> int:
    """How often a tool was carried out."""
    return sum(each.tool == tool for each in session.done)


def _said(session: Session, word: str) -> bool:
    """Whether the caller said it."""
    return word in session.said


_METHODS: dict[str, Callable[..., Any]] = {"did": _did, "changed": _changed, "count": _count, "said": _said}
