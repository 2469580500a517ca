"""Acceptance of a task by a solver's attempt: computed from the environment, no verdict in prose.

See docs/method.md, "Acceptance".
"""

from __future__ import annotations

from flywheel_api.records.agentic import Task
from flywheel_api.round import AcceptanceSpec, Check
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.agentic.inversion import untraceable
from flywheel_jobs.envs import domain_of
from flywheel_jobs.rewards import state_diff

ACCEPTED, NEVER_ENDED = "accepted", "never-ended"
REASONS = {
    "traceability": "untraceable",
    "trap_absent": "trap-taken",
    "branch_hit": "branch-missed",
    "database_diff": "database-differs",
}
"""Check -> the word by which a rejection is counted; in this order the first failed one names the rejection."""


def branch_hit(task: Task, episode: Episode) -> bool:
    """The right path's calls happened in order with equal arguments; others may lie between them."""
    wanted = [state_diff.key(c) for c in task.normal_path]
    done = iter(state_diff.key(c) for c in episode.env.log if c.status == "ok")
    return all(call in done for call in wanted)


def checks(task: Task, episode: Episode) -> dict[str, bool]:
    """All four checks of an attempt."""
    facts = state_diff.judge(task, episode.env)
    return {
        "traceability": not untraceable(task, domain_of(task.domain)),
        "trap_absent": not facts.trap_write,
        "branch_hit": branch_hit(task, episode),
        "database_diff": facts.state_right,
    }


def verdict(task: Task, episode: Episode, spec: AcceptanceSpec) -> str:
    """`accepted`, or why not: the first required check that failed, or that nobody closed the conversation."""
    if not episode.done or episode.env.closed in state_diff.OPEN_ENDS:
        return NEVER_ENDED
    passed = checks(task, episode)
    for name, reason in REASONS.items():
        if getattr(spec, name) is Check.REQUIRED and not passed[name]:
            return reason
    return ACCEPTED


def advice(task: Task, episode: Episode, spec: AcceptanceSpec) -> list[str]:
    """Advisory checks that failed, by their words: they are recorded and counted, and keep no task out."""
    passed = checks(task, episode)
    return [reason for name, reason in REASONS.items() if getattr(spec, name) is Check.ADVISORY and not passed[name]]
