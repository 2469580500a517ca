"""SolveAgentic: keeps tasks that a strong model solves on the intended branch and that lie in the policy's band.

Acceptance is computed from the environment: the branch was hit, the database differs exactly as expected, nothing of
the trap was done, and every argument is traceable (docs/method.md, "Acceptance"). Rejections are counted by the first
check that failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from flywheel_api.base import StatusModel
from flywheel_api.presets import rollout_temperature
from flywheel_api.records.agentic import Task
from flywheel_api.records.base import PassRate
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import SolvedResult, Track
from flywheel_api.round import AgenticSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import accept, drive
from flywheel_jobs.core.errors import ItemDropped
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult

SOLVER_TOKENS = 1024
TOO_HARD, TOO_EASY = "too-hard-for-policy", "too-easy-for-policy"


class Solution(StatusModel):
    """The attempts at a task, the last of which decides."""

    attempts: list[Trajectory] = Field(description="All attempts in order, each with its verdict.")

    @property
    def verdict(self) -> str:
        """`accepted`, or why not."""
        return self.attempts[-1].verdict


async def run(ctx: StageContext) -> StageResult:
    """Accepted tasks and all attempts; tasks that need a user go to dialogues.jsonl, since training has none."""
    spec = ctx.agentic
    tasks = ctx.records(Stage.INVERT_AGENTIC, "tasks.jsonl", Task)

    async def solve(task: Task) -> Solution:
        return Solution(attempts=await attempt(ctx, task, spec))

    done = await ctx.map_items(tasks, lambda t: t.id, solve, Solution, "attempts", "solving tasks")
    attempts = [a for solution in done.values() for a in solution.attempts]
    rejected = Counter(ctx.dropped)
    rejected.update(s.verdict for s in done.values() if s.verdict != accept.ACCEPTED)
    solved = [t for t in tasks if t.id in done and done[t.id].verdict == accept.ACCEPTED]
    kept, outside = await in_band(ctx, solved, spec)
    alone = [t for t in kept if t.single_turn]
    dialogues = [t for t in kept if not t.single_turn]
    return StageResult(
        SolvedResult(outcomes=Counter(t.outcome for t in alone), dialogues=len(dialogues)),
        files=[
            OutputFile.of("tasks.jsonl", Task, alone),
            OutputFile.of("dialogues.jsonl", Task, dialogues),
            OutputFile.of("attempts.jsonl", Trajectory, attempts),
        ],
        counts=ctx.counts(len(kept), rejected + outside),
        metrics={"solved": len(solved) / len(tasks) if tasks else 0.0, **advised(attempts)},
    )


async def attempt(ctx: StageContext, task: Task, spec: AgenticSpec) -> list[Trajectory]:
    """Attempts of the solver until one is accepted; all of them are kept with their verdicts."""
    made: list[Trajectory] = []
    lineage = task.lineage.model_copy(update={"parent_ids": [task.id], "operator": "solve"})
    for n in range(spec.solver.attempts):
        episode = await drive.run(
            task,
            ctx.llm(Role.SOLVER),
            ctx.llm(Role.USER_SIMULATOR) if task.user.replies else None,
            max_turns=spec.solver.max_turns,
            max_tokens=SOLVER_TOKENS,
            seed=ctx.seed("solve", task.id, n),
        )
        verdict = accept.verdict(task, episode, spec.acceptance)
        advice = accept.advice(task, episode, spec.acceptance)
        one = drive.trajectory(task, episode, Role.SOLVER, n, lineage)
        made.append(one.model_copy(update={"verdict": verdict, "advice": advice}))
        if verdict == accept.ACCEPTED:
            break
    return made


async def in_band(ctx: StageContext, tasks: list[Task], spec: AgenticSpec) -> tuple[list[Task], Counter[str]]:
    """Tasks whose pass rate under the policy lies in the band, with that rate; and how many lie outside, by side.

    Without samples every task passes unmeasured. A group of equal rewards has no gradient under GRPO, so a band that
    excludes 0 and 1 saves the compute of such groups.
    """
    band = spec.difficulty
    if band.samples == 0:
        return tasks, Counter()
    low, high = float(band.low), float(band.high)
    temperature = rollout_temperature(ctx.spec, Track.AGENTIC)

    async def measure(task: Task) -> PassRate:
        passed = 0
        for n in range(band.samples):
            episode = await drive.run(
                task,
                ctx.llm(Role.POLICY),
                ctx.llm(Role.USER_SIMULATOR) if task.user.replies else None,
                temperature=temperature,
                seed=ctx.seed("band", task.id, n),
            )
            passed += drive.trajectory(task, episode, Role.POLICY, n, task.lineage).success
        rate = passed / band.samples
        if not low <= rate <= high:
            raise ItemDropped(TOO_HARD if rate < low else TOO_EASY, f"{passed} of {band.samples}")
        return PassRate(n=band.samples, k=passed)

    before = Counter(ctx.dropped)
    done = await ctx.map_items(tasks, lambda t: t.id, measure, PassRate, "band", "measuring difficulty with the policy")
    rated = [t.model_copy(update={"policy_pass": done[t.id]}) for t in tasks if t.id in done]
    return rated, ctx.dropped - before


def advised(attempts: Sequence[Trajectory]) -> dict[str, float]:
    """`advisory-branch-missed: 3`: accepted attempts that failed an advisory check, by the check's word."""
    words = Counter(word for a in attempts if a.verdict == accept.ACCEPTED for word in a.advice)
    return {f"advisory-{word}": float(n) for word, n in sorted(words.items())}
