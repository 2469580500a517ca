"""InvertAgentic: branches and their twins to tasks, balanced and new (docs/method.md, "Inversion")."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from flywheel_api.capacity.whole import RESERVE_SHARE
from flywheel_api.records.agentic import BranchKind, Fingerprint, Task, TreeRecord
from flywheel_api.records.base import Lineage, content_digest
from flywheel_api.records.reasoning import Persona
from flywheel_api.results import InvertedResult, PreparedResult, Track
from flywheel_api.round import AgenticSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import balance, words
from flywheel_jobs.agentic.distinct import Distinct
from flywheel_jobs.agentic.drawing import Side, draw_cases
from flywheel_jobs.agentic.rounds import ASKED, RESERVE
from flywheel_jobs.agentic.shelves import pins, shelf_of
from flywheel_jobs.agentic.targets import Target, drawn, spoken, targets, twins_of
from flywheel_jobs.agentic.tasks import build_task
from flywheel_jobs.agentic.words import WORDS, UserText
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.core.turns import in_turn
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult

TWIN_SHARE = 0.25  # of the tasks, at most: each has its original beside it
DRAWS = 4  # plain cases that are drawn for each that is wanted, at most: some are of the other side, some were asked
SHORT = "no more tasks were found that nobody was asked before: name more domains, or lower maxTasks"
log = get_logger(__name__)


async def run(ctx: StageContext) -> StageResult:
    """A task for each chosen branch, and a reserve for those that are not solved; if there are fewer than wanted, why.

    Branches beyond `maxTasks` are counted as dropped, whether in reserve or not.
    """
    spec = ctx.agentic
    left, chosen, reserve = await asyncio.to_thread(_chosen, ctx, spec)
    pushed = {key for part in (chosen, reserve) for key in _pushed(ctx, part, float(spec.trap_share))}

    async def invert(target: Target) -> Task:
        return await _invert(ctx, target, target.key in pushed)

    every = [*chosen, *reserve]
    done = await ctx.map_items(every, lambda t: t.key, invert, Task, "tasks", "inverting branches into tasks")
    made = list(done.values())
    tasks, spare = made[: len(chosen)], made[len(chosen) :]
    if len(chosen) < spec.max_tasks:
        log.warning("fewer tasks than maxTasks", tasks=len(chosen), max_tasks=spec.max_tasks, why=SHORT, **ctx.dropped)
    return StageResult(
        InvertedResult(outcomes=Counter(t.outcome for t in tasks), kinds=Counter(t.kind for t in tasks)),
        files=[OutputFile.of("tasks.jsonl", Task, tasks), OutputFile.of(RESERVE, Task, spare)],
        counts=ctx.counts(len(tasks), {**ctx.dropped, "over-limit": left}),
        metrics=shares(tasks),
    )


def _chosen(ctx: StageContext, spec: AgenticSpec) -> tuple[int, list[Target], list[Target]]:
    """How many branches were left out, those to make (new ones only, in their shares, with twins), and a reserve."""
    trees = ctx.records(Stage.EXPAND_AGENTIC, "trees.jsonl", TreeRecord)
    shelf = shelf_of(ctx)
    domains = {t.seed.task.package: shelf.domain(t.seed.task.package) for t in trees}
    suites = [s for s in ctx.result(Stage.PREPARE, PreparedResult).suites if s.track is Track.AGENTIC]
    held_out = [t for s in suites for t in ctx.records(Stage.PREPARE, s.path, Task)]
    distinct = Distinct(ctx.records(Stage.SEED_AGENTIC, ASKED, Fingerprint), held_out)
    people = ctx.records(Stage.PREPARE, "seeds/personas.jsonl", Persona)
    ctx.rng("personas").shuffle(people)
    pools = [_new(ctx, distinct, found) for found in targets(trees, domains)]
    limit = max(1, round(spec.max_tasks * (1 - TWIN_SHARE)))
    size = spec.max_tasks + math.ceil(spec.max_tasks * RESERVE_SHARE)
    pools.append(_drawn(ctx, spec, distinct, people, pools, size))
    kept = _balanced(pools, limit, spec)
    alone = spoken(kept, people, ctx.rng("speakers"))
    pairs = twins_of(alone, ctx.rng("twins"), spec.max_tasks, float(spec.legal_share))
    chosen = [t for t in pairs if not t.of or not _repeat(ctx, distinct, t)]
    chosen += _more(ctx, pools, spec.max_tasks - len(chosen), chosen, people)  # where twins leave room
    reserve = _more(ctx, pools, size - len(chosen), chosen, people)
    keys = {t.key for t in chosen}
    return sum(t.key not in keys for t in pools[0]), chosen, reserve


def _more(
    ctx: StageContext, pools: Sequence[Sequence[Target]], size: int, beside: Sequence[Target], people: Sequence[Persona]
) -> list[Target]:
    """So many of what is left beside others, by personas who did not speak yet."""
    keys, spoke = {t.key for t in beside}, {t.persona.id for t in beside}
    left = [[t for t in pool if t.key not in keys] for pool in pools]
    silent = [person for person in people if person.id not in spoke]
    return spoken(_balanced(left, size, ctx.agentic, beside), silent or people, ctx.rng("more"))


def _drawn(
    ctx: StageContext,
    spec: AgenticSpec,
    distinct: Distinct,
    people: Sequence[Persona],
    pools: Sequence[Sequence[Target]],
    size: int,
) -> list[Target]:
    """Plain cases for what trees leave open of the legal and of the other tasks, and one of each kind that none has.

    Domains in turn, within bounds.
    """
    missing = balance.shares((t.legal for pool in pools for t in pool), size, float(spec.legal_share))
    there = {t.kind for pool in pools for t in pool}
    kinds = min(round(spec.max_tasks * (1 - TWIN_SHARE) * float(spec.fresh_share)), len(set(BranchKind) - there))
    wanted = sum(n for n in missing.values() if n > 0) + kinds
    if wanted == 0:
        return []
    shelf, by_name = shelf_of(ctx), pins(ctx)
    lineage = Lineage(operator="draw", round=ctx.config.owner.name)
    streams = []
    for name in (ref.name for ref in spec.domains):
        seed = f"{ctx.spec.seed}/{distinct.so_far}/{name}/more"
        cases = draw_cases(shelf.domain(by_name[name]), Side.TRAINING, seed, DRAWS * wanted)
        streams.append(drawn(cases, by_name[name], lineage, people))
    found = []
    for target in in_turn(*streams):
        new = kinds > 0 and target.kind not in there
        if (new or missing[target.legal] > 0) and not _repeat(ctx, distinct, target):
            missing[target.legal] -= 1
            kinds -= new
            there.add(target.kind)
            found.append(target)
        if max(*missing.values(), kinds) <= 0:
            break
    return found


def _balanced(
    pools: Sequence[Sequence[Target]], limit: int, spec: AgenticSpec, beside: Sequence[Target] = ()
) -> list[Target]:
    """So many of them: legal ones in their share, domains and kinds in turn, within a kind trees in turn.

    Of a tree's branches of a kind the one with the longest right way comes first: left to themselves tasks grow short,
    for each kind has some that end at the first call. What has the workflow of another one comes last, of any kind.
    """
    pools = [sorted(pool, key=lambda t: t.steps, reverse=True) for pool in pools]
    first = balance.first_of(chain.from_iterable(pools), lambda t: t.right.workflow, (t.right.workflow for t in beside))
    new = {t.key for t in first}
    groups = (lambda t: t.right.domain.domain, lambda t: t.kind)
    kept: list[Target] = []
    for side in (True, False):
        part = [[t for t in pool if (t.key in new) is side] for pool in pools]
        room, there = limit - len(kept), [*beside, *kept]
        share = float(spec.legal_share)
        kept += balance.choose(part, room, share, lambda t: t.legal, groups, (lambda t: t.parent,), there)
    return kept


def _new(ctx: StageContext, distinct: Distinct, found: Sequence[Target]) -> list[Target]:
    """Those that ask what nobody was asked before; the others are counted."""
    return [target for target in found if not _repeat(ctx, distinct, target)]


def _repeat(ctx: StageContext, distinct: Distinct, target: Target) -> str:
    reason = distinct.add(target.package, target.right)
    if reason:
        ctx.dropped[reason] += 1
    return reason


def _pushed(ctx: StageContext, chosen: list[Target], share: float) -> set[str]:
    """Journal keys of tasks whose wish is not allowed and whose user insists."""
    illegal = [t for t in chosen if not t.legal]
    return {illegal[n].key for n in balance.pushed(illegal, share, ctx.rng("pushes"))}


async def _invert(ctx: StageContext, target: Target, push: bool) -> Task:
    persona = target.persona
    said = target.said or target.right
    text = await ask(
        ctx.llm(Role.TEACHER),
        messages_for(WORDS, words.payload(said, persona)),
        UserText,
        "user-text",
        lambda t: words.problems(t, said),
        seed=ctx.seed("text", target.of if said is not target.right else target.key),
    )
    lineage = target.lineage.model_copy(
        update={
            "parent_ids": [target.parent],
            "operator": "twin" if target.of else "invert",
            "round": ctx.config.owner.name,
            "persona_id": persona.id,
            "template": target.right.case.wants[0].wish,
            "standin": target.lineage.standin or (await ctx.llm(Role.TEACHER).identify()).standin,
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
