"""ExpandAgentic: behaviour trees from seeds and from what the policy did on them (docs/method.md)."""

from __future__ import annotations

from collections import Counter

from flywheel_api.records.agentic import Seed, Tree, TreeRecord
from flywheel_api.records.base import record_id
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import ExpandedResult
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import expansion, tree
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.envs import domain_of
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult


async def run(ctx: StageContext) -> StageResult:
    """A tree for each seed; one that is still invalid after one repair is dropped and counted."""
    seeds = ctx.records(Stage.SEED_AGENTIC, "seeds.jsonl", Seed)
    by_task: dict[str, list[Trajectory]] = {}
    for trajectory in ctx.records(Stage.SEED_AGENTIC, "rollouts.jsonl", Trajectory):
        by_task.setdefault(trajectory.item, []).append(trajectory)

    async def expand(seed: Seed) -> TreeRecord:
        return await _expand(ctx, seed, by_task.get(seed.task.id, []), ctx.agentic.branches_per_tree)

    done = await ctx.map_items(seeds, lambda s: s.id, expand, TreeRecord, "trees", "expanding behaviour trees")
    trees = list(done.values())
    branches = [path for t in trees for path, _ in tree.walk(t.tree.branches)]
    return StageResult(
        ExpandedResult(kinds=_kinds(trees)),
        files=[OutputFile.of("trees.jsonl", TreeRecord, trees)],
        counts=ctx.counts(len(trees)),
        metrics={
            "branches": float(len(branches)),
            "depth": sum(map(len, branches)) / len(branches) if branches else 0.0,
        },
    )


async def _expand(ctx: StageContext, seed: Seed, seen: list[Trajectory], branches: int) -> TreeRecord:
    domain = domain_of(seed.domain)
    answer = await ask(
        ctx.llm(Role.TEACHER),
        messages_for(expansion.expand_instruction(), expansion.expand_payload(domain, seed, seen, branches)),
        Tree,
        "tree",
        lambda t: tree.problems(t, domain, seed.path),
        seed=ctx.seed("tree", seed.id),
    )
    lineage = seed.lineage.model_copy(
        update={
            "parent_ids": [seed.id, *(t.id for t in seen)],
            "operator": "expand",
            "round": ctx.config.owner.name,
            "standin": seed.lineage.standin or (await ctx.llm(Role.TEACHER).identify()).standin,
            "branch_path": list(seed.path),
        }
    )
    return TreeRecord(
        id=record_id("tree", seed.id, answer.model_dump(mode="json")),
        lineage=lineage,
        domain=seed.domain,
        persona=seed.persona,
        parent=list(seed.path),
        observed=expansion.observed(seen),
        tree=answer,
    )


def _kinds(trees: list[TreeRecord]) -> dict[str, int]:
    found = Counter(branch.kind.value for t in trees for _, branch in tree.walk(t.tree.branches))
    return dict(sorted(found.items()))
