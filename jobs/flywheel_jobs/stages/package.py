"""Package: training and validation sets of both tracks in verl's Parquet form, one dataset manifest per file.

Reasoning: what MeasureReasoning chose. Agentic: accepted tasks. Validation rows share no seed, no persona of a task and
no prompt with training rows, and are drawn from every stratum (family, expected outcome) without taking one away; a
training on CPU, which looks at none unless the round says so, gets all rows.
With `training.warmUp: SFT` a third set holds what the solver showed (`shown`), of no seed or persona that is held out.
"""

from __future__ import annotations

import io
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flywheel_api.presets import validates
from flywheel_api.records.agentic import Task
from flywheel_api.records.base import content_digest
from flywheel_api.records.conversation import CONVERSATION_SCHEMA
from flywheel_api.records.prompt import PROMPT_SCHEMA, Prompt, of_problem, of_task
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import DatasetResult, PackagedDataset, PackageResult, Split, Track
from flywheel_api.round import FlywheelRoundSpec, TrackTraining, WarmUp
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.core.turns import in_turn
from flywheel_jobs.harness.context import OutputFile, StageContext, StageResult
from flywheel_jobs.reasoning.filling import family_of
from flywheel_jobs.stages import shown

VALIDATION_SHARE = 0.1
MAX_VALIDATION_SHARE = 0.3  # of a stratum: a group that would take more stays in training


@dataclass(frozen=True)
class Example:
    """A row before it is numbered, with what must not be on both sides of the split."""

    group: str
    prompt: Prompt
    stratum: str = ""


async def run(ctx: StageContext) -> StageResult:
    """One data set for each track and split, with as many rows as one training step needs at least."""
    files: list[OutputFile] = []
    datasets: list[PackagedDataset] = []
    spec = ctx.spec
    tracks: list[tuple[Track, list[Example], TrackTraining]] = []
    if spec.reasoning is not None:
        tracks.append((Track.REASONING, reasoning_examples(ctx), spec.training.reasoning))
    if spec.agentic is not None:
        tracks.append((Track.AGENTIC, agentic_examples(ctx), spec.training.agentic))
    for number, (track, examples, training) in enumerate(tracks, start=1):
        train, validation = split(examples, ctx.rng("split", track), held_out(spec, track, len(examples)))
        check_enough(track, train, training)
        for side, part in ((Split.TRAIN, train), (Split.VALIDATION, validation)):
            if not part:
                continue
            data = parquet([p.row() for p in numbered(part, side)])
            files.append(OutputFile(f"{track}/{side}.parquet", data, PROMPT_SCHEMA, len(part)))
            datasets.append(await put(ctx, track, side, files[-1]))
        text = f"{track}: {len(train)} training rows, {len(validation)} validation rows"
        if spec.training.warm_up is WarmUp.SFT:
            apart = {e.group for e in validation}
            rows = [c.row() for group, c in shown.conversations(ctx, track) if group not in apart]
            text += f", {len(rows)} conversations to warm up with"
            if rows:
                files.append(
                    OutputFile(f"{track}/{Split.WARM_UP}.parquet", parquet(rows), CONVERSATION_SCHEMA, len(rows))
                )
                datasets.append(await put(ctx, track, Split.WARM_UP, files[-1]))
        ctx.progress(number, len(tracks), text)
    total = sum(d.records for d in datasets if d.split is not Split.WARM_UP)
    return StageResult(PackageResult(datasets=datasets), files, counts=ctx.counts(total))


async def put(ctx: StageContext, track: Track, side: Split, file: OutputFile) -> PackagedDataset:
    """A data set with a manifest of its own: what an RLJob names."""
    digest = await ctx.put_part(DatasetResult(track=track, split=side), [file])
    return PackagedDataset(track=track, split=side, digest=digest, records=file.records or 0)


def reasoning_examples(ctx: StageContext) -> list[Example]:
    """What was chosen by measuring, with its family as stratum."""
    chosen = ctx.records(Stage.MEASURE_REASONING, "training.jsonl", Problem)
    return [Example(shown.group_of(p), of_problem(p), family_of(p)) for p in chosen]


def agentic_examples(ctx: StageContext) -> list[Example]:
    """Accepted tasks; the task itself travels as JSON in extra_info."""
    tasks = ctx.records(Stage.SOLVE_AGENTIC, "tasks.jsonl", Task)
    return [Example(shown.group_of_task(t), of_task(t), t.outcome) for t in tasks]


def held_out(spec: FlywheelRoundSpec, track: Track, rows: int) -> float:
    """How many of a track's rows are validation: what the round says, else a tenth where training looks."""
    said = spec.training.validation_rows
    if said is not None:
        return said
    return VALIDATION_SHARE * rows if validates(spec, track) else 0.0


def split(examples: Sequence[Example], rng: random.Random, wanted: float) -> tuple[list[Example], list[Example]]:
    """(train, validation) with disjoint groups: whole groups go to validation until it has as many rows as `wanted`.

    Strata give in turn, none more than `MAX_VALIDATION_SHARE` of itself: what is trained on holds all of them. The same
    prompt is in one group, whatever ids it goes by.
    """
    first: dict[str, str] = {}
    examples = [replace(e, group=first.setdefault(content_digest(e.prompt.prompt), e.group)) for e in examples]
    sizes = Counter(e.stratum for e in examples)
    parts: dict[str, Counter[str]] = defaultdict(Counter)
    for e in examples:
        parts[e.group][e.stratum] += 1
    groups = sorted(parts)
    rng.shuffle(groups)
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        by_stratum[max(parts[group])].append(group)
    held: set[str] = set()
    given: Counter[str] = Counter()
    for group in in_turn(*by_stratum.values()):
        if given.total() >= wanted:
            break
        if all(given[s] + n <= MAX_VALIDATION_SHARE * sizes[s] for s, n in parts[group].items()):
            held.add(group)
            given += parts[group]
    train = [e for e in examples if e.group not in held]
    rng.shuffle(train)
    return train, [e for e in examples if e.group in held]


def check_enough(track: Track, train: Sequence[Example], training: TrackTraining) -> None:
    """Raises ValidationFailure when not even one training step can be made of the rows."""
    need = training.algorithm.prompts_per_step or 1
    if len(train) >= need:
        return
    more = {
        Track.REASONING: "raise spec.reasoning.mining.maxProblems or spec.reasoning.difficulty.waves, widen its low "
        "and high, or lower",
        Track.AGENTIC: "raise spec.agentic.maxTasks or relax spec.agentic.acceptance, or lower",
    }[track]
    raise ValidationFailure(
        f"the {track} track has {len(train)} training rows and one step takes {need}: {more} "
        f"spec.training.{track}.algorithm.promptsPerStep; the counts of the earlier stages say what was dropped "
        "and why",
        reason="TooFewRows",
    )


def numbered(examples: Sequence[Example], side: Split) -> list[Prompt]:
    """Rows with their index and split."""
    return [
        e.prompt.model_copy(update={"extra_info": e.prompt.extra_info.model_copy(update={"index": i, "split": side})})
        for i, e in enumerate(examples)
    ]


def parquet(values: Sequence[Mapping[str, object]]) -> bytes:
    """The rows as one Parquet file."""
    import pyarrow as pa  # a third of a second that only this stage has to wait for
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(values)), buffer, compression="zstd")
    return buffer.getvalue()
