"""Hashes are of what the user wrote: a release with one more field, or another order, changes none (law 15)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field

from flywheel_api import content
from flywheel_api.pool import EngineSpec, RolloutPoolSpec
from flywheel_api.resources import KINDS
from flywheel_api.rljob import AlgorithmSpec, RLJobSpec
from flywheel_api.round import EvaluationSpec, FlywheelRoundSpec, SuiteSpec
from flywheel_api.schema import structural_schema
from flywheel_api.stages import Stage
from flywheel_api.written import HASHES, hash_of, moved, written
from flywheel_operator.render.rayservice import revision
from flywheel_operator.settings import OperatorConfig
from unit.operator.world import ROUND

SPEC: dict[str, Any] = yaml.safe_load(ROUND)["spec"]
DIGEST = "sha256:" + "a" * 64
JOB = {"model": DIGEST, "data": {"train": [DIGEST]}, "reward": {"type": "Math"}, "algorithm": {"groupSize": 4}}
POOL = {"model": DIGEST, "engine": {"maxModelLen": 4096}}


class NextSuite(SuiteSpec):
    """A suite of the next release."""

    shots: int = 0


class NextEvaluation(EvaluationSpec):
    suites: Annotated[
        list[NextSuite],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}),
    ]
    seeds: int = 1


class NextRound(FlywheelRoundSpec):
    evaluation: NextEvaluation
    notes: str = ""


class NextAlgorithm(AlgorithmSpec):
    entropy: str = "0"


class NextJob(RLJobSpec):
    algorithm: NextAlgorithm = NextAlgorithm()
    priority: int = 0


class NextEngine(EngineSpec):
    cache: bool = True


class NextPool(RolloutPoolSpec):
    engine: NextEngine = NextEngine()
    drain: bool = False


def test_one_more_field_with_a_default_changes_no_hash() -> None:
    now, later = FlywheelRoundSpec.model_validate(SPEC), NextRound.model_validate(SPEC)
    assert hash_of(written(now)) == hash_of(written(later))
    for stage in (Stage.PREPARE, Stage.EVALUATE_BASE, Stage.SOLVE_AGENTIC, Stage.MINE_REASONING):
        assert content.stage_content(stage, now, {}, "b", "c") == content.stage_content(stage, later, {}, "b", "c")
    trained = [content.training_content(kind.model_validate(JOB), "m") for kind in (RLJobSpec, NextJob)]
    assert trained[0] == trained[1]
    config = OperatorConfig()
    served = [revision(config, kind.model_validate(POOL), DIGEST) for kind in (RolloutPoolSpec, NextPool)]
    assert served[0] == served[1]


def test_what_the_server_fills_in_is_not_what_the_user_wrote() -> None:
    spec = FlywheelRoundSpec.model_validate(SPEC)
    assert FlywheelRoundSpec.model_validate(spec.model_dump()) == spec
    assert hash_of(written(FlywheelRoundSpec.model_validate(spec.dump()))) == hash_of(written(spec))
    assert written(spec)["evaluation"] == {"suites": [{"name": "numeracy-heldout"}]}
    assert "gpusPerReplica" in written(spec)["endpoints"][0]["pool"], "0 is not the default"


def test_keyed_lists_have_no_order_and_others_have() -> None:
    spec = copy.deepcopy(SPEC)
    spec["evaluation"]["suites"] = [{"name": "numeracy-heldout"}, {"name": "airline-heldout"}]
    spec["budget"]["tokens"] = [{"role": "Teacher", "limit": "5"}, {"role": "Policy", "limit": "6"}]
    other = copy.deepcopy(spec)
    for part in (other["endpoints"], other["evaluation"]["suites"], other["budget"]["tokens"]):
        part.reverse()
    first, second = FlywheelRoundSpec.model_validate(spec), FlywheelRoundSpec.model_validate(other)
    assert written(first) == written(second)
    assert content.stage_content(Stage.PREPARE, first, {}) == content.stage_content(Stage.PREPARE, second, {})
    trains = [{**JOB, "data": {"train": sets}} for sets in ([DIGEST, "s3://b/x"], ["s3://b/x", DIGEST])]
    assert written(RLJobSpec.model_validate(trains[0])) != written(RLJobSpec.model_validate(trains[1]))


@pytest.mark.parametrize(("before", "is_moved"), [(None, False), ("h0-aaaaaaaa", False), (f"{HASHES}-aaaaaaaa", True)])
def test_only_hashes_of_one_version_are_compared(before: str | None, is_moved: bool) -> None:
    assert moved(before, hash_of({"a": 1})) is is_moved
    assert not moved(hash_of({"a": 1}), hash_of({"a": 1}))


def defaults(schema: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Every default of a schema, by its path."""
    found = {path: schema["default"]} if "default" in schema and not isinstance(schema["default"], dict) else {}
    for name, part in schema.get("properties", {}).items():
        found |= defaults(part, f"{path}.{name}")
    return found | (defaults(schema["items"], f"{path}[]") if "items" in schema else {})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_changed_default_needs_another_version_of_hashes(kind: Any) -> None:
    """Fields that are new need nothing; one whose default changes makes the same words mean something else."""
    known = yaml.safe_load(Path(__file__).with_name("defaults.yaml").read_text())
    found = defaults(structural_schema(kind.spec))
    before = known[kind.kind]
    changed = {path: (before[path], found[path]) for path in before if path in found and before[path] != found[path]}
    assert known["hashes"] == HASHES and not changed, f"raise written.HASHES, then write defaults.yaml anew: {changed}"
