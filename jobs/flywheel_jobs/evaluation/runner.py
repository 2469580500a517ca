"""Runs all suites of a round against the served policy; base and candidate go through exactly this code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flywheel_api.artifacts import ManifestKind
from flywheel_api.round import Role, SuiteSpec
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import InfraError, ValidationFailure
from flywheel_jobs.evaluation import items
from flywheel_jobs.evaluation.intervals import score_interval
from flywheel_jobs.harness.runner import OutputFile, StageContext, StageResult
from flywheel_jobs.records import ReasoningProblem
from flywheel_jobs.records.agentic import Task

RESULT_SCHEMA, SAMPLE_SCHEMA = "evaluation-result/v1", "evaluation-sample/v1"
MAX_LOST = 0.05  # of a suite's items; more lost ones and the score is of another suite
SHORT_ANSWER = 2048  # tokens of an answer where no reasoning track says how long answers are


@dataclass(frozen=True)
class Item:
    """An item of a suite, as its record."""

    suite: SuiteSpec
    track: str
    record: dict[str, Any]

    @property
    def key(self) -> str:
        """Journal key."""
        return f"{self.suite.name}/{self.record['id']}"


async def evaluate(ctx: StageContext, model: str | None) -> StageResult:
    """The stage's result for the model of that digest, which the policy's pool serves.

    Raises InfraError when the pool says that it serves another, ValidationFailure when a suite lost too many items.
    """
    await check_weights(ctx, model)
    todo = load_items(ctx)

    async def work(item: Item) -> dict[str, Any]:
        return {"rows": await sample(ctx, item)}

    text = f"evaluating {len(todo)} items"
    done = await ctx.map_items(todo, lambda i: i.key, work, "evaluation", text)
    rows = [{"suite": i.suite.name, **row} for i in todo if i.key in done for row in done[i.key]["rows"]]
    confidence = float(ctx.spec.evaluation.confidence)
    suites = {s.name: summary(s, todo, rows, confidence) for s in ctx.spec.evaluation.suites}
    results = [{k: v for k, v in r.items() if k != "messages"} for r in rows]
    return StageResult(
        ManifestKind.EVALUATION,
        files=[OutputFile("results.jsonl", results, RESULT_SCHEMA), OutputFile("samples.jsonl", rows, SAMPLE_SCHEMA)],
        counts=ctx.counts(len(done)),
        metrics={f"score/{name}": value["score"] for name, value in suites.items()},
        details={"suites": suites, "model": model},
    )


async def check_weights(ctx: StageContext, model: str | None) -> None:
    """Refuses a pool that declares other weights than those under evaluation."""
    served = (await ctx.llm(Role.POLICY).identify()).weights
    if served and model and model.startswith("sha256:") and not _same(served, model):
        raise InfraError(
            f"the policy's pool serves {served}, the model under evaluation is {model}: waiting for the right weights",
            reason="WrongWeights",
        )


def _same(one: str, other: str) -> bool:
    a, b = one.removeprefix("sha256:"), other.removeprefix("sha256:")
    return bool(a) and (a.startswith(b) or b.startswith(a))


def load_items(ctx: StageContext) -> list[Item]:
    """All items of the round's suites. Raises ValidationFailure for a suite that Prepare did not build."""
    built = ctx.inputs[Stage.PREPARE].details.get("suites", {})
    found = []
    for suite in ctx.spec.evaluation.suites:
        if suite.name not in built:
            raise ValidationFailure(
                f"Prepare built no suite {suite.name!r}; it has {', '.join(sorted(built)) or 'none'}"
            )
        track = built[suite.name]["track"]
        found += [Item(suite, track, r) for r in ctx.records(Stage.PREPARE, f"suites/{suite.name}.jsonl")]
    return found


async def sample(ctx: StageContext, item: Item) -> list[dict[str, Any]]:
    """One item's repeats."""
    policy, repeats = ctx.llm(Role.POLICY), item.suite.repeats
    temperature, seed = float(ctx.spec.evaluation.temperature), ctx.spec.seed + _stable(ctx, item)
    if item.track == "reasoning":
        problem = ReasoningProblem.model_validate(item.record)
        return await items.problem(problem, policy, repeats, temperature, _answer_tokens(ctx), seed)
    task = Task.model_validate(item.record)
    user = ctx.llm(Role.USER_SIMULATOR) if task.user.replies else None
    return await items.task(task, policy, user, repeats, temperature, seed)


def _stable(ctx: StageContext, item: Item) -> int:
    return ctx.seed("item", item.key) >> 1


def _answer_tokens(ctx: StageContext) -> int:
    reasoning = ctx.spec.reasoning
    longest = reasoning.mining.max_response_tokens if reasoning else SHORT_ANSWER
    return min(longest, ctx.endpoint(Role.POLICY).max_tokens)


def summary(suite: SuiteSpec, todo: list[Item], rows: list[dict[str, Any]], confidence: float) -> dict[str, Any]:
    """A suite's score with its interval, and by expected outcome."""
    mine = [r for r in rows if r["suite"] == suite.name]
    wanted = [i for i in todo if i.suite.name == suite.name]
    by_item: dict[str, list[float]] = {}
    by_outcome: dict[str, dict[str, list[float]]] = {}
    for row in mine:
        by_item.setdefault(row["item"], []).append(row["score"])
        by_outcome.setdefault(row["outcome"], {}).setdefault(row["item"], []).append(row["score"])
    lost = len(wanted) - len(by_item)
    if not wanted or lost > MAX_LOST * len(wanted):
        raise ValidationFailure(f"suite {suite.name} lost {lost} of {len(wanted)} items: its score would not compare")
    return {
        "track": wanted[0].track,
        **_scored(list(by_item.values()), confidence),
        "items": len(by_item),
        "repeats": suite.repeats,
        "lost": lost,
        "reasons": _reasons(mine),
        "groups": {k: _scored(list(v.values()), confidence) for k, v in sorted(by_outcome.items())},
    }


def _scored(groups: list[list[float]], confidence: float) -> dict[str, Any]:
    n = sum(len(g) for g in groups)
    low, high = score_interval(groups, confidence)
    return {"score": sum(map(sum, groups)) / n, "interval": [low, high], "n": n}


def _reasons(rows: list[dict[str, Any]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows:
        if row.get("reason"):
            found[row["reason"]] = found.get(row["reason"], 0) + 1
    return dict(sorted(found.items()))
