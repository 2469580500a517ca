"""What a conversation is about, and what a right agent does in it: the values that everything else computes with.

A `Case` is a base world (by its seed), edits of single cells, a caller, and wants in a stated order. A `Behaviour` is
computed from it (`behaviour.py`) and never written by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flywheel_domains.values import plain


class Verdict(StrEnum):
    """What a rule says about a call, strongest first; `strength` orders them."""

    IDENTIFY = "identify"
    HAND_OVER = "hand_over"
    DENY = "deny"
    INSTEAD = "instead"
    ASK = "ask"
    ALLOW = "allow"

    @property
    def strength(self) -> int:
        """Higher wins."""
        return _STRENGTH[self]


_STRENGTH = {verdict: len(Verdict) - number for number, verdict in enumerate(Verdict)}


class Ending(StrEnum):
    """How a want ends for a right agent."""

    DONE = "done"
    REPLACED = "replaced"  # done with other values, because a rule says so
    DENIED = "denied"
    HANDED_OVER = "handed_over"
    DECLINED = "declined"  # the caller's own limit: they do not want it at this price
    IMPOSSIBLE = "impossible"  # every rule allows it, and the tool or the data cannot
    ANSWERED = "answered"  # a question


WROTE = frozenset({Ending.DONE, Ending.REPLACED})
REFUSED = frozenset({Ending.DENIED, Ending.HANDED_OVER})


@dataclass(frozen=True, slots=True)
class Edit:
    """One cell of the base world that this case changes."""

    table: str
    row: str
    column: str
    value: Any


@dataclass(frozen=True)
class Want:
    """One wish of the caller with its true values.

    `said` holds every slot that the caller knows, `hidden` those that they tell only when asked, `again` what they
    answer when another value is asked for (nothing: they have no other), `otherwise` what they want if it is refused.
    A row whose id they do not know is `described`: by columns that only one of their rows has so. `limits` are their
    own ("at most 20 euros"), `words` is which wording they use.
    """

    wish: str
    said: Mapping[str, Any]
    described: Mapping[str, tuple[tuple[str, Any], ...]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    again: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    otherwise: Want | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)
    words: int = 0

    def chain(self) -> tuple[Want, ...]:
        """This want and its fallbacks, in the order in which they are tried."""
        return (self, *(self.otherwise.chain() if self.otherwise else ()))


@dataclass(frozen=True)
class Case:
    """A caller who wants something, in a state of the world. `knows` are the facts by which they can be found."""

    domain: str
    seed: int
    caller: str
    kind: str
    persona: str
    wants: tuple[Want, ...]
    knows: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    edits: tuple[Edit, ...] = ()
    now: str | None = None
    """The time at which it happens, if it is not the domain's."""
    target: str | None = None


@dataclass(frozen=True)
class Call:
    """A tool or an act with its arguments; an argument that is not known yet is UNKNOWN."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)

    def with_args(self, **args: Any) -> Call:
        """The same call with some other arguments."""
        return Call(self.name, {**self.args, **args})


@dataclass(frozen=True)
class Fact:
    """A value that must be told: an amount, a number, a date, an id. `source` is the rule or the wish that asks it."""

    name: str
    value: Any
    source: str


class StepKind(StrEnum):
    """What one step of a right agent is."""

    IDENTIFY = "identify"
    LOOK = "look"
    ASK = "ask"
    CONFIRM = "confirm"
    CALL = "call"
    HAND_OVER = "hand_over"


@dataclass(frozen=True)
class Step:
    """One step: a call, or a question for `slots`. `want` is the wish that it serves."""

    kind: StepKind
    want: int
    call: Call | None = None
    slots: tuple[str, ...] = ()


# ---- as JSON


def dump(case: Case) -> dict[str, Any]:
    """The case as JSON has it; `parse` makes it again."""
    return {
        "domain": case.domain,
        "seed": case.seed,
        "caller": case.caller,
        "kind": case.kind,
        "persona": case.persona,
        "wants": [_want(want) for want in case.wants],
        "knows": plain(dict(case.knows)),
        "claims": plain(dict(case.claims)),
        "edits": [[edit.table, edit.row, edit.column, plain(edit.value)] for edit in case.edits],
        "now": case.now,
        "target": case.target,
    }


def _want(want: Want) -> dict[str, Any]:
    return {
        "wish": want.wish,
        "said": plain(dict(want.said)),
        "described": {name: [[path, plain(value)] for path, value in marks] for name, marks in want.described.items()},
        "hidden": sorted(want.hidden),
        "again": {name: plain(list(values)) for name, values in want.again.items()},
        "otherwise": _want(want.otherwise) if want.otherwise else None,
        "limits": plain(dict(want.limits)),
        "words": want.words,
    }


def parse(raw: Mapping[str, Any]) -> Case:
    """The case from what `dump` made of it. Raises KeyError, TypeError or ValueError for anything else."""
    return Case(
        domain=raw["domain"],
        seed=int(raw["seed"]),
        caller=raw["caller"],
        kind=raw["kind"],
        persona=raw["persona"],
        wants=tuple(_parsed(want) for want in raw["wants"]),
        knows=dict(raw["knows"]),
        claims=dict(raw["claims"]),
        edits=tuple(Edit(table, row, column, value) for table, row, column, value in raw["edits"]),
        now=raw["now"],
        target=raw["target"],
    )


def _parsed(raw: Mapping[str, Any]) -> Want:
    return Want(
        wish=raw["wish"],
        said=dict(raw["said"]),
        described={name: tuple((path, value) for path, value in marks) for name, marks in raw["described"].items()},
        hidden=frozenset(raw["hidden"]),
        again={name: tuple(values) for name, values in raw["again"].items()},
        otherwise=_parsed(raw["otherwise"]) if raw["otherwise"] else None,
        limits=dict(raw["limits"]),
        words=int(raw["words"]),
    )
