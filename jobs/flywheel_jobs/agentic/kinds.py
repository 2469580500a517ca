"""What kind of case it is, in the vocabulary of branches (docs/method.md): read from what is right in it."""

from __future__ import annotations

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
    """The kind by which a case is counted."""
    found = kinds_of(right.domain, right.behaviour)
    if BranchKind.VARIATION in found and traps(right):
        return BranchKind.TRAP  # what was wished could be done, and something else is right
    return next(kind for kind in MOST_TELLING if kind in found)


def legal(right: Right) -> bool:
    """Whether what is wished is allowed, as it is wished."""
    return not REFUSED & set(right.behaviour.endings) and not traps(right)


def outcome_of(right: Right) -> str:
    """The group that results are reported by: the names of the writes that are right, or how it ends."""
    names = list(dict.fromkeys(call.name for call in right.behaviour.writes))
    return "+".join(names) or str(right.behaviour.endings[-1])
