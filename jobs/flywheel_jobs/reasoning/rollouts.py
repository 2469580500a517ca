"""Problems that training still failed at, read back from the rollouts it kept: what makes the flywheel turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from flywheel_jobs.records import Lineage, PassRate, ReasoningProblem, Turn
from flywheel_jobs.storage.datasets import read_jsonl
from flywheel_jobs.storage.store import Store

FAILED_UP_TO = 0.5  # share of right trajectories; above, a problem counts as learned


def failed_problems(store: Store, digest: str) -> list[ReasoningProblem]:
    """Problems of a rollout dataset whose trajectories were mostly wrong, hardest first."""
    manifest = store.get_manifest(digest)
    entries = [f for f in manifest.files if f.path.startswith("rollouts/")]
    return from_trajectories(record for entry in entries for record in read_jsonl(store, entry))


def from_trajectories(records: Iterable[dict[str, Any]]) -> list[ReasoningProblem]:
    """Groups single-turn trajectories by problem. Masked ones (an outage, law 6) and those without a truth say
    nothing.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        if record.get("task") or record.get("masked") or record.get("score") is None:
            continue
        if record.get("truth"):
            groups[str(record["item"])].append(record)
    found = []
    for item, group in groups.items():
        passed = PassRate(n=len(group), k=sum(_right(r) for r in group))
        problem = _problem(item, group[0])
        if problem is not None and passed.rate <= FAILED_UP_TO:
            found.append((passed.rate, problem))
    return [problem for _, problem in sorted(found, key=lambda pair: (pair[0], pair[1].id))]


def _right(record: dict[str, Any]) -> bool:
    return bool((record.get("details") or {}).get("correct", float(record["score"]) >= 1.0))


def _problem(item: str, record: dict[str, Any]) -> ReasoningProblem | None:
    messages = [m for m in record.get("messages") or [] if isinstance(m.get("content"), str)]
    while messages and messages[-1].get("role") != "user":
        messages.pop()
    if not messages or not messages[-1]["content"]:
        return None
    context = [Turn(role=m["role"], content=m["content"]) for m in messages[:-1]]
    return ReasoningProblem(
        id=item,
        lineage=Lineage(parent_ids=[item], operator="training-rollout"),
        question=messages[-1]["content"],
        context=context,
        answer=str(record["truth"]),
        template="training-rollout",
    )
