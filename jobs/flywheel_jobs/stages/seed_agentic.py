"""SeedAgentic: what the trees grow from, and what the policy does on it.

A first round draws cases of every domain, rule by rule, and samples the policy on them. Later rounds take the tasks of
the round before with the rollouts that its training kept, failures first, and `freshShare` of new cases and personas
beside them (docs/method.md, "Workflows" and "Rounds").
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass

from flywheel_api.presets import rollout_temperature
from flywheel_api.records.agentic import Fingerprint, Seed, Task
from flywheel_api.records.base import Lineage, record_id
from flywheel_api.records.reasoning import Persona
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import PreparedResult, SeededResult, Track
from flywheel_api.round import AgenticSpec, Role, SeedMode
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import balance, drive, kinds, words
from flywheel_jobs.agentic.distinct import Distinct
from flywheel_jobs.agentic.drawing import Side, draw_cases
from flywheel_jobs.agentic.observed import observed
from flywheel_jobs.agentic.right import Right, right_of
from flywheel_jobs.agentic.rounds import ASKED, Before, before, failed_first, wanted
from flywheel_jobs.agentic.shelves import pins, shelf_of
from flywheel_jobs.agentic.tasks import build_task
from flywheel_jobs.agentic.words import WORDS, UserText
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult

ROLLOUTS_PER_SEED = 4
SPARE = 4  # trees that can grow, for each that is to: some offer little that was not asked before
MORE = 3  # cases that are drawn for each fresh seed, at most: some were asked before


@dataclass(frozen=True)
class Plan:
    """One seed to make: a case of a domain, for a persona."""

    domain: str
    package: str
    right: Right
    persona: Persona
    number: int

    @property
    def key(self) -> str:
        """Journal key."""
        return f"{self.domain}/{self.number}"


def fresh_wanted(spec: AgenticSpec, grown: int) -> int:
    """How many new seeds stand beside those that grow: all of them in a first round."""
    most = wanted(spec)
    return max(math.ceil(float(spec.fresh_share) * most), most - grown) if grown else most


async def run(ctx: StageContext) -> StageResult:
    """Seeds with rollouts: those of the base round's training, and fresh ones that the policy is sampled on."""
    spec = ctx.agentic
    past = await asyncio.to_thread(before, ctx, pins(ctx))
    n_fresh = fresh_wanted(spec, len(past.seeds))
    first = wanted(spec) - n_fresh
    grown = failed_first(past.seeds, past.rollouts, first, SPARE * first, float(spec.legal_share))
    ctx.dropped["over-limit"] += len(past.seeds) - len(grown)
    ids = {s.task.id for s in grown}
    fresh = await _fresh(ctx, spec, past, n_fresh)
    collected = [] if spec.seed_mode is SeedMode.TREE else await _collect(ctx, fresh)
    seeds, rollouts = (
        [*grown[:first], *fresh, *grown[first:]],
        [*(t for t in past.rollouts if t.item in ids), *collected],
    )
    return StageResult(
        SeededResult(end_groups=observed(rollouts), fresh=len(fresh)),
        files=[
            OutputFile.of("seeds.jsonl", Seed, seeds),
            OutputFile.of("rollouts.jsonl", Trajectory, rollouts),
            OutputFile.of(ASKED, Fingerprint, past.asked),
        ],
        counts=ctx.counts(len(seeds)),
        metrics={
            "rollouts": float(len(rollouts)),
            "success": sum(t.score or 0.0 for t in rollouts) / len(rollouts) if rollouts else 0.0,
            "depth": sum(max(1, len(s.path)) for s in seeds) / len(seeds) if seeds else 0.0,
            "fresh": float(len(fresh)),
        },
    )


async def _fresh(ctx: StageContext, spec: AgenticSpec, past: Before, n: int) -> list[Seed]:
    plans = await asyncio.to_thread(_plans, ctx, spec, past, n)

    async def make(plan: Plan) -> Seed:
        return await _seed(ctx, plan, spec.seed_mode)

    done = await ctx.map_items(plans, lambda p: p.key, make, Seed, "seeds", "writing seed workflows")
    return list(done.values())


def _plans(ctx: StageContext, spec: AgenticSpec, past: Before, n: int) -> list[Plan]:
    """Cases that nobody was asked before, domains in turn, personas in turn: those first that did not speak yet.

    Allowed ones in their share, and rather more of them: below a refused wish hardly any branch is allowed.
    """
    people = ctx.records(Stage.PREPARE, "seeds/personas.jsonl", Persona)
    ctx.rng("personas").shuffle(people)
    spoke = {s.lineage.persona_id for s in past.seeds}
    people.sort(key=lambda p: p.id in spoke)
    suites = [s for s in ctx.result(Stage.PREPARE, PreparedResult).suites if s.track is Track.AGENTIC]
    held_out = [t for s in suites for t in ctx.records(Stage.PREPARE, s.path, Task)]
    distinct = Distinct(past.asked, held_out)
    shelf, by_name = shelf_of(ctx), pins(ctx)
    streams = []
    for ref in spec.domains:
        seed = f"{ctx.spec.seed}/{distinct.so_far}/{ref.name}"
        drawn = draw_cases(shelf.domain(by_name[ref.name]), Side.TRAINING, seed, MORE * n)
        streams.append((ref.name, by_name[ref.name], drawn))
    missing = balance.shares((), n, math.ceil(n * float(spec.legal_share)) / n if n else 0.0)
    found: list[tuple[str, str, Right]] = []
    others: list[tuple[str, str, Right]] = []
    while streams and len(found) < n:
        for stream in list(streams):
            name, package, drawn = stream
            right = next(drawn, None)
            if right is None:
                streams.remove(stream)
            elif reason := distinct.add(package, right):
                ctx.dropped[reason] += 1
            else:
                side = kinds.legal(right)
                (found if missing[side] > 0 else others).append((name, package, right))
                missing[side] -= 1
    return [Plan(*case, people[at % len(people)], at) for at, case in enumerate([*found, *others][:n])]


async def _seed(ctx: StageContext, plan: Plan, mode: SeedMode) -> Seed:
    teacher, right = ctx.llm(Role.TEACHER), plan.right
    text = await ask(
        teacher,
        messages_for(WORDS, words.payload(right, plan.persona)),
        UserText,
        "user-text",
        lambda t: words.problems(t, right),
        seed=ctx.seed("text", plan.key),
    )
    lineage = Lineage(
        parent_ids=[plan.persona.id],
        round=ctx.config.owner.name,
        operator=f"seed-{mode.value.lower()}",
        persona_id=plan.persona.id,
        template=right.case.wants[0].wish,
        standin=(await teacher.identify()).standin,
    )
    task = build_task(plan.package, right, plan.persona, text, lineage)
    return Seed(id=record_id("seed", task.id), lineage=lineage, persona=plan.persona, task=task)


async def _collect(ctx: StageContext, seeds: list[Seed]) -> list[Trajectory]:
    """Rollouts of the policy on the seeds' tasks; a program plays the user, as it does in training."""
    jobs = [(s.task, n) for s in seeds for n in range(ROLLOUTS_PER_SEED)]
    temperature, shelf = rollout_temperature(ctx.spec, Track.AGENTIC), shelf_of(ctx)

    async def sample(job: tuple[Task, int]) -> Trajectory:
        task, n = job
        seed = ctx.seed("rollout", task.id, n)
        right = right_of(shelf, task)
        episode = await drive.run(task, right, ctx.llm(Role.POLICY), temperature=temperature, seed=seed)
        lineage = task.lineage.model_copy(update={"parent_ids": [task.id], "operator": "collect"})
        return drive.trajectory(task, episode, Role.POLICY, n, lineage)

    text = "sampling the policy on seeds"
    done = await ctx.map_items(jobs, lambda j: f"{j[0].id}/{j[1]}", sample, Trajectory, "rollouts", text)
    return list(done.values())
