"""What results are made of: the table names fields that exist, keys change with what matters and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from flywheel_api import content
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec, Role
from flywheel_api.schema import structural_schema
from flywheel_api.stages import PIPELINE, Runs, Stage
from unit.operator.world import ROUND

SPEC = yaml.safe_load(ROUND)["spec"]
JOBS = [d.stage for d in PIPELINE if d.runs is Runs.JOB and d.stage not in content.NEVER_REUSED]


def key(stage: Stage, **spec: Any) -> str:
    parsed = FlywheelRoundSpec.model_validate(SPEC | spec)
    return content.content_key(content.stage_content(stage, parsed, {"Prepare": "sha256:1"}, "sha256:b", "sha256:c"))


@pytest.mark.parametrize("stage", JOBS)
def test_every_stage_names_what_it_reads_and_that_exists(stage: Stage) -> None:
    schema = structural_schema(FlywheelRoundSpec)
    paths = content.READS[Stage.EVALUATE_BASE if stage is Stage.EVALUATE_CANDIDATE else stage]
    for path in paths:
        node = schema
        for part in path.removesuffix("?").split("."):
            node = node["properties"][part.removesuffix("[]")]
            node = node["items"] if part.endswith("[]") else node


@pytest.mark.parametrize("stage", JOBS)
@pytest.mark.parametrize(
    "change",
    [
        {"campaign": "other"},
        {"budget": {"wallClock": "9h"}},
        {"suspend": True},
        {"training": {"preset": "smollm2-135m-cpu", "podTemplate": {"nodeSelector": {"a": "b"}}}},
        {"training": {"preset": "smollm2-135m-cpu", "agentic": {"retries": {"limit": 9}}}},
        {"training": {"preset": "smollm2-135m-cpu", "reasoning": {"stallAfter": "2h", "startupTimeout": "3h"}}},
        {
            "endpoints": [
                {"role": "Teacher", "url": "http://other/v1", "model": "standin", "concurrency": 3, "timeout": "5m"},
                {"role": "Policy", "pool": {"gpusPerReplica": 0, "startupTimeout": "2h"}},
            ]
        },
    ],
    ids=["campaign", "budget", "suspend", "pods", "retries", "time-outs", "addresses"],
)
def test_where_and_how_often_it_runs_is_not_part_of_a_result(stage: Stage, change: dict[str, Any]) -> None:
    assert key(stage, **change) == key(stage)


@pytest.mark.parametrize("stage", JOBS)
def test_inputs_and_the_seed_are(stage: Stage) -> None:
    scored = stage in (Stage.EVALUATE_BASE, Stage.EVALUATE_CANDIDATE)  # with seeds of the items' own: rounds compare
    assert (key(stage, seed=7) == key(stage)) is (scored or stage is Stage.IMPORT_MODEL)
    parsed = FlywheelRoundSpec.model_validate(SPEC)
    other = content.stage_content(stage, parsed, {"Prepare": "sha256:2"}, "sha256:b", "sha256:c")
    assert content.content_key(other) != key(stage)


@pytest.mark.parametrize("stage", [s for s in JOBS if content.ROLES.get(s)])
def test_who_plays_the_roles_is(stage: Stage) -> None:
    players = [
        {"role": "Teacher", "url": "http://standin:8000/v1", "model": "another"},
        {"role": "Policy", "pool": {"gpusPerReplica": 0, "engine": {"maxModelLen": 99}}},
    ]
    assert key(stage, endpoints=players) != key(stage)


@pytest.mark.parametrize("stage", [s for s in JOBS if Role.TEACHER in content.ROLES.get(s, ())])
def test_how_tool_results_are_written_is_where_somebody_says_it(stage: Stage) -> None:
    teacher, policy = SPEC["endpoints"]
    assert key(stage, endpoints=[teacher | {"dialect": "Auto"}, policy]) == key(stage)
    written = {key(stage, endpoints=[teacher | {"dialect": way}, policy]) for way in ("Text", "Tools", "UserTurns")}
    assert len({*written, key(stage)}) == 4


@pytest.mark.parametrize("stage", JOBS)
def test_how_much_is_held_out_is_where_somebody_says_it(stage: Stage) -> None:
    told = SPEC["training"] | {"validationRows": 8}
    assert (key(stage, training=told) != key(stage)) is (stage is Stage.PACKAGE)
    parsed = FlywheelRoundSpec.model_validate(SPEC)
    made = content.stage_content(stage, parsed, {})
    assert "spec.training.validationRows" not in made, "a round that says nothing keeps its key"


def test_a_file_behind_an_address_is_known_by_its_version() -> None:
    parsed = FlywheelRoundSpec.model_validate(SPEC | {"reasoning": {"seeds": "s3://b/seeds.jsonl"}})
    assert content.sources_of(parsed) == ["s3://b/seeds.jsonl"]
    keys = {
        content.content_key(content.stage_content(Stage.PREPARE, parsed, {}, sources={"s3://b/seeds.jsonl": tag}))
        for tag in ("one", "two")
    }
    assert len(keys) == 2


def test_nobody_else_finds_what_was_made_for_one_alone() -> None:
    made = {"stage": "Prepare"}
    assert len({content.content_key(made), content.content_key(made, "u1"), content.content_key(made, "u2")}) == 3


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"podTemplate": {"image": "other"}}, True),
        ({"retries": {"limit": 9}, "stallAfter": "2h", "startupTimeout": "3h", "wallClock": "9h"}, True),
        ({"checkpoint": {"everySteps": 99}}, True),
        ({"seed": 1}, False),
        ({"overrides": {"actor_rollout_ref.rollout.gpu_memory_utilization": 0.5}}, False),
        ({"algorithm": {"epochs": 9}}, False),
        ({"nodes": 2}, False),
    ],
)
def test_a_training_is_what_it_learns(change: dict[str, Any], same: bool) -> None:
    job = {"model": "sha256:" + "a" * 64, "data": {"train": ["sha256:" + "b" * 64]}, "reward": {"type": "Math"}}

    def made(body: dict[str, Any]) -> str:
        return content.content_key(content.training_content(RLJobSpec.model_validate(body), "sha256:m"))

    assert (made(job | change) == made(job)) is same
