"""ExpandAgentic: branches below seeds, from what the policy did on them, each accepted by replay (docs/method.md)."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from flywheel_api.records.agentic import Fingerprint, Grown, Seed, TreeRecord
from flywheel_api.records.base import record_id
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import ExpandedResult
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import balance, expansion, growth
from flywheel_jobs.agentic.distinct import Distinct, near_right
from flywheel_jobs.agentic.expansion import EXPAND, Expansion
from flywheel_jobs.agentic.growth import Offer
from flywheel_jobs.agentic.observed import observed
from flywheel_jobs.agentic.right import Right, dump_case, right_of
from flywheel_jobs.agentic.rounds import ASKED, WANTED_RATE, wanted
from flywheel_jobs.agentic.shelves import shelf_of
from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult

WAVES = 4  # times that more seeds are taken where trees offer too few new branches of a side


async def run(ctx: StageContext) -> StageResult:
    """Trees below the first seeds, and below as many more as it takes until there are branches for `maxTasks`.

    Allowed and refused ones in their shares: a long right way may have room for refusals alone below it.
    A seed whose answer is still invalid after one repair is dropped and counted.
    """
    seeds = ctx.records(Stage.SEED_AGENTIC, "seeds.jsonl", Seed)
    by_task: dict[str, list[Trajectory]] = {}
    for trajectory in ctx.records(Stage.SEED_AGENTIC, "rollouts.jsonl", Trajectory):
        by_task.setdefault(trajectory.item, []).append(trajectory)

    rates = {task: sum(t.score or 0.0 for t in seen) / len(seen) for task, seen in by_task.items()}
    branches = expansion.allotted(seeds, rates, ctx.agentic.branches_per_tree)
    asked = Distinct(ctx.records(Stage.SEED_AGENTIC, ASKED, Fingerprint))

    async def expand(seed: Seed) -> TreeRecord:
        longest = rates.get(seed.task.id, 1.0) >= WANTED_RATE  # where the policy fails the least step is tried first
        return await _expand(ctx, seed, by_task.get(seed.task.id, []), branches[seed.id], longest, asked)

    trees: list[TreeRecord] = []
    size = wanted(ctx.agentic)
    for wave in range(WAVES):
        text = f"expanding behaviour trees{f', wave {wave + 1}' if wave else ''}"
        done = await ctx.map_items(seeds[:size], lambda s: s.id, expand, TreeRecord, f"trees-{wave}", text)
        trees += done.values()
        seeds = seeds[size:]
        found = different(trees)
        sides = balance.shares(found, ctx.agentic.max_tasks, float(ctx.agentic.legal_share))
        missing = sum(n for n in sides.values() if n > 0)
        if missing == 0 or not seeds:
            break
        size = math.ceil(missing * max(1, len(trees)) / max(1, len(found)))
    ctx.dropped["not-needed"] += len(seeds)
    grown = [g.branch for t in trees for g in t.branches]
    refused = sum((Counter(t.refused) for t in trees), Counter[str]())
    depths = [g.level for t in trees for g in t.branches]
    return StageResult(
        ExpandedResult(kinds=dict(sorted(Counter(b.kind.value for b in grown).items())), refused=dict(refused)),
        files=[OutputFile.of("trees.jsonl", TreeRecord, trees)],
        counts=ctx.counts(len(trees)),
        metrics={
            "branches": float(len(grown)),
            "depth": sum(depths) / len(depths) if depths else 0.0,
        },
    )


async def _expand(
    ctx: StageContext, seed: Seed, seen: list[Trajectory], branches: int, longest: bool, asked: Distinct
) -> TreeRecord:
    right = right_of(shelf_of(ctx), seed.task)
    rng = ctx.rng("offers", seed.id)
    most = branches * expansion.OFFERS_PER_BRANCH

    def known(found: Right) -> bool:
        return bool(asked.reason(seed.task.package, found))

    offered = await asyncio.to_thread(lambda: growth.offers(right, rng, most, known, longest))
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
    chosen, spare = expansion.chosen(right, answer, offered, branches, refused)
    lineage = seed.lineage.model_copy(
        update={
            "parent_ids": [seed.id, *(t.id for t in seen)],
            "operator": "expand",
            "round": ctx.config.owner.name,
            "standin": seed.lineage.standin or (await ctx.llm(Role.TEACHER).identify()).standin,
            "branch_path": list(seed.path),
        }
    )
    grown, others = ([_grown(seed, offer) for offer in found] for found in (chosen, spare))
    return TreeRecord(
        id=record_id("tree", seed.id, [g.dump() for g in grown]),
        lineage=lineage,
        seed=seed,
        observed=observed(seen),
        branches=grown,
        spare=others,
        refused=refused,
    )


def _grown(seed: Seed, offer: Offer) -> Grown:
    asks = near_right(seed.task.package, offer.right)
    case, level = dump_case(offer.right.case), offer.level(max(1, len(seed.path)))
    return Grown(branch=offer.branch, case=case, level=level, near=asks, steps=offer.depth.steps, legal=offer.legal)


def different(trees: Sequence[TreeRecord]) -> list[bool]:
    """The different tasks that the trees can make: whether each is allowed."""
    grown = {g.near: g.legal for t in trees for g in (*t.branches, *t.spare)}
    return [*grown.values(), *(t.seed.task.legal for t in trees if t.seed.fresh)]
