"""Runs all suites of a round against the served policy; base and candidate go through exactly this code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from flywheel_api.base import StatusModel
from flywheel_api.ends import End
from flywheel_api.records.agentic import Task
from flywheel_api.records.evaluation import EvaluationRow
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import EvaluationResult, FormScore, GroupScore, PreparedResult, SuiteScore, Track
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.agentic import prompt
from flywheel_jobs.agentic.right import right_of
from flywheel_jobs.agentic.shelves import shelf_of
from flywheel_jobs.core.errors import EndpointUnavailable, FlywheelError, InfraError, ValidationFailure
from flywheel_jobs.endpoints.line import WeightsChanged
from flywheel_jobs.endpoints.served import same, several
from flywheel_jobs.evaluation import items
from flywheel_jobs.evaluation.form import FORMAT, LENIENT
from flywheel_jobs.evaluation.intervals import score_interval
from flywheel_jobs.evaluation.items import Item
from flywheel_jobs.harness.context import OutputFile, ShardDone, StageContext, StageResult

MAX_LOST = 0.05  # of a suite's items; more lost ones and the score is of another suite
SHORT_ANSWER = 2048  # tokens of an answer where no reasoning track says how long answers are


class Rows(StatusModel):
    """All samples of one item."""

    rows: list[EvaluationRow] = Field(description="One row per repeat.")


async def evaluate(ctx: StageContext, model: str | None) -> StageResult:
    """The stage's result for the model of that digest, which the policy's pool serves.

    Raises InfraError when the pool says that it serves another, EndpointUnavailable when it served others meanwhile,
    ValidationFailure when a suite lost too many items.
    """
    try:
        return await _evaluate(ctx, model)
    except FlywheelError as error:
        if error.reason == End.WRONG_WEIGHTS or isinstance(error, WeightsChanged):
            # who has said other weights alone has said nothing of those that its answers should be of
            await ctx.doubt(whole=not ctx.llm(Role.POLICY).changed)
        raise


async def _evaluate(ctx: StageContext, model: str | None) -> StageResult:
    await check_weights(ctx, model)
    prepared = ctx.result(Stage.PREPARE, PreparedResult)
    todo = {spec.name: load_items(ctx, prepared, spec.name, spec.repeats) for spec in ctx.spec.evaluation.suites}
    todo |= {s.name: load_items(ctx, prepared, s.name, s.repeats or 1) for s in prepared.suites if s.earlier}

    async def work(item: Item) -> Rows:
        return Rows(rows=await sample(ctx, item))

    every = [item for suite in todo.values() for item in suite]
    text = f"evaluating {len(every)} items"
    try:
        done = await ctx.map_items(every, lambda i: i.key, work, Rows, "evaluation", text)
    except ShardDone:
        await check_weights(ctx, model)  # the last shard looks later: the pool may be what it was again
        raise
    await check_weights(ctx, model)  # a pool may have been updated meanwhile
    await check_one(ctx)
    rows = {name: [r for i in suite if i.key in done for r in done[i.key].rows] for name, suite in todo.items()}
    confidence = float(ctx.spec.evaluation.confidence)
    scores = [
        summary(name, todo[name], rows[name], confidence).model_copy(update=drawn(ctx, todo[name])) for name in todo
    ]
    samples = [r for suite in rows.values() for r in suite]
    return StageResult(
        EvaluationResult(model=model, suites=scores),
        files=[
            OutputFile.of("results.jsonl", EvaluationRow, [r.model_copy(update={"messages": []}) for r in samples]),
            OutputFile.of("samples.jsonl", EvaluationRow, samples),
        ],
        counts=ctx.counts(len(done)),
        metrics={f"score/{s.name}": s.score for s in scores},
    )


async def check_weights(ctx: StageContext, model: str | None) -> None:
    """Refuses a pool that declares other weights than those under evaluation, or than it did before."""
    policy = ctx.llm(Role.POLICY)
    served = (await policy.identify(again=True)).weights
    if served and model and model.startswith("sha256:") and not same(served, model):
        raise InfraError(
            f"the policy's pool serves {served}, the model under evaluation is {model}: waiting for the right weights",
            reason=End.WRONG_WEIGHTS,
        )
    policy.check_steady()


async def check_one(ctx: StageContext) -> None:
    """Refuses answers of more than one model: each shard holds its own to the first that it saw."""
    differ = several(ctx.journal.served_by.values(), Role.POLICY)
    if differ:
        await ctx.doubt(whole=True)
        raise EndpointUnavailable(
            f"the shards of this evaluation were answered {differ}: a score is of one model; all is asked again",
            reason=End.SERVED_MODEL_CHANGED,
        )


def load_items(ctx: StageContext, prepared: PreparedResult, name: str, repeats: int) -> list[Item]:
    """All items of a suite. Raises ValidationFailure for a suite that Prepare did not build."""
    built = prepared.suite(name)
    if built is None:
        names = ", ".join(sorted(s.name for s in prepared.suites)) or "none"
        raise ValidationFailure(f"Prepare built no suite {name!r}; it has {names}")
    if built.track is Track.REASONING:
        return [Item(name, p, repeats) for p in ctx.records(Stage.PREPARE, built.path, Problem)]
    return [Item(name, t, repeats) for t in ctx.records(Stage.PREPARE, built.path, Task)]


async def sample(ctx: StageContext, item: Item) -> list[EvaluationRow]:
    """One item's repeats."""
    policy, record = ctx.llm(Role.POLICY), item.record
    temperature = float(ctx.spec.evaluation.temperature)
    seed = item.seed
    if isinstance(record, Problem):
        return await items.problem(item, record, policy, temperature, _answer_tokens(ctx), seed)
    user = ctx.llm(Role.USER_SIMULATOR) if record.user.replies else None
    right = right_of(shelf_of(ctx), record)
    return await items.task(item, record, right, policy, user, temperature, seed)


def drawn(ctx: StageContext, suite: Sequence[Item]) -> dict[str, float | int]:
    """How the samples of a suite are drawn: what else a score is a score at."""
    packages = {item.record.package for item in suite if isinstance(item.record, Task)}
    most = ctx.llm(Role.POLICY).endpoint.max_tokens
    turns = [prompt.limits(shelf_of(ctx).domain(package)).tokens or most for package in packages]
    longest = max(turns) if turns else _answer_tokens(ctx)
    return {"temperature": float(ctx.spec.evaluation.temperature), "max_tokens": longest}


def _answer_tokens(ctx: StageContext) -> int:
    reasoning = ctx.spec.reasoning
    longest = reasoning.mining.max_response_tokens if reasoning else SHORT_ANSWER
    return min(longest, ctx.llm(Role.POLICY).endpoint.max_tokens)


def summary(name: str, wanted: Sequence[Item], rows: Sequence[EvaluationRow], confidence: float) -> SuiteScore:
    """A suite's score with its interval, and by expected outcome."""
    by_item: dict[str, list[EvaluationRow]] = {}
    by_outcome: dict[str, dict[str, list[EvaluationRow]]] = {}
    for row in rows:
        by_item.setdefault(row.item, []).append(row)
        by_outcome.setdefault(row.outcome, {}).setdefault(row.item, []).append(row)
    lost = len(wanted) - len(by_item)
    if not wanted or lost > MAX_LOST * len(wanted):
        raise ValidationFailure(f"suite {name} lost {lost} of {len(wanted)} items: its score would not compare")
    whole = _scored(list(by_item.values()), confidence)
    return SuiteScore(
        name=name,
        track=wanted[0].track,
        score=whole.score,
        interval=whole.interval,
        n=whole.n,
        items=len(by_item),
        repeats=wanted[0].repeats,
        lost=lost,
        reasons=Counter(r.reason for r in rows if r.reason),
        groups={k: _scored(list(v.values()), confidence) for k, v in sorted(by_outcome.items())},
        form=_form([r.details for r in rows if LENIENT in r.details]),
    )


def _scored(items: list[list[EvaluationRow]], confidence: float) -> GroupScore:
    groups = [[row.score for row in rows] for rows in items]
    n = sum(len(g) for g in groups)
    interval = score_interval(groups, confidence, [rows[0].facts or rows[0].item for rows in items])
    return GroupScore(score=sum(map(sum, groups)) / n, interval=list(interval), n=n)


def _form(details: Sequence[dict[str, float]]) -> FormScore | None:
    if not details:
        return None
    mean = {name: sum(d[name] for d in details) / len(details) for name in (FORMAT, LENIENT)}
    return FormScore(format_rate=mean[FORMAT], lenient=mean[LENIENT])
