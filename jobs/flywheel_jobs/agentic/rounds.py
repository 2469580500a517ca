"""From the rollouts that a round's training kept to the seeds of the next round: the flywheel's return path."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flywheel_api.records.agentic import Fingerprint, Seed, Task
from flywheel_api.records.base import record_id
from flywheel_api.records.reasoning import Persona
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.round import AgenticSpec
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import balance
from flywheel_jobs.agentic.distinct import fingerprint
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.storage.datasets import read_rollouts
from flywheel_jobs.storage.handed_on import handed_on as left_by
from flywheel_jobs.storage.store import Store

ROLLOUTS_KEPT = 8  # per task: what expansion looks at
ASKED, SEEN = "asked.jsonl", "seen.jsonl"  # what earlier rounds asked; that, and what this one keeps
RESERVE = "reserve.jsonl"  # tasks for the place of those that the solver or the band leave out
GREW = "previous-round"  # where a seed comes from; what grows below it is drawn by its id, which names no round
WANTED_RATE = 0.35  # what the policy fails at more often than not, but not always, grows first


def wanted(spec: AgenticSpec) -> int:
    """As many seeds as `maxTasks` can use: each gives `branchesPerTree` tasks and its own."""
    return math.ceil(spec.max_tasks / (spec.branches_per_tree + 1))


@dataclass(frozen=True)
class Before:
    """What the base round trained on: seeds, what the policy did on them, and all that the campaign has asked."""

    seeds: list[Seed] = field(default_factory=list)
    rollouts: list[Trajectory] = field(default_factory=list)
    asked: list[Fingerprint] = field(default_factory=list)


def before(ctx: StageContext, pins: dict[str, str]) -> Before:
    """What came before; nothing in a first round, or when the base round trained no agentic track.

    Tasks of another version of a package do not seed: what is right in them may have changed. They stay asked.
    """
    if not ctx.config.previous_rollouts:
        return Before()
    found = (t for digest in ctx.config.previous_rollouts for t in read_rollouts(ctx.store, digest))
    people = ctx.records(Stage.PREPARE, "seeds/personas.jsonl", Persona)
    seeds, rollouts = from_rollouts(found, ctx.config.owner.name, people)
    asked = {f.near: f for seed in seeds for f in [fingerprint(seed.task)]}
    asked |= {f.near: f for f in handed_on(ctx.store, ctx.config.previous_rollouts)}
    kept = [s for s in seeds if pins.get(s.task.domain) == s.task.package]
    ids = {s.task.id for s in kept}
    return Before(kept, [t for t in rollouts if t.item in ids], list(asked.values()))


def handed_on(store: Store, rollouts: Sequence[str]) -> list[Fingerprint]:
    """Fingerprints of all earlier rounds: the base round's solved tasks and those that it was handed itself."""
    return left_by(store, rollouts, Stage.SOLVE_AGENTIC, SEEN, Fingerprint, lambda f: f.near)


def from_rollouts(
    trajectories: Iterable[Trajectory], round_name: str, people: Sequence[Persona]
) -> tuple[list[Seed], list[Trajectory]]:
    """Seeds (one for each task that was trained on) and its last rollouts.

    Masked trajectories have no score, and those of the reasoning track no task: both are left out.
    """
    by_task: dict[str, list[Trajectory]] = {}
    tasks: dict[str, Task] = {}
    for t in trajectories:
        if t.masked or t.task is None:
            continue
        task = tasks.setdefault(t.task.id, t.task)
        by_task.setdefault(task.id, []).append(t.model_copy(update={"task": None}))
    kept = {t: sorted(ts, key=lambda t: t.step or 0)[-ROLLOUTS_KEPT:] for t, ts in by_task.items()}
    seeds = [_seed(tasks[t], round_name, people) for t in sorted(tasks)]
    return seeds, [t for task in sorted(kept) for t in kept[task]]


def _seed(task: Task, round_name: str, people: Sequence[Persona]) -> Seed:
    persona = _persona(task, people)
    lineage = task.lineage.model_copy(
        update={
            "parent_ids": [task.id],
            "operator": GREW,
            "round": round_name,
            "persona_id": persona.id,
        }
    )
    return Seed(id=record_id("seed", task.id, GREW), lineage=lineage, persona=persona, task=task, fresh=False)


def _persona(task: Task, people: Sequence[Persona]) -> Persona:
    """The task's own training persona; another one, fixed by the task's id, where this round has not got it."""
    point = int.from_bytes(hashlib.sha256(task.id.encode()).digest()[:4], "big")
    return next((p for p in people if p.id == task.lineage.persona_id), people[point % len(people)])


def failed_first(
    seeds: Sequence[Seed], rollouts: Iterable[Trajectory], first: int, most: int, legal_share: float
) -> list[Seed]:
    """At most `most` seeds: those first that the policy fails at and is not hopeless at.

    Worlds, kinds and personas take turns: without that all trees grow from one caller's affairs after some rounds.
    The `first` of them are chosen before the others. What it always solves comes last: a branch below it may be hard.
    Legal ones have their share: below a wish that is refused hardly any branch is legal, so that trees of such seeds
    alone would end at one kind.
    """
    scores: dict[str, list[float]] = {}
    for trajectory in rollouts:
        scores.setdefault(trajectory.item, []).append(trajectory.score or 0.0)
    rates = {task: sum(values) / len(values) for task, values in scores.items()}

    def rank(seed: Seed) -> tuple[bool, float, int, str]:
        rate = rates.get(seed.task.id, 0.0)
        return rate >= 1.0, abs(rate - WANTED_RATE), -len(seed.task.right.calls), seed.id

    def taken(left: Sequence[Seed], limit: int) -> list[Seed]:
        groups = (lambda s: s.task.domain, lambda s: s.task.world_seed, lambda s: s.task.kind)
        persona = (lambda s: s.lineage.persona_id,)
        return balance.choose([left], limit, legal_share, lambda s: s.task.legal, groups, persona)

    ordered = sorted(seeds, key=rank)
    best = taken(ordered, first)
    ids = {seed.id for seed in best}
    return [*best, *taken([seed for seed in ordered if seed.id not in ids], most - first)]
