"""Results and records: told apart by kind, the same on both sides of the store, and readable where a model is old."""

from __future__ import annotations

import json
import typing
from typing import Any

import pytest
from pydantic import ValidationError

from flywheel_api import results
from flywheel_api.artifacts import Manifest, Owner
from flywheel_api.records.agentic import Seed, Task, TreeRecord
from flywheel_api.records.base import Record
from flywheel_api.records.evaluation import EvaluationRow, GateRow
from flywheel_api.records.reasoning import Persona, Problem, Sample, Vote
from flywheel_api.records.trajectory import Trajectory

OWNER = Owner(kind="FlywheelRound", namespace="n", name="r", uid="u")
MEMBERS = typing.get_args(typing.get_args(results.Result)[0])
RECORDS: tuple[type[Record], ...] = (
    Problem, Persona, Sample, Vote, Task, Seed, TreeRecord, Trajectory, EvaluationRow, GateRow,
)  # fmt: skip


def test_every_result_has_a_kind_of_its_own() -> None:
    kinds = [m.model_fields["kind"].default for m in MEMBERS]
    assert len(set(kinds)) == len(kinds) == len([n for n in vars(results) if n.endswith("Result") and n != "Result"])


def test_a_manifest_is_the_same_after_it_was_stored() -> None:
    result = results.VerdictResult(verdict=results.Verdict.PROMOTED, model="sha256:" + "a" * 64, reasons=["it passed"])
    manifest = Manifest(owner=OWNER, stage="Gate", attempt=1, result=result, created_at="2026-01-01T00:00:00Z")
    again = Manifest.model_validate_json(manifest.canonical())
    assert again == manifest and again.digest == manifest.digest and isinstance(again.result, results.VerdictResult)


def test_a_result_of_an_unknown_kind_is_no_manifest() -> None:
    body = {"owner": OWNER.dump(), "stage": "Gate", "attempt": 1, "result": {"kind": "Rumour"}, "createdAt": ""}
    with pytest.raises(ValidationError, match="Rumour"):
        Manifest.model_validate(body)


def test_records_name_their_schema_and_hold_id_and_lineage() -> None:
    names = [r.schema_name() for r in RECORDS]
    assert len(set(names)) == len(names) and all(name.rpartition("/v")[2].isdigit() for name in names)
    assert all({"id", "lineage", "schema_"} <= set(r.model_fields) for r in RECORDS)


def v1(**fields: Any) -> bytes:
    body = {
        "schema": "flywheel.dev/manifest/v1",
        "kind": "Checkpoint",
        "owner": OWNER.dump(),
        "stage": "Train",
        "attempt": 1,
        "configDigest": "sha256:0",
        "files": [{"path": "model/config.json", "sha256": "a" * 64, "size": 1}],
        "createdAt": "2026-01-01T00:00:00Z",
    }
    return json.dumps(body | fields).encode()


def test_models_of_release_0_1_stay_usable() -> None:
    trained = Manifest.model_validate_json(v1(step=22, details={"algorithm": "GRPO", "curve": [{"step": 1}]}))
    assert isinstance(trained.result, results.TrainingResult) and trained.step == 22
    imported = Manifest.model_validate_json(v1(details={"source": "hf://a/b"}))
    assert isinstance(imported.result, results.ModelResult) and imported.result.source == "hf://a/b"
    assert imported.file("model/config.json") is not None


def test_other_manifests_of_release_0_1_say_what_to_do() -> None:
    with pytest.raises(ValidationError, match="make it again with a new round"):
        Manifest.model_validate_json(v1(kind="Dataset"))
