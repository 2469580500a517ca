"""InvertAgentic: branches to tasks, balanced and statically checked (docs/method.md, "Inversion")."""

from __future__ import annotations

from collections import Counter

from flywheel_api.records.agentic import Task, TreeRecord
from flywheel_api.results import InvertedResult
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import balance, heldout
from flywheel_jobs.agentic.balance import Target
from flywheel_jobs.agentic.inversion import (
    INVERT,
    UserText,
    build_task,
    case_of,
    choose_key,
    text_problems,
    untraceable,
)
from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.envs import domain_of
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult


async def run(ctx: StageContext) -> StageResult:
    """A task for each chosen branch; those beyond `maxTasks` or the shares are counted as dropped too."""
    spec = ctx.agentic
    found = balance.targets(ctx.records(Stage.EXPAND_AGENTIC, "trees.jsonl", TreeRecord))
    chosen = balance.choose(found, spec.max_tasks, float(spec.legal_share), float(spec.trap_share), ctx.rng("balance"))

    async def invert(target: Target) -> Task:
        return await _invert(ctx, target)

    done = await ctx.map_items(chosen, lambda t: t.key, invert, Task, "tasks", "inverting branches into tasks")
    tasks, twins = _distinct(list(done.values()))
    dropped = {**ctx.dropped, "over-limit-or-share": len(found) - len(chosen), "duplicate": twins}
    return StageResult(
        InvertedResult(outcomes=Counter(t.outcome for t in tasks), kinds=Counter(t.kind for t in tasks)),
        files=[OutputFile.of("tasks.jsonl", Task, tasks)],
        counts=ctx.counts(len(tasks), dropped),
        metrics=shares(tasks),
    )


async def _invert(ctx: StageContext, target: Target) -> Task:
    record, branch = target.tree, target.branch
    domain, rng = domain_of(record.domain), ctx.rng("invert", target.key)
    key = choose_key(domain, rng, heldout.keys(domain, heldout=False))
    text = await ask(
        ctx.llm(Role.TEACHER),
        messages_for(INVERT, case_of(domain, branch, record.persona, key, target.push)),
        UserText,
        "user-text",
        lambda t: text_problems(t, domain, branch, key, target.push),
        seed=ctx.seed("text", target.key),
    )
    lineage = record.lineage.model_copy(
        update={
            "parent_ids": [record.id],
            "operator": "invert",
            "round": ctx.config.owner.name,
            "standin": record.lineage.standin or (await ctx.llm(Role.TEACHER).identify()).standin,
            "branch_path": [b.id for b in target.chain],
        }
    )
    task = build_task(domain, target.chain, record.persona, key, text, rng, lineage, target.push)
    if missing := untraceable(task, domain):
        raise ItemDropped("untraceable", ", ".join(missing))
    return task


def _distinct(tasks: list[Task]) -> tuple[list[Task], int]:
    """Tasks without those that ask the same of the same state, and how many those are."""
    seen: dict[tuple[str, str, bool], Task] = {}
    for task in tasks:
        seen.setdefault((task.user.task, task.outcome, task.legal), task)
    return list(seen.values()), len(tasks) - len(seen)


def shares(tasks: list[Task]) -> dict[str, float]:
    """What the balance came to, so that it is verified and not only asked for."""
    if not tasks:
        return {"legalShare": 0.0, "trapShare": 0.0, "depth": 0.0}
    illegal = [t for t in tasks if not t.legal]
    return {
        "legalShare": 1 - len(illegal) / len(tasks),
        "trapShare": sum(t.user.push for t in illegal) / len(illegal) if illegal else 0.0,
        "depth": sum(len(t.lineage.branch_path) for t in tasks) / len(tasks),
    }
