"""From the rollouts that a round's training kept to the seeds of the next round: the flywheel's return path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flywheel_api.presets import training_spec
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import Stage
from flywheel_jobs.envs import DOMAINS
from flywheel_jobs.harness.runner import StageContext
from flywheel_jobs.records import Persona, record_id
from flywheel_jobs.records.agentic import Lineage, Seed, Task, Trajectory
from flywheel_jobs.storage.datasets import read_jsonl

ROLLOUTS_KEPT = 8  # per task: what expansion looks at


def previous_seeds(ctx: StageContext) -> tuple[list[Seed], list[Trajectory]]:
    """Seeds and rollouts of the base round; both empty in a first round, or when that round trained no agentic
    track.
    """
    spec = ctx.spec.agentic
    domains = set(spec.domains) if spec else set()
    rows = [row for digest in ctx.config.previous_rollouts for row in _rows(ctx, digest)]
    if not rows:
        return [], []
    people = [Persona.model_validate(p) for p in ctx.records(Stage.PREPARE, "seeds/personas.jsonl")]
    seeds, rollouts = from_rollouts(rows, ctx.config.owner.name, people)
    wanted = [s for s in seeds if s.domain in domains]
    ids = {s.task.id for s in wanted}
    return wanted, [t for t in rollouts if t.task_id in ids]


def training_temperature(spec: FlywheelRoundSpec) -> float:
    """The temperature of training's rollouts, so that what is collected and banded is what training will see."""
    unused = "sha256:" + "0" * 64
    return float(training_spec(spec, "agentic", unused, unused, None).algorithm.temperature or 1.0)


def _rows(ctx: StageContext, digest: str) -> Iterable[dict[str, Any]]:
    for entry in ctx.store.get_manifest(digest).files:
        if entry.path.endswith(".jsonl"):
            yield from read_jsonl(ctx.store, entry)


def from_rollouts(
    rows: Iterable[Mapping[str, Any]], round_name: str, people: Sequence[Persona]
) -> tuple[list[Seed], list[Trajectory]]:
    """Seeds (one for each task that was trained on) and its last rollouts. Masked trajectories and single-turn ones
    have no task or no score and are left out.
    """
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    tasks: dict[str, Task] = {}
    for row in rows:
        raw = row.get("task")
        if (
            row.get("masked")
            or row.get("score") is None
            or not isinstance(raw, dict)
            or raw.get("domain") not in DOMAINS
        ):
            continue
        if not raw.get("chain"):
            continue
        task = tasks.setdefault(str(raw["id"]), Task.model_validate(raw))
        by_task.setdefault(task.id, []).append(row)
    kept = {t: sorted(rs, key=lambda r: int(r.get("step") or 0))[-ROLLOUTS_KEPT:] for t, rs in by_task.items()}
    seeds = [_seed(tasks[t], round_name, people) for t in sorted(tasks)]
    return seeds, [_trajectory(tasks[t], r, n) for t in sorted(kept) for n, r in enumerate(kept[t])]


def _seed(task: Task, round_name: str, people: Sequence[Persona]) -> Seed:
    lineage = task.lineage.model_copy(
        update={"parent_ids": [task.id], "operator": "previous-round", "round": round_name}
    )
    persona = _persona(task, people)
    lineage = lineage.model_copy(update={"persona_id": persona.id})
    workflow = {"goal": task.chain[0].condition, "workflow": [c["name"] for c in task.normal_path]}
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


def _trajectory(task: Task, row: Mapping[str, Any], n: int) -> Trajectory:
    details = {k: float(v) for k, v in dict(row.get("details") or {}).items() if isinstance(v, int | float)}
    lineage = Lineage(
        **task.lineage.model_dump(exclude={"parent_ids", "operator"}), parent_ids=[task.id], operator="training-rollout"
    )
    return Trajectory(
        id=str(row["id"]),
        lineage=lineage,
        task_id=task.id,
        role="Policy",
        attempt=n,
        messages=list(row.get("messages") or []),
        calls=[],
        closed=str(row.get("closed") or "training"),
        score=float(row["score"]),
        outcome=task.outcome,
        details=details,
    )
