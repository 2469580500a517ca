"""SeedAgentic: what the trees grow from, and what the policy does on it.

A first round makes linear workflows from training personas and samples the policy on them. Later rounds take the tasks
of the round before with the rollouts that its training kept, so that the tasks of a round seed the next
(docs/method.md, "Workflows" and "Rounds").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from flywheel_api.presets import rollout_temperature
from flywheel_api.records.agentic import Seed, Task, Workflow
from flywheel_api.records.base import Lineage, record_id
from flywheel_api.records.reasoning import Persona
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import SeededResult, Track
from flywheel_api.round import AgenticSpec, Role, SeedMode
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import drive, expansion, heldout
from flywheel_jobs.agentic.inversion import INVERT, UserText, build_task, case_of, choose_key, text_problems
from flywheel_jobs.agentic.rounds import previous_seeds
from flywheel_jobs.endpoints.structured import ask, messages_for
from flywheel_jobs.envs import domain_of
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult

ROLLOUTS_PER_SEED = 4


@dataclass(frozen=True)
class Plan:
    """One seed to make."""

    domain: str
    persona: Persona
    index: int

    @property
    def key(self) -> str:
        """Journal key."""
        return f"{self.domain}/{self.persona.id}"


def plans(spec: AgenticSpec, personas: list[Persona], shuffled: list[int]) -> list[Plan]:
    """The seeds of a first round, domains in turn."""
    pairs = [(d.name, personas[i]) for i in shuffled for d in spec.domains]
    return [Plan(domain, persona, n) for n, (domain, persona) in enumerate(pairs[: wanted(spec)])]


def wanted(spec: AgenticSpec) -> int:
    """As many seeds as `maxTasks` can use: each gives `branchesPerTree` tasks and its own."""
    return math.ceil(spec.max_tasks / (spec.branches_per_tree + 1))


def most_mixed(seeds: list[Seed], rollouts: list[Trajectory], limit: int) -> list[Seed]:
    """At most `limit` seeds of the round before, those first that the policy solved about half of the time."""
    scores: dict[str, list[float]] = {}
    for trajectory in rollouts:
        scores.setdefault(trajectory.item, []).append(trajectory.score or 0.0)
    distance = {task: abs(sum(values) / len(values) - 0.5) for task, values in scores.items()}
    return sorted(seeds, key=lambda s: (distance.get(s.task.id, 1.0), s.id))[:limit]


async def run(ctx: StageContext) -> StageResult:
    """Seeds with rollouts: those of the base round's training, or fresh ones that the policy is sampled on."""
    spec = ctx.agentic
    seeds, collected = previous_seeds(ctx)
    if seeds:
        kept = most_mixed(seeds, collected, wanted(spec))
        ctx.dropped["over-limit"] += len(seeds) - len(kept)
        ids = {s.task.id for s in kept}
        seeds, rollouts = kept, [t for t in collected if t.item in ids]
    else:
        seeds = await _fresh(ctx, spec)
        rollouts = [] if spec.seed_mode is SeedMode.TREE else await _collect(ctx, seeds)
    return StageResult(
        SeededResult(end_groups=expansion.observed(rollouts)),
        files=[
            OutputFile.of("seeds.jsonl", Seed, seeds),
            OutputFile.of("rollouts.jsonl", Trajectory, rollouts),
        ],
        counts=ctx.counts(len(seeds)),
        metrics={
            "rollouts": float(len(rollouts)),
            "success": sum(t.score or 0.0 for t in rollouts) / len(rollouts) if rollouts else 0.0,
            "depth": sum(len(s.path) for s in seeds) / len(seeds) if seeds else 0.0,
        },
    )


async def _fresh(ctx: StageContext, spec: AgenticSpec) -> list[Seed]:
    personas = ctx.records(Stage.PREPARE, "seeds/personas.jsonl", Persona)
    order = list(range(len(personas)))
    ctx.rng("personas").shuffle(order)

    async def make(plan: Plan) -> Seed:
        return await _seed(ctx, plan, spec.seed_mode)

    wanted_plans = plans(spec, personas, order)
    done = await ctx.map_items(wanted_plans, lambda p: p.key, make, Seed, "seeds", "writing seed workflows")
    return list(done.values())


async def _seed(ctx: StageContext, plan: Plan, mode: SeedMode) -> Seed:
    domain, teacher = domain_of(plan.domain), ctx.llm(Role.TEACHER)
    rng = ctx.rng("seed", plan.key)
    workflow = await ask(
        teacher,
        messages_for(expansion.SEED, expansion.seed_payload(domain, plan.persona, plan.index)),
        expansion.Workflow,
        "workflow",
        lambda w: expansion.workflow_problems(w, domain),
        seed=ctx.seed("workflow", plan.key),
    )
    branch, key = expansion.seed_branch(workflow), choose_key(domain, rng, heldout.keys(domain, heldout=False))
    text = await ask(
        teacher,
        messages_for(INVERT, case_of(domain, branch, plan.persona, key, push=False)),
        UserText,
        "user-text",
        lambda t: text_problems(t, domain, branch, key, push=False),
        seed=ctx.seed("text", plan.key),
    )
    lineage = Lineage(
        parent_ids=[plan.persona.id],
        round=ctx.config.owner.name,
        operator=f"seed-{mode.value.lower()}",
        persona_id=plan.persona.id,
        branch_path=[branch.id],
        standin=(await teacher.identify()).standin,
    )
    task = build_task(domain, [branch], plan.persona, key, text, rng, lineage)
    return Seed(
        id=record_id("seed", task.id),
        lineage=lineage,
        domain=domain.name,
        persona=plan.persona,
        workflow=Workflow.model_validate(workflow.model_dump()),
        task=task,
    )


async def _collect(ctx: StageContext, seeds: list[Seed]) -> list[Trajectory]:
    """Rollouts of the policy on the seeds' tasks, none of which needs a user."""
    jobs = [(s.task, n) for s in seeds for n in range(ROLLOUTS_PER_SEED)]
    temperature = rollout_temperature(ctx.spec, Track.AGENTIC)

    async def sample(job: tuple[Task, int]) -> Trajectory:
        task, n = job
        seed = ctx.seed("rollout", task.id, n)
        episode = await drive.run(task, ctx.llm(Role.POLICY), temperature=temperature, seed=seed)
        lineage = task.lineage.model_copy(update={"parent_ids": [task.id], "operator": "collect"})
        return drive.trajectory(task, episode, Role.POLICY, n, lineage)

    text = "sampling the policy on seeds"
    done = await ctx.map_items(jobs, lambda j: f"{j[0].id}/{j[1]}", sample, Trajectory, "rollouts", text)
    return list(done.values())
