"""Problems that training still failed at, read back from the rollouts it kept: what makes the flywheel turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from flywheel_api.records.base import Lineage, Message, PassRate
from flywheel_api.records.reasoning import Problem
from flywheel_api.records.trajectory import TRAINING_ROLLOUT, Trajectory
from flywheel_api.results import Track

FAILED_UP_TO = 0.5  # share of right trajectories; above, a problem counts as learned


def failed_problems(trajectories: Iterable[Trajectory]) -> list[Problem]:
    """Problems whose trajectories were mostly wrong when training last saw them, sometimes right ones first.

    What it failed at once it may know by now. Masked trajectories (an outage, law 6) and those without a truth say
    nothing.
    """
    groups: dict[str, list[Trajectory]] = defaultdict(list)
    for t in trajectories:
        if t.track is Track.REASONING and not t.masked and t.truth:
            groups[t.item].append(t)
    found = []
    for group in groups.values():
        newest = max(t.step or 0 for t in group)
        last = [t for t in group if (t.step or 0) == newest]
        passed = PassRate(n=len(last), k=sum(_right(t) for t in last))
        problem = _problem(group[0])
        if problem is not None and passed.rate <= FAILED_UP_TO:
            found.append((passed.rate, problem))
    return [problem for _, problem in sorted(found, key=lambda pair: (pair[0] == 0, pair[0], pair[1].id))]


def _right(t: Trajectory) -> bool:
    return t.success if t.correct is None else t.correct


def _problem(t: Trajectory) -> Problem | None:
    """The problem of a trajectory as it was trained on, lineage and all; of a row of others what its prompt says."""
    if t.problem is not None:
        return t.problem
    messages = [m for m in t.messages if isinstance(m.get("content"), str)]
    while messages and messages[-1].get("role") != "user":
        messages.pop()
    if not messages or not messages[-1]["content"]:
        return None
    return Problem(
        id=t.item,
        lineage=Lineage(parent_ids=[t.item], operator=TRAINING_ROLLOUT, root_id=t.lineage.root_id),
        question=messages[-1]["content"],
        context=[Message(role=m["role"], content=m["content"]) for m in messages[:-1]],
        answer=t.truth,
        template=TRAINING_ROLLOUT,
    )
