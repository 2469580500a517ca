"""Measured difficulty: pass rates of policy and solver by depth and kind, and the bands that they fall into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from flywheel_api.records.agentic import Task
from flywheel_api.records.base import PassRate
from flywheel_api.results import Difficulty

NOBODY = PassRate(n=0, k=0)


def bands(tasks: Iterable[Task]) -> dict[str, int]:
    """Measured tasks by the policy's pass rate: never, sometimes, always right."""
    rates = [t.policy_pass.rate for t in tasks if t.policy_pass is not None]
    return dict(Counter("hard" if r == 0 else "solved" if r == 1 else "frontier" for r in rates))


def by_depth_and_kind(tasks: Sequence[Task]) -> list[Difficulty]:
    """Attempts and right ones of tasks that share a depth and a kind."""
    found: dict[tuple[int, str], list[Task]] = {}
    for task in tasks:
        found.setdefault((task.depth.branch if task.depth else 1, task.kind), []).append(task)
    return [
        Difficulty(
            depth=depth,
            kind=kind,
            tasks=len(same),
            policy_n=sum((t.policy_pass or NOBODY).n for t in same),
            policy_k=sum((t.policy_pass or NOBODY).k for t in same),
            solver_n=sum((t.solver_pass or NOBODY).n for t in same),
            solver_k=sum((t.solver_pass or NOBODY).k for t in same),
        )
        for (depth, kind), same in sorted(found.items())
    ]
