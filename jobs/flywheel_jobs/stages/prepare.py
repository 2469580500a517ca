"""Prepare: held-out suites, seed problems and training personas, with everything contaminated taken out first.

Writes suites/<suite>.jsonl, seeds/reasoning.jsonl and seeds/personas.jsonl (training personas only).
"""

from __future__ import annotations

from collections import Counter

from flywheel_api.records.reasoning import Persona, Problem
from flywheel_api.results import PreparedResult
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.evaluation import suites
from flywheel_jobs.evaluation.verdict import too_few
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning.dedup import Contamination, Duplicates
from flywheel_jobs.reasoning.truths import with_truth
from flywheel_jobs.seeds import arithmetic, personas
from flywheel_jobs.storage.datasets import load_records

BUILTIN_SEEDS: dict[str, tuple[str, ...]] = {
    "builtin://arithmetic": ("add",),
    "builtin://arithmetic-mixed": tuple(arithmetic.ARITY),
}
BUILTIN_LIMIT = 2000  # problems that a built-in source makes at most


async def run(ctx: StageContext) -> StageResult:
    """Seeds, training personas and suites. Raises ValidationFailure when no seed is left for a reasoning track."""
    ctx.progress(0, None, "building held-out suites")
    training, heldout = load_personas(ctx)
    built = [suites.build(spec, heldout, ctx.store) for spec in ctx.spec.evaluation.suites]
    check_gates(ctx, built)
    ctx.progress(1, 3, "drawing seed problems")
    seeds = load_seeds(ctx)
    kept, dropped = clean(ctx, seeds, built)
    if ctx.spec.reasoning is not None and not kept:
        raise ValidationFailure("no seed problem is left after decontamination: give other spec.reasoning.seeds")
    ctx.progress(3, 3, f"{len(kept)} seed problems, {len(training)} personas, {len(built)} suites")
    files = [s.file() for s in built]
    files.append(OutputFile.of("seeds/reasoning.jsonl", Problem, kept))
    files.append(OutputFile.of("seeds/personas.jsonl", Persona, training))
    return StageResult(PreparedResult(suites=[s.info for s in built]), files, counts=ctx.counts(len(kept), dropped))


def check_gates(ctx: StageContext, built: list[suites.Suite]) -> None:
    """Raises ValidationFailure for a gate that its suite's items cannot decide, before a GPU is used for it."""
    confidence = float(ctx.spec.evaluation.confidence)
    for spec, suite in zip(ctx.spec.evaluation.suites, built, strict=True):
        few = too_few(spec.name, spec.gate, suite.info.items, confidence) if spec.gate else None
        if few:
            raise ValidationFailure(f"suite {few}", reason="TooFewItems")


def load_personas(ctx: StageContext) -> tuple[list[Persona], list[Persona]]:
    """(training, held out) personas; without an agentic track the built-in ones, which problems are re-skinned with."""
    agentic = ctx.spec.agentic
    if agentic is None:
        return personas.split(personas.builtin(), 0.2)
    return personas.split(personas.load(agentic.personas, ctx.store), float(agentic.holdout_personas))


def load_seeds(ctx: StageContext) -> list[Problem]:
    """The seed problems of the round, each with an answer, at most mining.maxProblems of them."""
    reasoning = ctx.spec.reasoning
    if reasoning is None:
        return []
    limit = reasoning.mining.max_problems
    if reasoning.seeds in BUILTIN_SEEDS:
        families = BUILTIN_SEEDS[reasoning.seeds]
        return arithmetic.generate(ctx.rng("seeds"), min(limit, BUILTIN_LIMIT), "train", families)
    if reasoning.seeds.startswith("builtin://"):
        raise ValidationFailure(f"{reasoning.seeds} does not exist: built in are {', '.join(BUILTIN_SEEDS)}")
    found = load_records(ctx.store, reasoning.seeds, Problem)
    unanswered = next((p.id for p in found if not p.answer), None)
    if unanswered is not None:
        raise ValidationFailure(
            f"seed problem {unanswered} has no answer: every seed needs one, mining compares with it"
        )
    return found if len(found) <= limit else ctx.rng("seeds").sample(found, limit)


def clean(ctx: StageContext, seeds: list[Problem], built: list[suites.Suite]) -> tuple[list[Problem], Counter[str]]:
    """Seeds without duplicates and without problems of an evaluation suite, and what was dropped."""
    reasoning = ctx.spec.reasoning
    dropped: Counter[str] = Counter()
    if reasoning is None:
        return [], dropped
    items = [p for s in built for p in s.problems]
    contamination = Contamination(items, reasoning.dedup.decontamination_ngram)
    duplicates = Duplicates(float(reasoning.dedup.minhash_threshold))
    kept = []
    for problem in seeds:
        problem, wrong = with_truth(problem)
        reason = wrong or contamination.reason(problem) or duplicates.add(problem)
        if reason:
            dropped[reason] += 1
        else:
            kept.append(problem)
    return kept, dropped
