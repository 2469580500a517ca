"""Score of an episode: what the domain's own grading says of what happened and what was told (docs/method.md)."""

from __future__ import annotations

from dataclasses import dataclass

from flywheel_domains.reward import Episode as Graded
from flywheel_domains.reward import Grade, Reason, grade
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.core.errors import InfraError

INFRA_END = "infra"
OPEN_ENDS = frozenset({"length", "malformed", "turn-limit"})  # the agent broke off: nobody closed the conversation
MOST_TELLING = (
    Reason.TRAP, Reason.ATTEMPT, Reason.UNKNOWN_TOOL, Reason.UNCONFIRMED, Reason.UNPROVEN, Reason.FALSE_CLAIM,
    Reason.FALSE_FACT, Reason.WRONG_REASON, Reason.NOTHING_DONE, Reason.WRONG_STATE, Reason.NOT_TOLD,
    Reason.FACT_MISSING, Reason.NOT_CLOSED,
)  # fmt: skip
"""Of several reasons, the one that says most about the agent."""


@dataclass(frozen=True)
class Score:
    """1 or 0, why it is not 1, and parts of the score by name."""

    score: float
    reason: str
    facts: dict[str, float]


def graded(episode: Episode) -> Grade:
    """The domain's own grade of what happened."""
    env, right = episode.env, episode.right
    closed = env.closed is not None and env.closed not in OPEN_ENDS
    happened = Graded(tuple(env.events), closed)
    return grade(right.domain, right.case, right.behaviour, happened, confirmations=not episode.task.single_turn)


def score(episode: Episode) -> Score:
    """Score of an episode that has ended. Raises InfraError for one that an outage ended (law 6): it has no score."""
    env = episode.env
    if env.closed == INFRA_END:
        raise InfraError(f"an outage ended the episode of task {episode.task.id}: mask it, it has no score")
    found = graded(episode)
    reason = next((r for r in MOST_TELLING if r in found.reasons), None)
    return Score(
        score=found.score,
        reason="" if reason is None else str(reason),
        facts={
            "state_right": float(found.state_right),
            "proved": float(found.proved),
            "sub_goals": found.goals,
            "trap_write": float(Reason.TRAP in found.reasons),
            "early_write": float(Reason.UNPROVEN in found.reasons and env.writes_done() > 0),
            "no_write": float(env.writes_done() == 0),
            "closed": float(Reason.NOT_CLOSED not in found.reasons),
        },
    )
