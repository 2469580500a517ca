"""Chained rounds of the agentic track, in process: the stages' own code, a scripted teacher and a parametric policy.

`python -m perf.chained airline --rounds 5 --tasks 40` prints what each round made, by depth, and where it lost what.
Nothing here is a model: the teacher and the solver are the stand-in, and the policy passes a task with a probability
that falls with what a right agent must do in it and rises a little each round. So a table says what *data* chained
rounds make, and that the parametric policy is measured as it was made; never how good a model becomes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import mean
from types import SimpleNamespace
from typing import Any, cast

from contract import stages
from contract.rounds import BASE, DEFS, dropped
from flywheel_api.artifacts import Manifest, ServedBy
from flywheel_api.records.agentic import Task, TreeRecord
from flywheel_api.records.base import content_digest
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.round import FlywheelRoundSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import drive
from flywheel_jobs.agentic.right import Right, compute, read_case, right_of, steps
from flywheel_jobs.agentic.shelves import shelf_of
from flywheel_jobs.endpoints.llm import ChatClient, ChatResult
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.harness.runner import run_stage
from flywheel_jobs.stages.main import STAGES
from flywheel_jobs.storage.store import Store
from flywheel_standin import agentic as script
from flywheel_standin.domains import domain_of
from flywheel_standin.protocol import ChatRequest
from flywheel_store.memory import MemoryBucket

MADE = (Stage.PREPARE, Stage.SEED_AGENTIC, Stage.EXPAND_AGENTIC, Stage.INVERT_AGENTIC, Stage.SOLVE_AGENTIC)
ROLLOUTS = 4  # of training, for each task
SHOWN = ("tasks", "kept", "trained", "proofs", "path", "turns", "cells", "rules", "endings", "kinds", "dialogues",
         "personas", "speakers", "legal", "depth", "deepest", "pass")  # fmt: skip


def load_of(right: Right) -> float:
    """What a right agent has to do: steps, cells that it must see, rules that it must weigh."""
    found = right.behaviour
    return len(steps(right)) + len(found.proof) / 4 + len(found.read) / 4


@dataclass(frozen=True)
class Parametric:
    """A policy that passes with probability 1 / (1 + exp(slope (load - skill)))."""

    skill: float
    slope: float = 0.5

    def rate(self, right: Right) -> float:
        """Its pass rate on a task."""
        return 1 / (1 + math.exp(self.slope * (load_of(right) - self.skill)))

    def turn(self, request: ChatRequest) -> str:
        """Its next turn: at its first one it goes wrong at its rate, and else does what is right."""
        right = _played(request.metadata["package"], request.metadata["case"])
        shown = sum(len(example.calls) for example in right.domain.prompt.examples)
        first = sum(m["role"] == "assistant" for m in request.messages) == shown
        return script.solve(request, rate=1 - self.rate(right) if first else 0.0)


@lru_cache(maxsize=4096)
def _played(package: str, case: str) -> Right:
    return compute(domain_of(package), read_case(json.loads(case)))


class Scripted:
    """A model in this process; what it is asked and answers is what goes over the wire otherwise."""

    def __init__(self, role: Role, policy: Parametric) -> None:
        self.role, self.policy = role, policy
        self.endpoint = SimpleNamespace(max_tokens=1024)

    async def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> ChatResult:
        """One answer."""
        request = ChatRequest(
            model=str(self.role), messages=list(messages), seed=options.get("seed"), metadata=options.get("about") or {}
        )
        if self.role is Role.POLICY:
            text = self.policy.turn(request)
        else:
            answer = script.respond(request)
            assert answer is not None
            text = answer.text
        return ChatResult(texts=[text], finish_reasons=["stop"])

    async def identify(self) -> ServedBy:
        """It is a stand-in."""
        return ServedBy(role=self.role, model="scripted", standin=True)


class Here(StageContext):
    """A stage whose models are functions."""

    policy = Parametric(0)

    def llm(self, role: Role) -> ChatClient:
        """The function of a role."""
        return cast(ChatClient, Scripted(role, self.policy))


@dataclass
class Chain:
    """Rounds of a campaign, each from the tasks and rollouts of the one before."""

    domains: Sequence[str]
    tasks: int
    branches: int = 6
    seed: int = 7
    skill: float = 8.0
    learns: float = 1.0
    named: str = "r"
    agentic: Mapping[str, Any] = field(default_factory=dict)
    store: Store = field(default_factory=lambda: Store(MemoryBucket()))
    rows: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[list[Task]] = field(default_factory=list)
    trees: list[list[TreeRecord]] = field(default_factory=list)
    trained: str | None = None

    def spec(self) -> FlywheelRoundSpec:
        """The spec of every round."""
        return stages.round_spec(
            reasoning=None,
            agentic={
                "personas": "builtin://personas",
                "domains": [{"name": name} for name in self.domains],
                "branchesPerTree": self.branches,
                "maxTasks": self.tasks,
                "difficulty": {"samples": ROLLOUTS},
                **self.agentic,
            },
            evaluation={"suites": [{"name": f"{self.domains[0]}-heldout", "items": 8}]},
            seed=self.seed,
        )

    def run(self, rounds: int) -> list[dict[str, Any]]:
        """Their rows."""
        for _ in range(rounds):
            self.rows.append(self.round(len(self.rows) + 1))
        return self.rows

    def round(self, number: int) -> dict[str, Any]:
        """One round from personas to what is trained on, with the policy of that round."""
        policy = Parametric(self.skill + self.learns * (number - 1))
        spec, started = self.spec(), time.process_time()
        done: dict[Stage, Manifest] = {}
        more: dict[str, Any] = {"base_model": BASE, "uid": f"u{number}", "name": f"{self.named}{number}"}
        if self.trained is not None:
            more["previous_rollouts"] = [self.trained]
        for stage in MADE:
            inputs = {s.value: done[s].digest for s in DEFS[stage].inputs if s in done}
            config = stages.config(stage, spec, "http://unused/v1", inputs, **more)
            ctx = Here(config, self.store)
            ctx.policy = policy
            asyncio.run(run_stage(ctx, STAGES[stage]))
            done[stage] = stages.manifest_of(self.store, config)
        made = [Task.model_validate(t) for t in stages.records(self.store, done[Stage.INVERT_AGENTIC], "tasks.jsonl")]
        solved = done[Stage.SOLVE_AGENTIC]
        alone = [Task.model_validate(t) for t in stages.records(self.store, solved, "tasks.jsonl")]
        talks = [Task.model_validate(t) for t in stages.records(self.store, solved, "dialogues.jsonl")]
        shelf = shelf_of(ctx)
        self.trained = stages.lineage(self.store, asyncio.run(trained(alone, policy, shelf)), solved.digest)
        self.rounds.append([*alone, *talks])
        grown = stages.records(self.store, done[Stage.EXPAND_AGENTIC], "trees.jsonl")
        self.trees.append([TreeRecord.model_validate(tree) for tree in grown])
        lost = {stage.value: dropped(manifest) for stage, manifest in done.items() if dropped(manifest)}
        return {
            "round": number,
            **measures(made, [*alone, *talks], alone),
            "turns": _mean(len(steps(right_of(shelf, t))) for t in [*alone, *talks]),
            "seeds": done[Stage.SEED_AGENTIC].counts.out,
            "fresh": int(done[Stage.SEED_AGENTIC].metrics["fresh"]),
            "branches": int(done[Stage.EXPAND_AGENTIC].metrics["branches"]),
            "lost": lost,
            "refused": getattr(done[Stage.EXPAND_AGENTIC].result, "refused", {}),
            "cpu": round(time.process_time() - started, 1),
        }


async def trained(tasks: Sequence[Task], policy: Parametric, shelf: Any) -> list[Trajectory]:
    """What a training of the parametric policy keeps: its rollouts, with their calls."""
    found = []
    for task in tasks:
        right = right_of(shelf, task)
        for n in range(ROLLOUTS):
            seed = int(content_digest(task.id, n)[:6], 16)
            episode = await drive.run(task, right, cast(ChatClient, Scripted(Role.POLICY, policy)), seed=seed)
            one = drive.trajectory(task, episode, Role.POLICY, n, task.lineage)
            found.append(one.model_copy(update={"task": task, "step": n + 1}))
    return found


def measures(made: Sequence[Task], kept: Sequence[Task], alone: Sequence[Task]) -> dict[str, Any]:
    """What a round's tasks come to."""
    depth = [t.depth.branch for t in kept if t.depth]
    rated = [t.policy_pass.rate for t in kept if t.policy_pass]
    return {
        "tasks": len(made),
        "kept": len(kept),
        "trained": len(alone),
        "proofs": len({content_digest(t.right.proof, [c.dump() for c in t.right.calls]) for t in kept}),
        "path": _mean(len(t.right.calls) for t in kept),
        "cells": _mean(t.depth.cells for t in kept if t.depth),
        "rules": _mean(len(t.rule_ids) for t in kept),
        "endings": len({e for t in kept for e in t.right.endings}),
        "kinds": len({t.kind for t in kept}),
        "dialogues": sum(not t.single_turn for t in kept),
        "personas": len({t.lineage.persona_id for t in kept}),
        "speakers": len({t.case.get("persona") for t in kept}),
        "legal": _mean(t.legal for t in kept),
        "depth": _mean(depth),
        "deepest": max(depth, default=0),
        "pass": _mean(rated),
        "by_depth": by_depth(kept),
        "by_kind": dict(sorted(Counter(t.kind for t in kept).items())),
    }


def by_depth(tasks: Sequence[Task]) -> dict[int, tuple[int, float]]:
    """Tasks and pass rate of the policy at each depth."""
    found: dict[int, list[float]] = {}
    for task in tasks:
        if task.depth and task.policy_pass:
            found.setdefault(task.depth.branch, []).append(task.policy_pass.rate)
    return {depth: (len(rates), round(mean(rates), 2)) for depth, rates in sorted(found.items())}


def _mean(values: Any) -> float:
    given = list(values)
    return round(mean(given), 2) if given else 0.0


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table, and below it what was lost by reason."""
    lines = ["| round | " + " | ".join(SHOWN) + " |", "|---" * (len(SHOWN) + 1) + "|"]
    lines += ["| " + " | ".join(str(row[name]) for name in ("round", *SHOWN)) + " |" for row in rows]
    for row in rows:
        lines.append(f"round {row['round']}: seeds {row['seeds']} ({row['fresh']} fresh), branches {row['branches']}, "
                     f"pass by depth {row['by_depth']}, cpu {row['cpu']} s")  # fmt: skip
        lines.append(f"  kinds {row['by_kind']}")
        lines.append(f"  lost {row['lost']} refused {row['refused']}")
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="perf.chained")
    parser.add_argument("domains", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--branches", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--skill", type=float, default=8.0)
    parser.add_argument("--learns", type=float, default=1.0)
    given = parser.parse_args()
    chain = Chain(given.domains, given.tasks, given.branches, given.seed, given.skill, given.learns)
    print(table(chain.run(given.rounds)))


if __name__ == "__main__":
    main()
