"""From the rollouts that a round's training kept to the seeds of the next round: the flywheel's return path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from flywheel_api.records.agentic import Seed, Task, Workflow
from flywheel_api.records.base import record_id
from flywheel_api.records.reasoning import Persona
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.stages import Stage
from flywheel_jobs.envs import DOMAINS
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.storage.datasets import read_rollouts

ROLLOUTS_KEPT = 8  # per task: what expansion looks at


def previous_seeds(ctx: StageContext) -> tuple[list[Seed], list[Trajectory]]:
    """Seeds and rollouts of the base round; both empty in a first round, or when it trained no agentic track."""
    spec = ctx.spec.agentic
    domains = {d.name for d in spec.domains} if spec else set()
    if not ctx.config.previous_rollouts:
        return [], []
    found = (t for digest in ctx.config.previous_rollouts for t in read_rollouts(ctx.store, digest))
    people = ctx.records(Stage.PREPARE, "seeds/personas.jsonl", Persona)
    seeds, rollouts = from_rollouts(found, ctx.config.owner.name, people)
    wanted = [s for s in seeds if s.domain in domains]
    ids = {s.task.id for s in wanted}
    return wanted, [t for t in rollouts if t.item in ids]


def from_rollouts(
    trajectories: Iterable[Trajectory], round_name: str, people: Sequence[Persona]
) -> tuple[list[Seed], list[Trajectory]]:
    """Seeds (one for each task that was trained on) and its last rollouts.

    Masked trajectories have no score, and those of the reasoning track no task: both are left out.
    """
    by_task: dict[str, list[Trajectory]] = {}
    tasks: dict[str, Task] = {}
    for t in trajectories:
        if t.masked or t.task is None or t.task.domain not in DOMAINS or not t.task.chain:
            continue
        task = tasks.setdefault(t.task.id, t.task)
        by_task.setdefault(task.id, []).append(t.model_copy(update={"task": None}))
    kept = {t: sorted(ts, key=lambda t: t.step or 0)[-ROLLOUTS_KEPT:] for t, ts in by_task.items()}
    seeds = [_seed(tasks[t], round_name, people) for t in sorted(tasks)]
    return seeds, [t for task in sorted(kept) for t in kept[task]]


def _seed(task: Task, round_name: str, people: Sequence[Persona]) -> Seed:
    lineage = task.lineage.model_copy(
        update={"parent_ids": [task.id], "operator": "previous-round", "round": round_name}
    )
    persona = _persona(task, people)
    lineage = lineage.model_copy(update={"persona_id": persona.id})
    workflow = Workflow(goal=task.chain[0].condition, workflow=[c.name for c in task.normal_path])
    return Seed(
        id=record_id("seed", task.id, round_name),
        lineage=lineage,
        domain=task.domain,
        persona=persona,
        workflow=workflow,
        task=task,
    )


def _persona(task: Task, people: Sequence[Persona]) -> Persona:
    """The task's own training persona; another one, fixed by the task's id, where this round has not got it."""
    point = int.from_bytes(hashlib.sha256(task.id.encode()).digest()[:4], "big")
    return next((p for p in people if p.id == task.lineage.persona_id), people[point % len(people)])
