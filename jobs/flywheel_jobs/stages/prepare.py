"""Prepare: held-out suites, seed problems and training personas, with everything contaminated taken out first.

Writes suites/<suite>.jsonl, seeds/reasoning.jsonl, seeds/personas.jsonl (training personas only), domains/<name>.tar
(the packages of the agentic track, checked), quarantine.jsonl where rows of users' files are wrong, and, in a round of
one track, what earlier rounds left to the other (pool.jsonl and known.jsonl, or seen.jsonl).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from fractions import Fraction

from flywheel_api.common import BUILTIN_DOMAINS, DomainRef
from flywheel_api.records.agentic import Fingerprint
from flywheel_api.records.reasoning import Persona, Problem, QuarantinedRow
from flywheel_api.results import EndpointFinding, PreparedResult
from flywheel_api.round_evaluation import HELDOUT
from flywheel_jobs.agentic import rounds
from flywheel_jobs.agentic.shelves import PACKAGE_SCHEMA, shelf_of
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.core.logging import get_logger
from flywheel_jobs.domains.checked import fetch_all
from flywheel_jobs.domains.packages import Package
from flywheel_jobs.evaluation import earlier, suites
from flywheel_jobs.evaluation.scores import ItemScore
from flywheel_jobs.evaluation.strata import facts_of, strata_of
from flywheel_jobs.evaluation.verdict import blind, too_few
from flywheel_jobs.exports.hub import may_write
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning import past
from flywheel_jobs.reasoning.dedup import Contamination, Duplicates
from flywheel_jobs.reasoning.truths import IN_QUESTION, gives_itself_away, with_truth
from flywheel_jobs.seeds import numeracy, personas
from flywheel_jobs.sources.load import Source, load

log = get_logger(__name__)
QUARANTINE = "quarantine.jsonl"
BUILTIN_LIMIT = 2000  # problems that a built-in source makes at most


async def run(ctx: StageContext) -> StageResult:
    """Seeds, training personas and suites. Raises ValidationFailure when no seed is left for a reasoning track."""
    ctx.progress(0, None, "shaking hands with endpoints")
    endpoints = await _shake_hands(ctx)
    ctx.progress(0, None, "checking domains")
    packages = await asyncio.to_thread(load_domains, ctx)
    ctx.progress(0, None, "building held-out suites")
    people = await asyncio.to_thread(load_personas, ctx)
    training, heldout = personas.split(
        people.records, float(ctx.spec.agentic.holdout_personas if ctx.spec.agentic else 0.2)
    )
    domains = {package.name: package for package in packages}
    built = [
        await asyncio.to_thread(suites.build, spec, heldout, ctx.store, domains, shelf_of(ctx))
        for spec in ctx.spec.evaluation.suites
    ]
    check_gates(ctx, built)
    named = {s.name for s in ctx.spec.evaluation.suites}
    again = await asyncio.to_thread(earlier.suites, ctx.store, ctx.config.earlier, named)
    items = [*(p for s in built for p in s.problems), *(p for s in again for p in s.problems)]
    ctx.progress(1, 3, "drawing seed problems")
    seeds = await asyncio.to_thread(load_seeds, ctx)
    kept, dropped = await asyncio.to_thread(clean, ctx, seeds, items)
    if ctx.spec.reasoning is not None and not kept:
        raise ValidationFailure("no seed problem is left after decontamination: give other spec.reasoning.seeds")
    # no part of the result: other repeats or margins make no other data
    for said in unshown(ctx, built):
        log.warning("a suite cannot show every loss", suite=said)
    ctx.progress(3, 3, f"{len(kept)} seed problems, {len(training)} personas, {len(built)} suites")
    wrong = Counter({s.ref: s.wrong for s in (people, seeds)}) + Counter({f"suite {s.name}": s.aside for s in built})
    quarantine = [*people.quarantine, *seeds.quarantine, *(row for s in built for row in s.quarantine)]
    files = [*(s.file() for s in built), *(s.file for s in again)]
    files.append(OutputFile.of("seeds/reasoning.jsonl", Problem, kept))
    files.append(OutputFile.of("seeds/personas.jsonl", Persona, training))
    files += [OutputFile(p.path, p.data, PACKAGE_SCHEMA) for p in domains.values()]
    files += {package.path: package for s in again for package in s.packages}.values()
    files += await asyncio.to_thread(carry, ctx)
    if quarantine:
        files.append(OutputFile.of(QUARANTINE, QuarantinedRow, quarantine))
    result = PreparedResult(
        suites=[*(s.info for s in built), *(s.info for s in again)],
        endpoints=endpoints,
        domains=[p.pin for p in domains.values()],
        set_aside=dict(wrong),
    )
    metrics = {"renamedIds": float(seeds.renamed + people.renamed), "repeatedPersonas": float(people.repeated)}
    return StageResult(result, files, counts=ctx.counts(len(kept), dropped), metrics=metrics)


def carry(ctx: StageContext) -> list[OutputFile]:
    """What earlier rounds left to a track that this round does not have, for the next one that has it."""
    rollouts, files = ctx.config.previous_rollouts, list[OutputFile]()
    if not rollouts:
        return files
    if ctx.spec.reasoning is None:
        files += past.carried(ctx).files()
    if ctx.spec.agentic is None:
        files.append(OutputFile.of(rounds.SEEN, Fingerprint, rounds.handed_on(ctx.store, rollouts)))
    return files


async def again(ctx: StageContext) -> None:
    """Hands are shaken anew where the data stands already: the servers of today are asked, not those of then."""
    ctx.progress(0, None, "shaking hands with endpoints")
    ctx.attempt.update(endpoints=await _shake_hands(ctx))


async def _shake_hands(ctx: StageContext) -> list[EndpointFinding]:
    """With all whom the round will need: models' endpoints, and the hub that the model goes to."""
    if ctx.spec.export is not None and ctx.spec.export.hub is not None:
        await asyncio.to_thread(may_write, ctx.spec.export.hub)
    return await ctx.shake_hands()


def load_domains(ctx: StageContext) -> list[Package]:
    """The packages of the agentic track, and of built-in suites about another domain. Raises ValidationFailure."""
    named = list(ctx.spec.agentic.domains) if ctx.spec.agentic else []
    known = {ref.name for ref in named}
    asked = [s.name.removesuffix(HELDOUT) for s in ctx.spec.evaluation.suites if s.source is None]
    named += [DomainRef(name=name) for name in dict.fromkeys(asked) if name in BUILTIN_DOMAINS and name not in known]
    return fetch_all(named, ctx.store, shelf_of(ctx))


def check_gates(ctx: StageContext, built: list[suites.Suite]) -> None:
    """Raises ValidationFailure for a gate that its suite's items cannot decide, before a GPU is used for it."""
    pairs = zip(ctx.spec.evaluation.suites, built, strict=True)
    different = [(spec, len({facts_of(item) for item in suite.items})) for spec, suite in pairs]
    few = too_few(different, float(ctx.spec.evaluation.confidence))
    if few:
        raise ValidationFailure(f"suite {few}", reason="TooFewItems")


def unshown(ctx: StageContext, built: list[suites.Suite]) -> list[str]:
    """Which losses the suites could not show even of a model that was right on everything."""
    evaluation = ctx.spec.evaluation
    perfect = {
        spec.name: {
            item.content: ItemScore(Fraction(spec.repeats), spec.repeats, facts_of(item), strata_of(item))
            for item in suite.items
        }
        for spec, suite in zip(evaluation.suites, built, strict=True)
    }
    return blind(evaluation, perfect)


def load_personas(ctx: StageContext) -> Source[Persona]:
    """The personas of the round; without an agentic track the built-in ones, which problems are re-skinned with."""
    agentic = ctx.spec.agentic
    if agentic is None:
        return personas.bring(personas.BUILTIN, {}, ctx.store)
    fields = agentic.persona_fields.columns() if agentic.persona_fields else {}
    return personas.bring(agentic.personas, fields, ctx.store)


def load_seeds(ctx: StageContext) -> Source[Problem]:
    """The seed problems of the round, each with an answer, at most mining.maxProblems of them."""
    reasoning = ctx.spec.reasoning
    if reasoning is None:
        return Source("")
    limit = reasoning.mining.max_problems
    if reasoning.seeds in numeracy.BUILTIN_SEEDS:
        families = numeracy.BUILTIN_SEEDS[reasoning.seeds]
        made = numeracy.seeds(ctx.rng("seeds"), min(limit, BUILTIN_LIMIT), families)
        return Source(reasoning.seeds, made)
    if reasoning.seeds.startswith("builtin://"):
        raise ValidationFailure(f"{reasoning.seeds} does not exist: built in are {', '.join(numeracy.BUILTIN_SEEDS)}")
    fields = reasoning.fields.columns() if reasoning.fields else {}
    return load(
        ctx.store,
        reasoning.seeds,
        Problem,
        "spec.reasoning.fields",
        fields,
        limit,
        sample=f"seeds/{ctx.spec.seed}",
        progress=lambda rows: ctx.progress(1, 3, f"read {rows} rows of the seeds"),
    )


def clean(ctx: StageContext, seeds: Source[Problem], items: list[Problem]) -> tuple[list[Problem], Counter[str]]:
    """Seeds without duplicates and without problems of an evaluation suite (`items`), and what was dropped."""
    reasoning = ctx.spec.reasoning
    dropped = Counter({"wrong-row": seeds.wrong, "duplicate": seeds.repeated, "beyond-max-problems": seeds.left_out})
    if reasoning is None:
        return [], dropped
    contamination = Contamination(items, reasoning.dedup.decontamination_ngram)
    duplicates = Duplicates(float(reasoning.dedup.minhash_threshold))
    kept = []
    for problem in seeds.records:
        problem, wrong = with_truth(problem)
        wrong = wrong or (IN_QUESTION if gives_itself_away(problem) else "")
        reason = wrong or contamination.reason(problem) or duplicates.add(problem)
        if reason:
            dropped[reason] += 1
        else:
            kept.append(problem)
    return kept, dropped
