"""ExpandAgentic: branches below seeds, from what the policy did on them, each accepted by replay (docs/method.md)."""

from __future__ import annotations

import asyncio
from collections import Counter

from flywheel_api.records.agentic import Grown, Seed, TreeRecord
from flywheel_api.records.base import record_id
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import ExpandedResult
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import expansion, growth
from flywheel_jobs.agentic.expansion import EXPAND, Expansion
from flywheel_jobs.agentic.observed import observed
from flywheel_jobs.agentic.right import dump_case, right_of
from flywheel_jobs.agentic.shelves import shelf_of
from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult


async def run(ctx: StageContext) -> StageResult:
    """A tree for each seed; one whose answer is still invalid after one repair is dropped and counted."""
    seeds = ctx.records(Stage.SEED_AGENTIC, "seeds.jsonl", Seed)
    by_task: dict[str, list[Trajectory]] = {}
    for trajectory in ctx.records(Stage.SEED_AGENTIC, "rollouts.jsonl", Trajectory):
        by_task.setdefault(trajectory.item, []).append(trajectory)

    async def expand(seed: Seed) -> TreeRecord:
        return await _expand(ctx, seed, by_task.get(seed.task.id, []), ctx.agentic.branches_per_tree)

    done = await ctx.map_items(seeds, lambda s: s.id, expand, TreeRecord, "trees", "expanding behaviour trees")
    trees = list(done.values())
    grown = [g.branch for t in trees for g in t.branches]
    refused = sum((Counter(t.refused) for t in trees), Counter[str]())
    depths = [max(1, len(t.seed.path)) + g.deeper for t in trees for g in t.branches]
    return StageResult(
        ExpandedResult(kinds=dict(sorted(Counter(b.kind.value for b in grown).items())), refused=dict(refused)),
        files=[OutputFile.of("trees.jsonl", TreeRecord, trees)],
        counts=ctx.counts(len(trees)),
        metrics={
            "branches": float(len(grown)),
            "depth": sum(depths) / len(depths) if depths else 0.0,
        },
    )


async def _expand(ctx: StageContext, seed: Seed, seen: list[Trajectory], branches: int) -> TreeRecord:
    right = right_of(shelf_of(ctx), seed.task)
    rng = ctx.rng("offers", seed.id)
    offered = await asyncio.to_thread(lambda: list(growth.offers(right, rng, branches * expansion.OFFERS_PER_BRANCH)))
    if not offered:
        raise ItemDropped("no-branch", f"nothing below {seed.task.id} differs from it")
    answer = await ask(
        ctx.llm(Role.TEACHER),
        messages_for(EXPAND, expansion.payload(right, seed, seen, offered, branches)),
        Expansion,
        "tree",
        seed=ctx.seed("tree", seed.id),
    )
    refused: dict[str, int] = {}
    chosen = expansion.chosen(right, answer, offered, branches, refused)
    lineage = seed.lineage.model_copy(
        update={
            "parent_ids": [seed.id, *(t.id for t in seen)],
            "operator": "expand",
            "round": ctx.config.owner.name,
            "standin": seed.lineage.standin or (await ctx.llm(Role.TEACHER).identify()).standin,
            "branch_path": list(seed.path),
        }
    )
    grown = [Grown(branch=offer.branch, case=dump_case(offer.right.case), deeper=offer.deeper) for offer in chosen]
    return TreeRecord(
        id=record_id("tree", seed.id, [g.dump() for g in grown]),
        lineage=lineage,
        seed=seed,
        observed=observed(seen),
        branches=grown,
        refused=refused,
    )
