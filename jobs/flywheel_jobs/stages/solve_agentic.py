"""SolveAgentic: keeps tasks that a strong model solves as computed and that lie in the policy's band; measures both.

What is right is computed from package and case; a solver's pass only checks that it can be found out. Acceptance comes
from the environment (docs/method.md, "Acceptance"), and rejections are counted by the first check that failed.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from flywheel_api.base import StatusModel
from flywheel_api.presets import rollout_temperature
from flywheel_api.records.agentic import Fingerprint, Task
from flywheel_api.records.base import PassRate
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import SolvedResult, Track
from flywheel_api.round import AgenticSpec, Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import accept, drive
from flywheel_jobs.agentic.distinct import fingerprint
from flywheel_jobs.agentic.measured import bands, by_depth_and_kind
from flywheel_jobs.agentic.right import right_of
from flywheel_jobs.agentic.rounds import ASKED, RESERVE, SEEN
from flywheel_jobs.agentic.shelves import shelf_of
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult

SOLVER_TOKENS = 1024  # of a turn: a call, or a few sentences; an endpoint may allow fewer
LIKE: Sequence[Callable[[Task], Hashable]] = (
    lambda t: (t.domain, t.legal, t.kind), lambda t: (t.domain, t.legal), lambda t: t.domain, lambda t: None,
)  # fmt: skip
"""In what a task of the reserve is like the one whose place it takes, as nearly as there are any."""
TOO_HARD, TOO_EASY = "too-hard-for-policy", "too-easy-for-policy"


class Solution(StatusModel):
    """The attempts at a task, the last of which decides."""

    attempts: list[Trajectory] = Field(description="All attempts in order, each with its verdict.")

    @property
    def verdict(self) -> str:
        """`accepted`, or why not."""
        return self.attempts[-1].verdict

    @property
    def passed(self) -> PassRate:
        """How many attempts were right."""
        return PassRate(n=len(self.attempts), k=sum(a.success for a in self.attempts))


@dataclass(frozen=True)
class Wave:
    """Tasks that were tried together: all, those that were solved, measured with the policy, and what is kept."""

    solutions: dict[str, Solution] = field(default_factory=dict)
    tried: list[Task] = field(default_factory=list)
    rated: list[Task] = field(default_factory=list)
    kept: list[Task] = field(default_factory=list)
    outside: Counter[str] = field(default_factory=Counter)

    def __add__(self, later: Wave) -> Wave:
        """Both as one."""
        return Wave(
            {**self.solutions, **later.solutions},
            [*self.tried, *later.tried],
            [*self.rated, *later.rated],
            [*self.kept, *later.kept],
            self.outside + later.outside,
        )

    @property
    def attempts(self) -> list[Trajectory]:
        """All attempts of the solver."""
        return [a for solution in self.solutions.values() for a in solution.attempts]

    @property
    def lost(self) -> Counter[str]:
        """How many tasks are not kept, by why."""
        verdicts = Counter(s.verdict for s in self.solutions.values())
        del verdicts[accept.ACCEPTED]
        return self.outside + verdicts

    @property
    def measured(self) -> list[Task]:
        """What was tried, each with all that was measured of it."""
        known = {t.id: t for t in self.rated}
        return [known.get(t.id, t) for t in self.tried]


async def run(ctx: StageContext) -> StageResult:
    """Accepted tasks and all attempts; tasks whose user answers are in dialogues.jsonl where training has no room."""
    done = await _waves(ctx)
    alone, dialogues = trainable(ctx, done.kept)
    asked = ctx.records(Stage.SEED_AGENTIC, ASKED, Fingerprint)
    return StageResult(
        SolvedResult(
            outcomes=Counter(t.outcome for t in alone),
            dialogues=sum(not t.single_turn for t in done.kept),
            bands=bands(done.rated),
            difficulty=by_depth_and_kind(done.measured),
        ),
        files=[
            OutputFile.of("tasks.jsonl", Task, alone),
            OutputFile.of("dialogues.jsonl", Task, dialogues),
            OutputFile.of("attempts.jsonl", Trajectory, done.attempts),
            OutputFile.of(SEEN, Fingerprint, [*asked, *map(fingerprint, done.kept)]),
        ],
        counts=ctx.counts(len(done.kept), Counter(ctx.dropped) + done.lost),
        metrics={"solved": len(done.rated) / len(done.tried) if done.tried else 0.0, **advised(done.attempts)},
    )


async def _waves(ctx: StageContext) -> Wave:
    """All tasks; then, of the reserve, stand-ins for those that are not kept, until none is lost or none is left.

    Those with long right ways are lost most, so that a round of harder tasks would be a smaller one.
    """
    tasks = ctx.records(Stage.INVERT_AGENTIC, "tasks.jsonl", Task)
    reserve = ctx.records(Stage.INVERT_AGENTIC, RESERVE, Task)
    done, number = Wave(), 0
    while tasks:
        wave = await _wave(ctx, tasks, number)
        done, number = done + wave, number + 1
        kept = {t.id for t in wave.kept}
        tasks = stand_ins([t for t in tasks if t.id not in kept], reserve)
        taken = {t.id for t in tasks}
        reserve = [t for t in reserve if t.id not in taken]
    return done


async def _wave(ctx: StageContext, tasks: Sequence[Task], number: int) -> Wave:
    async def solve(task: Task) -> Solution:
        return Solution(attempts=await attempt(ctx, task, ctx.agentic))

    done = await ctx.map_items(tasks, lambda t: t.id, solve, Solution, f"attempts-{number}", "solving tasks")
    tried = [t.model_copy(update={"solver_pass": done[t.id].passed}) for t in tasks if t.id in done]
    rated = await measured(ctx, [t for t in tried if done[t.id].verdict == accept.ACCEPTED], number)
    return Wave(done, tried, rated, *in_band(rated, ctx.agentic))


def stand_ins(lost: Sequence[Task], reserve: Sequence[Task]) -> list[Task]:
    """A task of the reserve for each that was lost, as far as it goes: of its domain, side and kind, or nearly so."""
    found: dict[str, Task] = {}
    for like in LIKE:
        groups: dict[Hashable, deque[Task]] = {}
        for task in reserve:
            if task.id not in found:
                groups.setdefault(like(task), deque()).append(task)
        left = []
        for task in lost:
            if group := groups.get(like(task)):
                other = group.popleft()
                found[other.id] = other
            else:
                left.append(task)
        lost = left
    return list(found.values())


def trainable(ctx: StageContext, tasks: Sequence[Task]) -> tuple[list[Task], list[Task]]:
    """Those that are trained on, and dialogues of compact domains: there an episode has no room for a user."""
    shelf = shelf_of(ctx)
    alone = [t for t in tasks if t.single_turn or not shelf.domain(t.package).prompt.compact]
    return alone, [t for t in tasks if not t.single_turn and shelf.domain(t.package).prompt.compact]


async def attempt(ctx: StageContext, task: Task, spec: AgenticSpec) -> list[Trajectory]:
    """Attempts of the solver until one is accepted; all of them are kept with their verdicts."""
    made: list[Trajectory] = []
    lineage = task.lineage.model_copy(update={"parent_ids": [task.id], "operator": "solve"})
    right, solver = right_of(shelf_of(ctx), task), ctx.llm(Role.SOLVER)
    for n in range(spec.solver.attempts):
        episode = await drive.run(
            task,
            right,
            solver,
            ctx.llm(Role.USER_SIMULATOR) if task.user.replies else None,
            max_turns=spec.solver.max_turns,
            max_tokens=min(SOLVER_TOKENS, solver.endpoint.max_tokens),
            seed=ctx.seed("solve", task.id, n),
        )
        verdict, advice = accept.verdict(episode, spec.acceptance), accept.advice(episode, spec.acceptance)
        one = drive.trajectory(task, episode, Role.SOLVER, n, lineage)
        made.append(one.model_copy(update={"verdict": verdict, "advice": advice}))
        if verdict == accept.ACCEPTED:
            break
    return made


async def measured(ctx: StageContext, tasks: list[Task], wave: int) -> list[Task]:
    """The tasks with the policy's pass rate; without samples they stay unmeasured."""
    samples = ctx.agentic.difficulty.samples
    if samples == 0:
        return tasks
    temperature, shelf = rollout_temperature(ctx.spec, Track.AGENTIC), shelf_of(ctx)

    async def measure(task: Task) -> PassRate:
        passed = 0
        for n in range(samples):
            episode = await drive.run(
                task,
                right_of(shelf, task),
                ctx.llm(Role.POLICY),
                ctx.llm(Role.USER_SIMULATOR) if task.user.replies else None,
                temperature=temperature,
                seed=ctx.seed("band", task.id, n),
            )
            passed += drive.trajectory(task, episode, Role.POLICY, n, task.lineage).success
        return PassRate(n=samples, k=passed)

    text = "measuring difficulty with the policy"
    done = await ctx.map_items(tasks, lambda t: t.id, measure, PassRate, f"band-{wave}", text)
    return [t.model_copy(update={"policy_pass": done.get(t.id)}) for t in tasks]


def in_band(tasks: Sequence[Task], spec: AgenticSpec) -> tuple[list[Task], Counter[str]]:
    """Tasks whose pass rate under the policy lies in the band, and how many lie outside, by side.

    A group of equal rewards has no gradient under GRPO: a band without 0 and 1 saves the compute of such groups.
    """
    low, high = float(spec.difficulty.low), float(spec.difficulty.high)
    outside: Counter[str] = Counter()
    kept = []
    for task in tasks:
        rate = task.policy_pass.rate if task.policy_pass is not None else None
        if rate is None or low <= rate <= high:
            kept.append(task)
        else:
            outside[TOO_HARD if rate < low else TOO_EASY] += 1
    return kept, outside


def advised(attempts: Sequence[Trajectory]) -> dict[str, float]:
    """`advisory-branch-missed: 3`: accepted attempts that failed an advisory check, by the check's word."""
    words = Counter(word for a in attempts if a.verdict == accept.ACCEPTED for word in a.advice)
    return {f"advisory-{word}": float(n) for word, n in sorted(words.items())}
