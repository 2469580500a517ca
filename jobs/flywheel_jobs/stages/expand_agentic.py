"""ExpandAgentic: behaviour trees from seeds and from what the policy did on them (docs/method.md)."""

from __future__ import annotations

from typing import Any

from flywheel_api.artifacts import ManifestKind
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import expansion, tree
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.endpoints.ask import ask, messages_for
from flywheel_jobs.envs import domain_of
from flywheel_jobs.harness.runner import OutputFile, StageContext, StageResult
from flywheel_jobs.records import record_id
from flywheel_jobs.records.agentic import TREE_SCHEMA, Seed, Trajectory, TreeRecord


async def run(ctx: StageContext) -> StageResult:
    """The stage. A tree that is still invalid after one repair is dropped and counted."""
    spec = ctx.spec.agentic
    if spec is None:
        raise ValidationFailure("ExpandAgentic without spec.agentic: nothing to expand")
    seeds = [Seed.model_validate(s) for s in ctx.records(Stage.SEED_AGENTIC, "seeds.jsonl")]
    by_task: dict[str, list[Trajectory]] = {}
    for row in ctx.records(Stage.SEED_AGENTIC, "rollouts.jsonl"):
        trajectory = Trajectory.model_validate(row)
        by_task.setdefault(trajectory.task_id, []).append(trajectory)

    async def expand(seed: Seed) -> dict[str, Any]:
        return (await _expand(ctx, seed, by_task.get(seed.task.id, []), spec.branches_per_tree)).dump()

    done = await ctx.map_items(seeds, lambda s: s.id, expand, "trees", "expanding behaviour trees")
    trees = [TreeRecord.model_validate(v) for v in done.values()]
    branches = [path for t in trees for path, _ in tree.walk(t.tree.branches)]
    return StageResult(
        ManifestKind.DATASET,
        files=[OutputFile("trees.jsonl", [t.dump() for t in trees], TREE_SCHEMA)],
        counts=ctx.counts(len(trees)),
        metrics={
            "branches": float(len(branches)),
            "depth": sum(map(len, branches)) / len(branches) if branches else 0.0,
        },
        details={"kinds": _kinds(trees)},
    )


async def _expand(ctx: StageContext, seed: Seed, seen: list[Trajectory], branches: int) -> TreeRecord:
    domain = domain_of(seed.domain)
    answer = await ask(
        ctx.llm(Role.TEACHER),
        messages_for(expansion.expand_instruction(), expansion.expand_payload(domain, seed, seen, branches)),
        tree.Tree,
        lambda t: tree.problems(t, domain, seed.path),
        "invalid-tree",
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
    found: dict[str, int] = {}
    for record in trees:
        for _, branch in tree.walk(record.tree.branches):
            found[branch.kind.value] = found.get(branch.kind.value, 0) + 1
    return dict(sorted(found.items()))
