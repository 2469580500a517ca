"""Gate: promotes the candidate or holds it, with reasons; a promotion is a create-only record of the campaign."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from flywheel_api import artifacts
from flywheel_api.artifacts import Promotion
from flywheel_api.records.base import Lineage, record_id
from flywheel_api.records.evaluation import EvaluationRow, GateRow
from flywheel_api.results import (
    EvaluationResult,
    PreparedResult,
    SuiteScore,
    TrainingResult,
    Verdict,
    VerdictResult,
)
from flywheel_api.round import EvaluationSpec, SuiteSpec
from flywheel_api.stages import Stage
from flywheel_jobs.core.clock import now
from flywheel_jobs.core.errors import CorruptArtifact, Superseded, ValidationFailure
from flywheel_jobs.evaluation import earlier, verdict
from flywheel_jobs.evaluation.earlier import ITEMS_FILE
from flywheel_jobs.evaluation.form import LENIENT
from flywheel_jobs.evaluation.scores import Scores, item_key, item_scores
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.storage.datasets import read_model, read_records

EVALUATIONS = (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE)
KEPT = (
    "what the round made is kept: a round of equal data with another training takes its stages over, and an RLJob can "
    "train on its data sets (status.stages); a later round with this one as base.round and onHeld: UseItsBase starts "
    "from its base, tries its problems again and grows its tasks"
)
TRAININGS = (Stage.TRAIN_REASONING, Stage.TRAIN_AGENTIC)


async def run(ctx: StageContext) -> StageResult:
    """The verdict on the candidate, from the scores of both evaluations and of the campaign's champion."""
    prepared = ctx.result(Stage.PREPARE, PreparedResult)
    evaluation = with_earlier(ctx.spec.evaluation, prepared)
    base, candidate = (_scores(ctx, stage, evaluation) for stage in EVALUATIONS)
    model = _evaluated(ctx)
    old_rows, rows = (ctx.records(s, "results.jsonl", EvaluationRow) for s in EVALUATIONS)
    old, new = item_scores(old_rows), item_scores(rows)
    forms = (item_scores(lenient(old_rows)), item_scores(lenient(rows)))
    judged = verdict.judge(evaluation, base, candidate, (old, new), forms)
    now_drawn = {name: (score.temperature, score.max_tokens) for name, score in candidate.items()}
    theirs = await asyncio.to_thread(_champion_rows, ctx)
    then_drawn = {row.suite: (row.temperature, row.max_tokens) for row in theirs}
    champion, differs = verdict.drawn_alike(item_scores(theirs), then_drawn, now_drawn)
    compared, apart = verdict.against_champion(evaluation.suites, champion, new, float(evaluation.confidence))
    lost = [
        *verdict.fallen(evaluation, "base", old, new),
        *verdict.fallen(evaluation, "champion", champion, new),
    ]
    made = {s: ctx.result(s, TrainingResult) for s in TRAININGS if s in ctx.inputs}
    trainings = {ctx.config.inputs[s]: result for s, result in made.items()}
    starved = uninformed(made, float(ctx.spec.training.informative_floor))
    sick = [f"{s}: its training looked like a collapse: {r.unhealthy}" for s, r in made.items() if r.unhealthy]
    unshown = verdict.blind(evaluation, old)
    # rounds whose suites are all among this one's are not pinned one by one: the champion's matrix holds them
    verdicts = [*ctx.config.earlier, *([ctx.config.champion] if ctx.config.champion else [])]
    before, unread = await asyncio.to_thread(earlier.matrix, ctx.store, verdicts)
    asked = await asyncio.to_thread(earlier.items_of, ctx, prepared.suites)
    row = earlier.row_of(ctx.config.owner.name, model, candidate, asked)
    apart += [*differs, *unread, *earlier.not_asked(before, row)]
    decision, reasons = verdict.decide(judged, lost, [*apart, *sick, *unshown], starved)
    if decision is Verdict.HELD:
        reasons.append(KEPT)
    if model not in trainings:
        raise ValidationFailure(f"EvaluateCandidate evaluated {model}, which no training of this round made")
    result = VerdictResult(
        verdict=decision,
        model=model,
        step=trainings[model].step,
        reasons=reasons,
        suites=[j.verdict for j in judged],
        losses=lost,
        champion=compared,
        matrix=[*before, row],
    )
    files = [OutputFile.of(ITEMS_FILE, GateRow, _rows(new, rows, ctx.config.owner.name, candidate))]
    if decision is Verdict.PROMOTED:
        await _promote(ctx, result, files, [t.rollouts for t in trainings.values() if t.rollouts])
    metrics = {f"gain/{s.suite}": s.gain for s in result.suites}
    return StageResult(result, files=files, counts=ctx.counts(len(judged)), metrics=metrics)


def uninformed(trainings: Mapping[Stage, TrainingResult], floor: float) -> list[str]:
    """A sentence for each training in which too few groups carried an advantage: its model is a few samples' luck."""
    said = []
    for stage, result in trainings.items():
        known = [(p.informative, p.groups) for p in result.curve if p.informative is not None and p.groups]
        informative, groups = sum(i or 0 for i, _ in known), sum(g or 0 for _, g in known)
        if groups and informative < floor * groups:
            said.append(
                f"{stage}: {informative} of {groups} groups carried an advantage, fewer than "
                f"training.informativeFloor {floor:g} asks for: give problems that are solved sometimes, or more steps"
            )
    return said


def lenient(rows: Sequence[EvaluationRow]) -> list[EvaluationRow]:
    """The same samples, right where the lenient reading finds the answer; rows without one are left out."""
    return [r.model_copy(update={"score": r.details[LENIENT]}) for r in rows if LENIENT in r.details]


def with_earlier(evaluation: EvaluationSpec, prepared: PreparedResult) -> EvaluationSpec:
    """The round's suites, and those of earlier rounds, which have no gate here: what falls in them holds the round."""
    again = [SuiteSpec(name=s.name, repeats=s.repeats or 1) for s in prepared.suites if s.earlier]
    return evaluation.model_copy(update={"suites": [*evaluation.suites, *again]})


def _scores(ctx: StageContext, stage: Stage, evaluation: EvaluationSpec) -> dict[str, SuiteScore]:
    found = {s.name: s for s in ctx.result(stage, EvaluationResult).suites}
    missing = [s.name for s in evaluation.suites if s.name not in found]
    if missing:
        raise ValidationFailure(f"{stage} has no score of {', '.join(missing)}")
    return found


def _evaluated(ctx: StageContext) -> str:
    """The digest of the model that EvaluateCandidate evaluated: nothing else can be promoted (law 12)."""
    model = ctx.result(Stage.EVALUATE_CANDIDATE, EvaluationResult).model
    if not model:
        raise ValidationFailure("EvaluateCandidate does not say which model it evaluated: no verdict can name one")
    if ctx.config.candidate_model not in (None, model):
        raise ValidationFailure(
            f"EvaluateCandidate evaluated {model}, but this round's candidate is {ctx.config.candidate_model}: "
            "a verdict is about the model that was evaluated"
        )
    return model


def _rows(
    scores: Scores, rows: Sequence[EvaluationRow], round_name: str, candidate: Mapping[str, SuiteScore]
) -> list[GateRow]:
    items = {(row.suite, item_key(row)): row for row in rows}
    return [
        GateRow(
            id=record_id("gate", round_name, suite, key),
            lineage=Lineage(parent_ids=[row.item], round=round_name, operator="gate"),
            suite=suite,
            item=row.item,
            content=row.content,
            score=float(scores[suite][key].mean),
            samples=scores[suite][key].samples,
            facts=row.facts,
            strata=row.strata,
            temperature=candidate[suite].temperature,
            max_tokens=candidate[suite].max_tokens,
        )
        for (suite, key), row in sorted(items.items())
    ]


def _champion_rows(ctx: StageContext) -> list[GateRow]:
    """The items of the campaign's last promoted verdict; none for a campaign's first round."""
    if not ctx.config.champion:
        return []
    entry = ctx.store.get_manifest(ctx.config.champion).file(ITEMS_FILE)
    if entry is None:
        raise CorruptArtifact(f"the champion's verdict {ctx.config.champion} has no {ITEMS_FILE}")
    return list(read_records(ctx.store, entry, GateRow))


async def _promote(ctx: StageContext, result: VerdictResult, files: list[OutputFile], rollouts: list[str]) -> None:
    """Writes the promotion, create-only.

    It points at a manifest of the verdict that is stored first: this stage's own manifest, written last, cannot be
    named before it exists.
    """
    owner, campaign = ctx.config.owner, ctx.spec.campaign
    record = Promotion(
        round=owner,
        campaign=campaign,
        model_digest=result.model,
        model_step=result.step,
        verdict_digest=await ctx.put_part(result, files),
        number=ctx.config.number,
        rollouts=rollouts,
        suites=[s.suite for s in result.suites],
        at=now(),
    )
    key = artifacts.promotion_key(owner.namespace, campaign, owner.uid)
    if await asyncio.to_thread(ctx.store.put_json_new, key, record):
        return
    standing = await asyncio.to_thread(read_model, ctx.store, key, Promotion)
    if standing is None or standing.model_digest != result.model:
        promoted = standing.model_digest if standing else "a model, and was removed meanwhile"
        raise Superseded(f"{key} already promotes {promoted}: a round promotes one model")
