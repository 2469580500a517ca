"""Acceptance of a task by a solver's attempt: computed from the environment, no verdict in prose.

See docs/method.md, "Acceptance".
"""

from __future__ import annotations

from flywheel_api.round import AcceptanceSpec, Check
from flywheel_domains.reward import Reason
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.agentic.score import OPEN_ENDS, graded

ACCEPTED, NEVER_ENDED = "accepted", "never-ended"
REASONS = {
    "trap_absent": ("trap-taken", {Reason.TRAP, Reason.ATTEMPT, Reason.UNKNOWN_TOOL}),
    "database_diff": ("database-differs", {Reason.WRONG_STATE, Reason.NOTHING_DONE}),
    "traceability": ("untraceable", {Reason.UNPROVEN, Reason.UNCONFIRMED}),
    "branch_hit": (
        "branch-missed",
        {Reason.NOT_TOLD, Reason.FALSE_CLAIM, Reason.WRONG_REASON, Reason.FACT_MISSING, Reason.FALSE_FACT},
    ),
}
"""Check -> the word by which a rejection is counted, and what fails it; the first failed one names the rejection."""


def failed(episode: Episode) -> list[str]:
    """Names of the checks that an attempt failed."""
    reasons = set(graded(episode).reasons)
    return [name for name, (_, why) in REASONS.items() if reasons & why]


def verdict(episode: Episode, spec: AcceptanceSpec) -> str:
    """`accepted`, or why not: the first required check that failed, or that nobody closed the conversation."""
    if not episode.done or episode.env.closed in OPEN_ENDS:
        return NEVER_ENDED
    for name in failed(episode):
        if getattr(spec, name) is Check.REQUIRED:
            return REASONS[name][0]
    return ACCEPTED


def advice(episode: Episode, spec: AcceptanceSpec) -> list[str]:
    """Advisory checks that failed, by their words: they are recorded and counted, and keep no task out."""
    return [REASONS[name][0] for name in failed(episode) if getattr(spec, name) is Check.ADVISORY]
