"""SolveAgentic: keeps tasks that a strong model solves on the intended branch, and, if asked, those in the policy's
band.

Acceptance is computed from the environment: the branch was hit, the database differs exactly as expected, nothing of
the trap was done, and every argument is traceable (docs/method.md, "Acceptance"). Rejections are counted by the first
check that failed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from flywheel_api.artifacts import ManifestKind
from flywheel_api.round import AgenticSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import accept, drive
from flywheel_jobs.agentic.rounds import training_temperature
from flywheel_jobs.core.errors import ItemDropped, ValidationFailure
from flywheel_jobs.harness.runner import OutputFile, StageContext, StageResult
from flywheel_jobs.records import PassRate
from flywheel_jobs.records.agentic import TASK_SCHEMA, TRAJECTORY_SCHEMA, Task, Trajectory

SOLVER_TOKENS = 1024
TOO_HARD, TOO_EASY = "too-hard-for-policy", "too-easy-for-policy"


async def run(ctx: StageContext) -> StageResult:
    """The stage. Accepted tasks that need a user in the conversation go to dialogues.jsonl: training has none."""
    spec = ctx.spec.agentic
    if spec is None:
        raise ValidationFailure("SolveAgentic without spec.agentic: nothing to solve")
    tasks = [Task.model_validate(t) for t in ctx.records(Stage.INVERT_AGENTIC, "tasks.jsonl")]

    async def solve(task: Task) -> dict[str, Any]:
        attempts = await attempt(ctx, task, spec)
        return {"attempts": [a.dump() for a in attempts], "verdict": attempts[-1].verdict}

    done = await ctx.map_items(tasks, lambda t: t.id, solve, "attempts", "solving tasks")
    attempts = [a for value in done.values() for a in value["attempts"]]
    rejected: dict[str, int] = dict(ctx.dropped)
    for value in done.values():
        if value["verdict"] != "accepted":
            rejected[value["verdict"]] = rejected.get(value["verdict"], 0) + 1
    solved = [t for t in tasks if done.get(t.id, {}).get("verdict") == "accepted"]
    kept, outside = await in_band(ctx, solved, spec)
    alone = [t for t in kept if t.single_turn]
    dialogues = [t for t in kept if not t.single_turn]
    return StageResult(
        ManifestKind.DATASET,
        files=[
            OutputFile("tasks.jsonl", [t.dump() for t in alone], TASK_SCHEMA),
            OutputFile("dialogues.jsonl", [t.dump() for t in dialogues], TASK_SCHEMA),
            OutputFile("attempts.jsonl", attempts, TRAJECTORY_SCHEMA),
        ],
        counts=ctx.counts(len(kept), {**rejected, **outside}),
        metrics={"solved": len(solved) / len(tasks) if tasks else 0.0, **advised(attempts)},
        details={"outcomes": _count(alone), "dialogues": len(dialogues)},
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
        made.append(
            drive.trajectory(task, episode, "Solver", n, lineage, verdict).model_copy(update={"advice": advice})
        )
        if verdict == "accepted":
            break
    return made


async def in_band(ctx: StageContext, tasks: list[Task], spec: AgenticSpec) -> tuple[list[Task], dict[str, int]]:
    """Tasks whose pass rate under the policy lies in the band, with that rate; and how many lie outside, by side.

    Without samples every task passes unmeasured. A group of equal rewards has no gradient under GRPO, so a band that
    excludes 0 and 1 saves the compute of such groups.
    """
    band = spec.difficulty
    if band.samples == 0:
        return tasks, {}
    low, high = float(band.low), float(band.high)

    async def measure(task: Task) -> dict[str, Any]:
        passed = 0
        for n in range(band.samples):
            episode = await drive.run(
                task,
                ctx.llm(Role.POLICY),
                ctx.llm(Role.USER_SIMULATOR) if task.user.replies else None,
                temperature=training_temperature(ctx.spec),
                seed=ctx.seed("band", task.id, n),
            )
            passed += drive.trajectory(task, episode, "Policy", n, task.lineage).score >= 1.0
        rate = passed / band.samples
        if not low <= rate <= high:
            raise ItemDropped(TOO_HARD if rate < low else TOO_EASY, f"{passed} of {band.samples}")
        return PassRate(n=band.samples, k=passed).dump()

    before = dict(ctx.dropped)
    done = await ctx.map_items(tasks, lambda t: t.id, measure, "band", "measuring difficulty with the policy")
    outside = {r: ctx.dropped[r] - before.get(r, 0) for r in ctx.dropped if ctx.dropped[r] > before.get(r, 0)}
    rated = [t.model_copy(update={"policy_pass": PassRate.model_validate(done[t.id])}) for t in tasks if t.id in done]
    return rated, outside


def advised(attempts: list[dict[str, Any]]) -> dict[str, float]:
    """`advisory-branch-missed: 3`: accepted attempts that failed an advisory check, by the check's word."""
    words = Counter(word for a in attempts if a["verdict"] == "accepted" for word in a.get("advice", []))
    return {f"advisory-{word}": float(n) for word, n in sorted(words.items())}


def _count(tasks: list[Task]) -> dict[str, int]:
    found: dict[str, int] = {}
    for task in tasks:
        found[task.outcome] = found.get(task.outcome, 0) + 1
    return dict(sorted(found.items()))
