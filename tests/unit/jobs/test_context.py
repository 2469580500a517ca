"""What a stage is given: inputs of the kind that it expects, or an error that says which stage gave what."""

from __future__ import annotations

import pytest

from contract import stages
from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.records.agentic import Task
from flywheel_api.records.reasoning import Problem
from flywheel_api.results import EvaluationResult, MinedResult, PreparedResult, Result
from flywheel_api.stages import Stage
from flywheel_jobs.core.errors import CorruptArtifact, ValidationFailure
from flywheel_jobs.harness.context import OutputFile, StageContext, store_file
from flywheel_jobs.storage.store import Store
from flywheel_store.memory import MemoryBucket


def context(result: Result, *files: OutputFile) -> StageContext:
    """A context whose one input, of Prepare, has this result and these files."""
    store = Store(MemoryBucket())
    owner = Owner(kind="FlywheelRound", namespace="n", name="r", uid="u")
    entries = [store_file(store, f) for f in files]
    made = StageContext(stages.config(Stage.MINE_REASONING, stages.round_spec(), "http://unused", {}), store)
    made.inputs[Stage.PREPARE] = Manifest(
        owner=owner, stage="Prepare", attempt=1, files=entries, result=result, created_at="2026-01-01T00:00:00Z"
    )
    return made


def test_a_result_is_of_the_kind_that_is_asked_for() -> None:
    ctx = context(PreparedResult(suites=[]))
    assert ctx.result(Stage.PREPARE, PreparedResult) == PreparedResult(suites=[])
    with pytest.raises(CorruptArtifact, match="manifest of Prepare holds a Prepared result, no EvaluationResult"):
        ctx.result(Stage.PREPARE, EvaluationResult)
    with pytest.raises(ValidationFailure, match="MineReasoning needs the manifest of Gate"):
        ctx.result(Stage.GATE, MinedResult)


def test_records_are_of_the_kind_that_is_asked_for() -> None:
    problems = [Problem(id=f"p{n}", question=str(n)) for n in range(2)]
    ctx = context(PreparedResult(suites=[]), OutputFile.of("seeds.jsonl", Problem, problems))
    assert ctx.input(Stage.PREPARE).files[0].record_schema == "reasoning-problem/v2"
    assert ctx.records(Stage.PREPARE, "seeds.jsonl", Problem) == problems
    with pytest.raises(CorruptArtifact, match=r"record 1 of seeds\.jsonl is no agentic-task/v2: "):
        ctx.records(Stage.PREPARE, "seeds.jsonl", Task)
    with pytest.raises(CorruptArtifact, match="manifest of Prepare has no file other"):
        ctx.records(Stage.PREPARE, "other.jsonl", Problem)
