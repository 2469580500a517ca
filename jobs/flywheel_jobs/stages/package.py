"""Package: training and validation sets of both tracks in verl's Parquet form, one dataset manifest per file.

Reasoning: frontier problems as they are (they have reward variance under GRPO) and verified variants. Agentic: accepted
tasks. Validation rows share no persona and, as far as there are several, no template with training rows.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel_api.artifacts import ManifestKind
from flywheel_api.round import TrackTraining
from flywheel_jobs.core.errors import ValidationFailure
from flywheel_jobs.harness.runner import OutputFile, StageContext, StageResult
from flywheel_jobs.records import PARQUET_SCHEMA, ReasoningProblem

VALIDATION_SHARE = 0.1
MAX_VALIDATION_SHARE = 0.3  # a group that would take more stays in training
AGENT_NAME = "flywheel_tool_agent"
Row = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """A row before it is numbered, with what must not be on both sides of the split."""

    id: str
    group: str
    row: Row


async def run(ctx: StageContext) -> StageResult:
    """See the module."""
    files: list[OutputFile] = []
    datasets: dict[str, dict[str, str]] = {}
    total = 0
    spec = ctx.spec
    tracks: list[tuple[str, Sequence[Example], TrackTraining]] = []
    if spec.reasoning is not None:
        tracks.append(("reasoning", reasoning_examples(ctx), spec.training.reasoning))
    if spec.agentic is not None:
        tracks.append(("agentic", agentic_examples(ctx), spec.training.agentic))
    for track, examples, training in tracks:
        train, validation = split(examples, ctx.rng("split", track))
        check_enough(track, train, training)
        datasets[track] = {}
        for name, part in (("train", train), ("validation", validation)):
            if not part:
                continue
            file = OutputFile(f"{track}/{name}.parquet", parquet(rows(part, name)), PARQUET_SCHEMA, len(part))
            files.append(file)
            datasets[track][name] = await ctx.put_dataset([file], {"track": track, "split": name})
            total += len(part)
        ctx.progress(
            len(datasets), len(tracks), f"{track}: {len(train)} training rows, {len(validation)} validation rows"
        )
    return StageResult(ManifestKind.DATASET, files, counts=ctx.counts(total), details={"datasets": datasets})


def reasoning_examples(ctx: StageContext) -> list[Example]:
    """Frontier problems and verified variants; problems that are too hard as they are were only parents."""
    mined = [ReasoningProblem.model_validate(v) for v in ctx.records("MineReasoning", "mined.jsonl")]
    verified = [ReasoningProblem.model_validate(v) for v in ctx.records("VerifyReasoning", "verified.jsonl")]
    ctx.dropped["hard-kept-as-parent"] += sum(p.band == "hard" for p in mined)
    chosen = [p for p in mined if p.band == "frontier"] + verified
    return [Example(p.id, p.persona_id or f"template {p.template}", reasoning_row(p)) for p in chosen]


def reasoning_row(problem: ReasoningProblem) -> Row:
    """verl's row of a problem."""
    return {
        "data_source": f"flywheel/{problem.family or 'reasoning'}",
        "prompt": problem.messages(),
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": problem.answer or ""},
        "extra_info": {
            "id": problem.id,
            "operator": problem.lineage.operator,
            "parent_ids": problem.lineage.parent_ids,
            "root_id": problem.lineage.root_id or problem.id,
            "round": problem.lineage.round,
            "persona_id": problem.persona_id or "",
            "template": problem.template,
            "policy_pass": json.dumps(problem.policy_pass.dump()) if problem.policy_pass else "",
        },
    }


def agentic_examples(ctx: StageContext) -> list[Example]:
    """Accepted tasks; the task itself travels as JSON in extra_info."""
    found = []
    for task in ctx.records("SolveAgentic", "tasks.jsonl"):
        lineage = task.get("lineage") or {}
        persona = str(lineage.get("personaId") or "")
        found.append(Example(str(task["id"]), persona or f"template {lineage.get('template', '')}", agentic_row(task)))
    return found


def agentic_row(task: Mapping[str, Any]) -> Row:
    """verl's row of a task, for the project's tool agent loop."""
    lineage = task.get("lineage") or {}
    return {
        "data_source": f"flywheel/{task['domain']}",
        "agent_name": AGENT_NAME,
        "prompt": [{"role": str(m["role"]), "content": str(m.get("content") or "")} for m in task["messages"]],
        "ability": "agentic",
        "reward_model": {"style": "rule", "ground_truth": json.dumps(task.get("expected"), sort_keys=True)},
        "extra_info": {
            "id": str(task["id"]),
            "operator": str(lineage.get("operator") or ""),
            "parent_ids": [str(p) for p in lineage.get("parentIds") or []],
            "root_id": str(lineage.get("rootId") or task["id"]),
            "round": str(lineage.get("round") or ""),
            "persona_id": str(lineage.get("personaId") or ""),
            "template": str(lineage.get("template") or ""),
            "outcome": str(task.get("outcome") or ""),
            "task": json.dumps(task, sort_keys=True, ensure_ascii=False),
        },
    }


def split(examples: Sequence[Example], rng: Any) -> tuple[list[Example], list[Example]]:
    """(train, validation) with disjoint groups: whole groups go to validation until it has its share."""
    sizes = Counter(e.group for e in examples)
    groups = sorted(sizes)
    rng.shuffle(groups)
    held: set[str] = set()
    count = 0
    for group in groups:
        if count >= VALIDATION_SHARE * len(examples):
            break
        if count + sizes[group] <= MAX_VALIDATION_SHARE * len(examples):
            held.add(group)
            count += sizes[group]
    train = [e for e in examples if e.group not in held]
    rng.shuffle(train)
    return train, [e for e in examples if e.group in held]


def check_enough(track: str, train: Sequence[Example], training: TrackTraining) -> None:
    """Raises ValidationFailure when not even one training step can be made of the rows."""
    need = (training.algorithm and training.algorithm.prompts_per_step) or 1
    if len(train) >= need:
        return
    more = {
        "reasoning": "raise spec.reasoning.mining.maxProblems or spec.reasoning.synthesis, or lower",
        "agentic": "raise spec.agentic.maxTasks or relax spec.agentic.acceptance, or lower",
    }[track]
    raise ValidationFailure(
        f"the {track} track has {len(train)} training rows and one step takes {need}: {more} "
        f"spec.training.{track}.algorithm.promptsPerStep; the counts of the earlier stages say what was dropped and "
        f"why",
        reason="TooFewRows",
    )


def rows(examples: Sequence[Example], split_name: str) -> list[Row]:
    """Rows with their index and split."""
    return [
        {**e.row, "extra_info": {"index": i, "split": split_name, **e.row["extra_info"]}}
        for i, e in enumerate(examples)
    ]


def parquet(values: Sequence[Row]) -> bytes:
    """The rows as one Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(values)), buffer, compression="zstd")
    return buffer.getvalue()
