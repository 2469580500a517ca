"""What was seen of the policy, in few words: for expansion, for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flywheel_api.records.trajectory import Trajectory
from flywheel_jobs.agentic.drive import end_group


def observed(trajectories: Iterable[Trajectory]) -> dict[str, int]:
    """End groups of rollouts and how often each was seen."""
    return dict(sorted(Counter(end_group(t) for t in trajectories).items()))
