"""Reward functions in the shape that verl calls (`reward.custom_reward_function`), over the project's own rewards.

The same `flywheel_jobs.rewards` score training and evaluation. An outage is an InfraError for the agent loop to
retry and then mask; it never becomes reward 0 (law 6).
"""

from __future__ import annotations

from typing import Any

from flywheel_jobs.rewards import math, state_diff


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **_context: Any
) -> dict[str, Any]:
    """Score of a final answer against the truth: {"score": 0..1, ...}."""
    return dict(math.score(solution_str, ground_truth))


def score_state(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **_context: Any
) -> dict[str, Any]:
    """Score of what a trajectory did to its environment: {"score": 0..1, "outcome": expected outcome, ...}.

    Needs `extra_info["task"]` (the parsed task) and `extra_info["env"]` (its environment at the end of the
    trajectory), which the tool agent loop adds.
    """
    info = extra_info or {}
    if "env" not in info:
        raise ValueError(
            f"a row of {data_source!r} has no environment to score: reward StateDiff needs agentLoop and rows with "
            f"extra_info.task"
        )
    return dict(state_diff.score(info["task"], info["env"]))
