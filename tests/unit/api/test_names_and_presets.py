"""Names are facts, presets are complete, and a round overrides them field by field."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flywheel_api import conditions as cond
from flywheel_api.base import format_duration, parse_duration
from flywheel_api.names import CHILD_NAME_LIMIT, child_name, kebab
from flywheel_api.pool import PoolTemplate
from flywheel_api.presets import PRESETS, WARM_UPS, UnknownPreset, pool_template, training_spec, validates
from flywheel_api.results import Track
from flywheel_api.rljob import AlgorithmSpec
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role
from flywheel_api.stages import PIPELINE, Stage
from flywheel_api.turns import TURNS, number_of

DIGEST = "sha256:" + "0" * 64


def round_spec(**training: object) -> FlywheelRoundSpec:
    return FlywheelRoundSpec.model_validate(
        {
            "campaign": "c",
            "base": {"model": DIGEST},
            "endpoints": [{"role": "Teacher", "url": "http://t/v1", "model": "t"}],
            "reasoning": {"seeds": "builtin://numeracy"},
            "agentic": {"personas": "builtin://personas", "domains": [{"name": "booking"}]},
            "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
            "training": training,
        }
    )


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("own", [{}, {"gpusPerNode": 0}, {"gpusPerNode": 2}])
def test_what_validates_is_what_trains_on_gpus(preset: str, own: dict[str, int]) -> None:
    spec = round_spec(preset=preset, **own)
    for track in Track:
        assert validates(spec, track) == (training_spec(spec, track, DIGEST, DIGEST, None).gpus_per_node > 0)


@pytest.mark.parametrize("owner", ["a", "support-r1", "x" * 63, "9lives", "dots.in.name", "ends-" * 12 + "z"])
@pytest.mark.parametrize("stage", list(Stage))
def test_child_names_are_dns_1035_labels_within_kuberays_limit(owner: str, stage: str) -> None:
    name = child_name(owner, "uid-1", stage, 12)
    assert len(name) <= CHILD_NAME_LIMIT
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), name


def test_child_names_differ_by_every_fact_and_by_nothing_else() -> None:
    base = child_name("r", "uid-1", "TrainAgentic", 1)
    assert base == child_name("r", "uid-1", "TrainAgentic", 1)
    others = {
        child_name("r", "uid-2", "TrainAgentic", 1),
        child_name("r", "uid-1", "TrainReasoning", 1),
        child_name("r", "uid-1", "TrainAgentic", 2),
    }
    assert base not in others and len(others) == 3


def test_long_owners_that_share_a_prefix_stay_apart() -> None:
    assert child_name("x" * 50 + "a", "uid-1", "Package", 1) != child_name("x" * 50 + "b", "uid-2", "Package", 1)


def test_kebab() -> None:
    assert kebab("TrainAgentic") == "train-agentic"


def test_durations_round_trip() -> None:
    assert parse_duration("1h30m") == timedelta(minutes=90)
    assert parse_duration("250ms") == timedelta(milliseconds=250)
    assert format_duration(timedelta(seconds=7810)) == "2h10m"
    with pytest.raises(ValueError, match="90s"):
        parse_duration("soon")


def test_a_condition_moves_its_transition_time_only_with_its_status() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    first = cond.set_condition((), cond.ConditionType.READY, False, "Starting", "a", 1, start)
    same = cond.set_condition(first, cond.ConditionType.READY, False, "Running", "b", 2, start + timedelta(hours=1))
    moved = cond.set_condition(same, cond.ConditionType.READY, True, "Succeeded", "c", 2, start + timedelta(hours=2))
    assert same[0].last_transition_time == first[0].last_transition_time
    assert same[0].reason == "Running" and same[0].observed_generation == 2
    assert moved[0].last_transition_time == "2026-01-01T02:00:00Z"


def test_messages_are_bounded() -> None:
    assert len(cond.truncate("x" * 5000)) == cond.MESSAGE_LIMIT


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("track", list(Track))
def test_every_preset_is_a_valid_rljob(preset: str, track: Track) -> None:
    spec = training_spec(round_spec(preset=preset), track, DIGEST, DIGEST, None)
    assert (spec.agent_loop is not None) == (track is Track.AGENTIC)
    assert spec.algorithm.prompts_per_step >= (spec.algorithm.mini_batch_prompts or 1)


def test_the_8b_preset_has_the_papers_numbers() -> None:
    spec = training_spec(round_spec(preset="agenticqwen-8b"), Track.AGENTIC, DIGEST, DIGEST, None)
    a = spec.algorithm
    assert (a.group_size, a.prompts_per_step, a.learning_rate, a.clip.low, a.clip.high) == (
        16,
        64,
        "1e-6",
        "0.2",
        "0.28",
    )
    assert (a.max_prompt_tokens, a.max_response_tokens, spec.gpus_per_node, spec.checkpoint.every_steps) == (
        4096,
        10000,
        8,
        6,
    )


def test_a_round_says_how_long_a_training_may_stand_still_and_take_to_start() -> None:
    spec = round_spec(preset="smollm2-135m-cpu", agentic={"stallAfter": "2h", "startupTimeout": "3h"})
    job = training_spec(spec, Track.AGENTIC, DIGEST, DIGEST, DIGEST)
    assert (job.stall_after, job.startup_timeout) == ("2h", "3h")
    other = training_spec(spec, Track.REASONING, DIGEST, DIGEST, DIGEST)
    assert (other.stall_after, other.startup_timeout) == ("15m", "15m"), "the preset's"


def test_a_round_overrides_single_fields_of_a_preset() -> None:
    spec = round_spec(
        preset="smollm2-135m-cpu", agentic={"algorithm": {"maxSteps": 3}, "overrides": {"trainer.balance_batch": False}}
    )
    job = training_spec(spec, Track.AGENTIC, DIGEST, DIGEST, DIGEST)
    assert job.algorithm.max_steps == 3 and job.algorithm.group_size == 6
    assert job.overrides == {"trainer.balance_batch": False}
    assert training_spec(spec, Track.REASONING, DIGEST, DIGEST, DIGEST).algorithm.max_steps == 16


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("track", list(Track))
def test_later_rounds_of_a_campaign_learn_at_half_the_rate_unless_the_round_says_another(
    preset: str, track: Track
) -> None:
    def rate(number: int, **own: object) -> float:
        spec = round_spec(preset=preset, **{track.value: {"algorithm": own}})
        return float(training_spec(spec, track, DIGEST, DIGEST, None, (), number).algorithm.learning_rate)

    assert rate(2) == rate(3) == rate(16) == rate(1) / 2
    assert rate(2, learningRate="3e-6") == 3e-6


def test_every_preset_says_what_a_round_does_by_its_number() -> None:
    assert set(TURNS) == set(WARM_UPS) == set(PRESETS)
    for first, *later in TURNS.values():
        assert first.algorithm == {} and first.replay_share == "0", "nothing came before it"
        assert len({(t.low, t.high, t.replay_share) for t in later}) == 1, "stages know round 1 and later ones apart"
        assert {name for t in later for name in t.algorithm} <= set(AlgorithmSpec.model_fields)


def test_a_round_that_nobody_has_counted_is_the_first_on_a_model_and_a_later_one_on_a_round() -> None:
    assert [number_of(None), number_of("r0"), number_of(None, 1), number_of("r0", 3)] == [1, 2, 1, 3]


@pytest.mark.parametrize(("preset", "weight"), [("agenticqwen-8b", 0.001), ("smollm2-135m-cpu", 0.0)])
def test_later_rounds_are_held_to_their_start_where_a_reference_has_room(preset: str, weight: float) -> None:
    def kl(number: int) -> float:
        job = training_spec(round_spec(preset=preset), Track.AGENTIC, DIGEST, DIGEST, None, (), number)
        return float(job.algorithm.kl_coefficient)

    assert (kl(1), kl(2), kl(5)) == (0.0, weight, weight)


@pytest.mark.parametrize(
    ("training", "gpus"),
    [
        ({"preset": "smollm2-135m-cpu"}, 0),
        ({"preset": "smollm2-135m-cpu", "gpusPerNode": 2}, 1),
        ({"preset": "agenticqwen-8b"}, 1),
        ({"preset": "agenticqwen-8b", "gpusPerNode": 0}, 0),
        ({"preset": "nobodys"}, 1),  # Preflight refuses it
    ],
)
def test_a_round_s_own_pool_is_on_the_hardware_of_its_training(training: dict[str, Any], gpus: int) -> None:
    spec = round_spec(**training)
    assert pool_template(spec).gpus_per_replica == gpus
    own = Endpoint(role=Role.POLICY, pool=PoolTemplate(gpus_per_replica=4))
    assert pool_template(spec.model_copy(update={"endpoints": [own]})).gpus_per_replica == 4, "what the round says"


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(UnknownPreset, match="smollm2-135m-cpu"):
        training_spec(round_spec(preset="nope"), Track.AGENTIC, DIGEST, DIGEST, None)


def test_the_pipeline_is_a_graph_in_status_order() -> None:
    order = [d.stage for d in PIPELINE]
    assert order == list(Stage)
    for definition in PIPELINE:
        for needed in (*definition.after, *definition.inputs, *([definition.pool] if definition.pool else [])):
            assert order.index(needed) < order.index(definition.stage)


@pytest.mark.parametrize(
    ("preset", "said", "clip"),
    [
        ("agenticqwen-8b", {}, ("0.2", "0.28")),
        ("agenticqwen-8b", {"type": "GSPO"}, ("0.0003", "0.0004")),
        ("agenticqwen-8b", {"type": "DAPO"}, ("0.2", "0.28")),
        ("agenticqwen-8b", {"type": "GSPO", "clip": {"high": "0.0006"}}, ("0.0003", "0.0006")),
        ("agenticqwen-8b", {"clip": {"low": "0.1"}}, ("0.1", "0.28")),
        ("agenticqwen-30b-a3b", {}, ("0.0003", "0.0004")),
        ("agenticqwen-30b-a3b", {"type": "GSPO", "epochs": 2}, ("0.0003", "0.0004")),
        ("agenticqwen-30b-a3b", {"clip": {"low": "0.0001"}}, ("0.0001", "0.0004")),
        ("agenticqwen-30b-a3b", {"type": "GRPO"}, ("0.2", "0.28")),
    ],
)
def test_clipping_is_that_of_the_algorithm_and_the_round_may_say_another(
    preset: str, said: dict[str, Any], clip: tuple[str, str]
) -> None:
    """GSPO clips ratios of whole sequences: at GRPO's bounds it clipped nothing, and nobody was told."""
    spec = round_spec(preset=preset, agentic={"algorithm": said})
    found = training_spec(spec, Track.AGENTIC, DIGEST, DIGEST, None).algorithm.clip
    assert (found.low, found.high, found.c) == (*clip, "10")
