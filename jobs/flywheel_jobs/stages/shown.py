"""What the solver showed in this round, as conversations that a warm-up learns from (`training.warmUp: SFT`).

Shown is only what was verified: a solution whose answer the votes agree on, an attempt at a task that was accepted.
Thought is left out, as it is wherever a text is read: it is the solver's own way, and no reward ever sees it.
"""

from __future__ import annotations

from collections.abc import Iterator

from flywheel_api.records.agentic import Task
from flywheel_api.records.conversation import Conversation, LearntMessage
from flywheel_api.records.reasoning import Band, Problem, Vote
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.results import Track
from flywheel_api.stages import Stage
from flywheel_jobs.agentic.accept import ACCEPTED
from flywheel_jobs.harness.context import StageContext
from flywheel_jobs.reading import final, thought
from flywheel_jobs.reading.values import read


def conversations(ctx: StageContext, track: Track) -> Iterator[tuple[str, Conversation]]:
    """Conversations of a track, each with the group that must be on one side of the split (see `package`)."""
    return _solutions(ctx) if track is Track.REASONING else _attempts(ctx)


def group_of(problem: Problem) -> str:
    """What a problem shares with its kin: the seed that they come from, over all rounds."""
    return f"seed {problem.lineage.root_id or problem.id}"


def group_of_task(task: Task) -> str:
    """What a task shares with others: its persona."""
    return task.lineage.persona_id or f"template {task.lineage.template}"


def _solutions(ctx: StageContext) -> Iterator[tuple[str, Conversation]]:
    """Of labelled problems that the policy does not always solve, those that it never solves among them."""
    votes = [v for s in (Stage.VERIFY_REASONING, Stage.MEASURE_REASONING) for v in ctx.records(s, "votes.jsonl", Vote)]
    solutions = {vote.problem_id: vote.solution for vote in votes if vote.agreed and vote.solution}
    for problem in ctx.records(Stage.MEASURE_REASONING, "measured.jsonl", Problem):
        if problem.id in solutions and problem.band is not Band.SOLVED:
            yield group_of(problem), solved(problem, solutions[problem.id])


def solved(problem: Problem, solution: str) -> Conversation:
    """A problem with its solution: as its worked examples answer, where they show nothing but a value like its own."""
    kind, examples = read(problem.answer or "").kind, [m.content for m in problem.context if m.role == "assistant"]
    found = [final.find(example) for example in examples]
    bare = bool(found) and all(not f.marked and read(f.text).kind is kind for f in found)
    said = str(problem.answer) if bare else thought.split(solution).text.strip()
    before = [LearntMessage(role=m["role"], content=m["content"]) for m in problem.messages()]
    return Conversation(id=problem.id, messages=[*before, LearntMessage(role="assistant", content=said, learn=True)])


def _attempts(ctx: StageContext) -> Iterator[tuple[str, Conversation]]:
    tasks = {t.id: t for t in ctx.records(Stage.SOLVE_AGENTIC, "tasks.jsonl", Task)}
    for attempt in ctx.records(Stage.SOLVE_AGENTIC, "attempts.jsonl", Trajectory):
        if attempt.verdict == ACCEPTED and attempt.item in tasks:
            yield group_of_task(tasks[attempt.item]), played(tasks[attempt.item], attempt)


def played(task: Task, attempt: Trajectory) -> Conversation:
    """A task's accepted attempt; its prompt, with worked examples, is not learnt."""
    messages = []
    for place, message in enumerate(attempt.messages):
        role, content = str(message["role"]), str(message.get("content") or "")
        learn = role == "assistant" and place >= len(task.messages)
        messages.append(
            LearntMessage(role=role, content=thought.split(content).text if learn else content, learn=learn)
        )
    while messages and not messages[-1].learn:  # what nobody answers teaches nothing
        messages.pop()
    return Conversation(id=task.id, messages=messages)
