"""MeasureReasoning: which problems are trained on, by what the model that is trained now makes of them.

Samples every verified variant with the served base, keeps what lies in the round's band, and fills the band in waves of
further variants (`reasoning.filling`); a share is problems of earlier rounds, answered anew. Writes training.jsonl,
measured.jsonl and samples.jsonl (everything that was measured here), votes.jsonl, and for the next round pool.jsonl
(what is to be tried or replayed again) and known.jsonl (what was trained on).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from flywheel_api.presets import replay_share, steps_planned
from flywheel_api.records.reasoning import Band, Problem, Sample, Vote
from flywheel_api.results import MeasuredResult, MinedResult, Track
from flywheel_api.round import Role
from flywheel_api.stages import Stage
from flywheel_jobs.evaluation.suites import reasoning_items
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning import bands, replay
from flywheel_jobs.reasoning.bands import Limits
from flywheel_jobs.reasoning.dedup import Contamination
from flywheel_jobs.reasoning.filling import FAMILY_SHARE, Aim, Filled, family_of, fill
from flywheel_jobs.reasoning.labels import Labeller
from flywheel_jobs.reasoning.past import TRAINED_BEFORE, Past, handed_on
from flywheel_jobs.reasoning.variants import Order, written

REPLAY = "replay"  # the phase that measures problems of earlier rounds
VISITS = 3  # of a problem in a training whose steps are counted
TOO_HARD, TOO_EASY, NOT_NEEDED = "too-hard-for-policy", "too-easy-for-policy", "more-than-needed"


@dataclass
class Measuring:
    """Labels and measures candidates, wave by wave; remembers the samples."""

    ctx: StageContext
    limits: Limits
    labeller: Labeller
    trained: frozenset[str]
    samples: list[Sample] = field(default_factory=list)

    async def measure(self, problems: Sequence[Problem], phase: str) -> list[Problem]:
        """Problems with pass rates; what an earlier round trained on comes as replay or not at all."""
        fresh = [p for p in problems if p.content not in self.trained] if phase != REPLAY else list(problems)
        self.ctx.dropped[TRAINED_BEFORE] += len(problems) - len(fresh)
        found, samples = await bands.measured(
            self.ctx, fresh, self.ctx.reasoning.difficulty.samples, self.limits, phase
        )
        self.samples += samples
        return found

    async def wave(self, number: int, orders: list[Order]) -> list[Problem]:
        """One wave: written, labelled, measured."""
        candidates = await written(self.ctx, orders, f"write-{number}")
        labelled = await self.labeller.label(candidates, f"vote-{number}")
        return await self.measure(labelled, f"measure-{number}")


async def run(ctx: StageContext) -> StageResult:
    """The problems that are trained on, all that were measured, and what the next round gets."""
    mined = ctx.result(Stage.MINE_REASONING, MinedResult)
    tried = ctx.records(Stage.MINE_REASONING, "mined.jsonl", Problem)
    solved = ctx.records(Stage.MINE_REASONING, "solved.jsonl", Problem)
    verified = ctx.records(Stage.VERIFY_REASONING, "verified.jsonl", Problem)
    before = await asyncio.to_thread(handed_on, ctx)
    known = [*ctx.records(Stage.PREPARE, "seeds/reasoning.jsonl", Problem), *tried, *verified]
    contamination = Contamination(reasoning_items(ctx), ctx.reasoning.dedup.decontamination_ngram)
    labeller = Labeller(ctx, known, contamination)
    measuring = Measuring(ctx, Limits(mined.low, mined.high), labeller, before.trained)
    first = await measuring.measure(verified, "measure")
    first += [p for p in (*tried, *solved) if p.content not in before.trained]
    wanted, least = needed(ctx)
    again = [p for p in (*tried, *solved) if p.content in before.trained]
    total = wanted or max(least, sum(p.band is Band.FRONTIER for p in first))
    old = await replay_of(ctx, measuring, before, again, total)
    aim = Aim(wanted and wanted - len(old), max(1, least - len(old)), ctx.reasoning.difficulty.waves, tuple(old))
    filled = await fill(first, aim, ctx.rng("waves"), measuring.wave)
    return await result(ctx, measuring, before, aim, filled)


def needed(ctx: StageContext) -> tuple[int | None, int]:
    """How many problems the round wants, where that can be said, and how many one step takes."""
    step, steps = steps_planned(ctx.spec, Track.REASONING)
    asked = ctx.reasoning.difficulty.prompts
    if asked is None and steps is not None:
        asked = FAMILY_SHARE * math.ceil(step * steps / (VISITS * FAMILY_SHARE))
    return None if asked is None else max(asked, step), step


async def replay_of(
    ctx: StageContext, measuring: Measuring, before: Past, again: Sequence[Problem], total: int
) -> list[Problem]:
    """Problems of earlier rounds that are trained on once more; those `again` that mining has sampled are known."""
    wanted = int(float(replay_share(ctx.spec, ctx.config.number)) * total)
    more = replay.drawn(before.replayable(), again, wanted, ctx.rng("replay"))
    return replay.replayed([*again, *await measuring.measure(more, REPLAY)], wanted, total)


async def result(ctx: StageContext, measuring: Measuring, before: Past, aim: Aim, filled: Filled) -> StageResult:
    """Everything that is kept, with counts and what it took."""
    training = [*filled.chosen, *aim.beside]
    by_band = Counter(p.band for p in filled.measured)
    ctx.dropped[TOO_HARD] += by_band[Band.HARD]
    ctx.dropped[TOO_EASY] += by_band[Band.SOLVED]
    ctx.dropped[NOT_NEEDED] += by_band[Band.FRONTIER] - len(filled.chosen)
    await ctx.flush()
    found = MeasuredResult(
        bands=bands.tally(filled.measured),
        families=dict(Counter(map(family_of, filled.chosen)).most_common(32)),
        wanted=aim.enough,
        found=len(filled.chosen),
        replayed=len(aim.beside),
        waves=filled.waves,
        samples=sum(len(s.scores) for s in measuring.samples),
        tokens=ctx.journal.tokens.get(Role.POLICY.value, 0),
    )
    after = before.then(filled.measured, training, ctx.reasoning.mining.max_problems)
    return StageResult(
        found.model_copy(update={"note": note(found, aim)}),
        [
            OutputFile.of("training.jsonl", Problem, training),
            OutputFile.of("measured.jsonl", Problem, filled.measured),
            OutputFile.of("samples.jsonl", Sample, measuring.samples),
            OutputFile.of("votes.jsonl", Vote, measuring.labeller.votes),
            *after.files(),
        ],
        counts=ctx.counts(len(training)),
        metrics={f"band-{name}": float(n) for name, n in found.bands.items()},
    )


def note(found: MeasuredResult, aim: Aim) -> str:
    """The result in a sentence or two."""
    said = ", ".join(f"{n} {name}" for name, n in found.bands.items())
    wanted = f" of {found.wanted}" if aim.prompts is not None else ""
    text = f"{said}; {found.found}{wanted} problems in the band after {found.waves} waves, "
    text += f"{found.replayed} replayed; {found.samples} samples, {found.tokens} tokens"
    most = max(found.families, key=lambda family: found.families[family], default="")
    if found.families.get(most, 0) * FAMILY_SHARE > max(found.found, FAMILY_SHARE):  # of what is wanted it has no more
        text += f"; {found.families[most]} of the {found.found} are {most}, as other families are missing"
    if found.found >= found.wanted:
        return text
    return (
        f"{text}. Problems are missing: what was found is trained on more often; give more or other "
        "reasoning.seeds, raise reasoning.difficulty.waves, or widen its low and high"
    )
