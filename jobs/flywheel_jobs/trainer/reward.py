"""Reward functions in the shape that verl calls (`reward.custom_reward_function`), over the project's own rewards.

The same `flywheel_jobs.rewards` score training and evaluation. An outage is an InfraError for the agent loop to
retry and then mask; it never becomes reward 0 (law 6).
"""

from __future__ import annotations

import os
from typing import Any

from flywheel_api.stages import FORMAT_BONUS_ENV
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.agentic.score import score
from flywheel_jobs.rewards import math


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | float,
    extra_info: dict[str, Any] | None = None,
    **_context: Any,
) -> dict[str, Any]:
    """Score of a final answer against the truth, text or a number: {"score": 0..1, ...}.

    `extra_info["cut"]` says that the answer ran into its token limit: it is never right, as in evaluation.
    """
    bonus = float(os.environ.get(FORMAT_BONUS_ENV) or 0)
    return dict(math.score(solution_str, str(ground_truth), bool((extra_info or {}).get("cut")), bonus))


def score_state(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **_context: Any
) -> dict[str, Any]:
    """Score of what a trajectory did to its environment: {"score": 0..1, and its facts by name}.

    Needs `extra_info["episode"]`, the conversation as it ended, which the tool agent loop adds.
    """
    episode = (extra_info or {}).get("episode")
    if not isinstance(episode, Episode):
        raise ValueError(
            f"a row of {data_source!r} has no environment to score: reward StateDiff needs agentLoop and rows with "
            f"extra_info.task"
        )
    scored = score(episode)
    return {"score": scored.score, "reason": scored.reason, **scored.facts}
