"""InvertAgentic: branches and their twins to tasks, balanced and new (docs/method.md, "Inversion")."""

from __future__ import annotations

import asyncio
from collections import Counter

from flywheel_api.records.agentic import Fingerprint, Task, TreeRecord
from flywheel_api.records.base import content_digest
from flywheel_api.records.reasoning import Persona
from flywheel_api.results import InvertedResult, PreparedResult, Track
from flywheel_api.round import AgenticSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import balance, kinds, words
from flywheel_jobs.agentic.distinct import Distinct
from flywheel_jobs.agentic.right import dump_case
from flywheel_jobs.agentic.rounds import ASKED
from flywheel_jobs.agentic.shelves import shelf_of
from flywheel_jobs.agentic.targets import Target, targets, twins_of
from flywheel_jobs.agentic.tasks import build_task
from flywheel_jobs.agentic.words import WORDS, UserText
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult

TWIN_SHARE = 0.25  # of the tasks, at most: each has its original beside it


async def run(ctx: StageContext) -> StageResult:
    """A task for each chosen branch; those beyond `maxTasks` or the shares are counted as dropped too."""
    spec = ctx.agentic
    found, chosen = await asyncio.to_thread(_chosen, ctx, spec)
    pushed = _pushed(ctx, chosen, float(spec.trap_share))

    async def invert(target: Target) -> Task:
        return await _invert(ctx, target, target.key in pushed)

    done = await ctx.map_items(chosen, lambda t: t.key, invert, Task, "tasks", "inverting branches into tasks")
    tasks = list(done.values())
    return StageResult(
        InvertedResult(outcomes=Counter(t.outcome for t in tasks), kinds=Counter(t.kind for t in tasks)),
        files=[OutputFile.of("tasks.jsonl", Task, tasks)],
        counts=ctx.counts(len(tasks), {**ctx.dropped, "over-limit-or-share": found}),
        metrics=shares(tasks),
    )


def _chosen(ctx: StageContext, spec: AgenticSpec) -> tuple[int, list[Target]]:
    """How many were left out, and those to make: new ones only, in their shares, with twins."""
    trees = ctx.records(Stage.EXPAND_AGENTIC, "trees.jsonl", TreeRecord)
    shelf = shelf_of(ctx)
    domains = {t.seed.task.package: shelf.domain(t.seed.task.package) for t in trees}
    suites = [s for s in ctx.result(Stage.PREPARE, PreparedResult).suites if s.track is Track.AGENTIC]
    held_out = [t for s in suites for t in ctx.records(Stage.PREPARE, s.path, Task)]
    distinct = Distinct(ctx.records(Stage.SEED_AGENTIC, ASKED, Fingerprint), held_out)
    new = []
    people = ctx.records(Stage.PREPARE, "seeds/personas.jsonl", Persona)
    ctx.rng("personas").shuffle(people)
    for target in targets(trees, domains, people, ctx.rng("speakers")):
        reason = distinct.add(target.package, dump_case(target.right.case))
        if reason:
            ctx.dropped[reason] += 1
        else:
            new.append(target)
    limit = max(1, round(spec.max_tasks * (1 - TWIN_SHARE)))
    kept = balance.choose(
        new, limit, float(spec.legal_share), lambda t: kinds.legal(t.right), lambda t: t.stratum, lambda t: t.persona.id
    )
    chosen = []
    for target in twins_of(kept, ctx.rng("twins"), spec.max_tasks):
        reason = distinct.add(target.package, dump_case(target.right.case)) if target.of else ""
        if reason:
            ctx.dropped[reason] += 1
        else:
            chosen.append(target)
    return len(new) - len(kept), chosen


def _pushed(ctx: StageContext, chosen: list[Target], share: float) -> set[str]:
    """Journal keys of tasks whose wish is not allowed and whose user insists."""
    illegal = [t for t in chosen if not kinds.legal(t.right)]
    return {illegal[n].key for n in balance.pushed(illegal, share, ctx.rng("pushes"))}


async def _invert(ctx: StageContext, target: Target, push: bool) -> Task:
    record, persona = target.tree, target.persona
    said = target.said or target.right
    text = await ask(
        ctx.llm(Role.TEACHER),
        messages_for(WORDS, words.payload(said, persona)),
        UserText,
        "user-text",
        lambda t: words.problems(t, said),
        seed=ctx.seed("text", target.of if said is not target.right else target.key),
    )
    lineage = record.lineage.model_copy(
        update={
            "parent_ids": [record.id],
            "operator": "twin" if target.of else "invert",
            "round": ctx.config.owner.name,
            "persona_id": persona.id,
            "template": target.right.case.wants[0].wish,
            "standin": record.lineage.standin or (await ctx.llm(Role.TEACHER).identify()).standin,
            "branch_path": [b.id for b in target.chain],
        }
    )
    others = [right for right in target.pair if right is not target.right]
    pushes = words.pushes(target.right) if push else 0
    return build_task(target.package, target.right, persona, text, lineage, target.chain, others, pushes)


def shares(tasks: list[Task]) -> dict[str, float]:
    """What the balance came to, so that it is verified and not only asked for."""
    if not tasks:
        return {"legalShare": 0.0, "trapShare": 0.0, "depth": 0.0}
    illegal = [t for t in tasks if not t.legal]
    said = {content_digest(t.right.calls and [c.dump() for c in t.right.calls], t.right.proof) for t in tasks}
    return {
        "legalShare": 1 - len(illegal) / len(tasks),
        "trapShare": sum(t.user.push or bool(t.right.traps) for t in illegal) / len(illegal) if illegal else 0.0,
        "depth": sum(t.depth.branch for t in tasks if t.depth) / len(tasks),
        "pathLength": sum(len(t.right.calls) for t in tasks) / len(tasks),
        "rules": sum(len(t.rule_ids) for t in tasks) / len(tasks),
        "distinctProofs": float(len(said)),
        "personas": float(len({t.lineage.persona_id for t in tasks})),
        "twins": sum(t.lineage.operator == "twin" for t in tasks) / len(tasks),
    }
