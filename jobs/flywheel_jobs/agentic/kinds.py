"""What kind of case it is, in the vocabulary of branches (docs/method.md): read from what is right in it."""

from __future__ import annotations

from collections.abc import Set

from flywheel_api.records.agentic import BranchKind
from flywheel_domains.branches import kinds_of
from flywheel_domains.case import REFUSED
from flywheel_jobs.agentic.right import Right, traps

MOST_TELLING = (
    BranchKind.ESCALATION, BranchKind.MIXED, BranchKind.CONFLICTING, BranchKind.MISSING_DATA, BranchKind.TRAP,
    BranchKind.OUT_OF_WINDOW, BranchKind.UNAUTHORISED, BranchKind.PROHIBITED, BranchKind.VALIDATION,
    BranchKind.PRECONDITION, BranchKind.VARIATION, BranchKind.NORMAL,
)  # fmt: skip
"""Of several kinds that a case is an example of, the one by which it is counted."""


def kind_of(right: Right) -> BranchKind:
    """The kind by which a case is counted that was made from no other."""
    return _most_telling(kinds_in(right))


def added_kind(parent: Right, child: Right) -> BranchKind:
    """The kind by which a branch is counted: what it adds to its parent.

    Not all that is in it: a case of many conditions is of many kinds, and by the most telling one deep trees would all
    be mixed, so that other kinds came from short cases alone.
    """
    new = kinds_in(child) - kinds_in(parent)
    return _most_telling(new - {BranchKind.MIXED} or new or kinds_in(child))


def kinds_in(right: Right) -> frozenset[BranchKind]:
    """Every kind that a case is an example of."""
    found = kinds_of(right.domain, right.behaviour)
    if BranchKind.VARIATION in found and traps(right):
        return found - {BranchKind.VARIATION} | {BranchKind.TRAP}  # what was wished could be done, and is wrong
    return found


def _most_telling(found: Set[BranchKind]) -> BranchKind:
    return next(kind for kind in MOST_TELLING if kind in found)


def legal(right: Right) -> bool:
    """Whether what is wished is allowed, as it is wished."""
    return not REFUSED & set(right.behaviour.endings) and not traps(right)


def outcome_of(right: Right) -> str:
    """The group that results are reported by: the names of the writes that are right, or how it ends."""
    names = list(dict.fromkeys(call.name for call in right.behaviour.writes))
    return "+".join(names) or str(right.behaviour.endings[-1])
