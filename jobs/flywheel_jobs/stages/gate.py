"""Gate: promotes the candidate or holds it, with reasons; a promotion is a create-only record of the campaign."""

from __future__ import annotations

import asyncio
from typing import Any

from flywheel_api import artifacts
from flywheel_api.artifacts import Manifest, ManifestKind, Promotion
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import CorruptArtifact, Superseded, ValidationFailure
from flywheel_jobs.evaluation import verdict
from flywheel_jobs.harness.attempt import now
from flywheel_jobs.harness.runner import OutputFile, StageContext, StageResult
from flywheel_jobs.storage.datasets import read_jsonl

ITEMS_SCHEMA = "evaluation-item/v1"
ITEMS_FILE = "items.jsonl"


async def run(ctx: StageContext) -> StageResult:
    """The stage."""
    evaluation = ctx.spec.evaluation
    base, candidate = _suites(ctx, Stage.EVALUATE_BASE), _suites(ctx, Stage.EVALUATE_CANDIDATE)
    model = ctx.config.candidate_model or ctx.inputs[Stage.EVALUATE_CANDIDATE].details.get("model")
    if not model:
        raise ValidationFailure("Gate was given no candidateModel and EvaluateCandidate names none")
    means = tuple(
        verdict.item_means(ctx.records(s, "results.jsonl")) for s in (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE)
    )
    confidence, seed = float(evaluation.confidence), ctx.spec.seed
    judged = [
        verdict.judge_suite(s, base[s.name], candidate[s.name], (means[0], means[1]), confidence, seed)
        for s in evaluation.suites
    ]
    champion = await asyncio.to_thread(_champion_means, ctx)
    compared, worse = verdict.against_champion(evaluation.suites, champion, means[1], confidence, seed)
    decision, reasons = verdict.decide(judged, worse)
    details: dict[str, Any] = {
        "verdict": decision,
        "reasons": reasons,
        "suites": [s.dump() for s in judged],
        "model": model,
        "champion": compared,
    }
    rows = [{"suite": s, "item": i, "score": v} for s, by_item in means[1].items() for i, v in sorted(by_item.items())]
    files = [OutputFile(ITEMS_FILE, rows, ITEMS_SCHEMA)]
    if decision == verdict.PROMOTED:
        details["promotion"] = await _promote(ctx, model, files, details)
    return StageResult(
        ManifestKind.VERDICT,
        files=files,
        counts=ctx.counts(len(judged)),
        metrics={f"gain/{s.suite}": s.gain for s in judged},
        details=details,
    )


def _suites(ctx: StageContext, stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = ctx.inputs[stage].details.get("suites", {})
    missing = [s.name for s in ctx.spec.evaluation.suites if s.name not in found]
    if missing:
        raise ValidationFailure(f"{stage} has no score of {', '.join(missing)}")
    return found


def _champion_means(ctx: StageContext) -> verdict.Means:
    """Item scores of the campaign's last promoted verdict; empty for a campaign's first round."""
    if not ctx.config.champion:
        return {}
    manifest: Manifest = ctx.store.get_manifest(ctx.config.champion)
    entry = next((f for f in manifest.files if f.path == ITEMS_FILE), None)
    if entry is None:
        raise CorruptArtifact(f"the champion's verdict {ctx.config.champion} has no {ITEMS_FILE}")
    return verdict.item_means(read_jsonl(ctx.store, entry))


async def _promote(ctx: StageContext, model: str, files: list[OutputFile], details: dict[str, Any]) -> dict[str, str]:
    """Writes the promotion, create-only. It points at a manifest of the verdict that is stored first: this stage's own
    manifest, written last, cannot be named before it exists.
    """
    owner, campaign = ctx.config.owner, ctx.spec.campaign
    stored = await ctx.put_dataset(files, details)
    key = artifacts.promotion_key(owner.namespace, campaign, owner.uid)
    record = Promotion(round=owner, campaign=campaign, model_digest=model, verdict_digest=stored, at=now())
    if not await asyncio.to_thread(ctx.store.put_json_new, key, record):
        standing = await asyncio.to_thread(ctx.store.get_json, key) or {}
        if standing.get("modelDigest") != model:
            raise Superseded(f"{key} already promotes {standing.get('modelDigest')}: a round promotes one model")
        return {"key": key, "verdict": str(standing.get("verdictDigest"))}
    return {"key": key, "verdict": stored}
