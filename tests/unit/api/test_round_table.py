"""`training.rounds`: what a user says by the round's number goes before all else, and only where it says something."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api import content
from flywheel_api.presets import algorithm_of, band, by_round, replay_share, training_spec
from flywheel_api.results import Track
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.stages import PIPELINE, Runs, Stage
from flywheel_api.written import written
from unit.api.test_names_and_presets import DIGEST

TABLE: list[dict[str, Any]] = [
    {"from": 2, "learningRate": "3e-6", "difficulty": {"low": "0.3"}},
    {"from": 4, "klCoefficient": "0.01", "replayShare": "0.4", "difficulty": {"high": "0.6"}},
    {"from": 5, "learningRate": "1e-6"},
]
JOBS = [d.stage for d in PIPELINE if d.runs is Runs.JOB and d.stage not in content.NEVER_REUSED]


def spec_of(
    table: list[dict[str, Any]] | None = None,
    base: str | None = "r0",
    flywheel: dict[str, Any] | None = None,
    **more: Any,
) -> FlywheelRoundSpec:
    """A round; `flywheel` is of its reasoning track, `more` of its training."""
    training = {"preset": "agenticqwen-8b"} | ({} if table is None else {"rounds": table})
    return FlywheelRoundSpec.model_validate(
        {
            "campaign": "c",
            "base": {"model": DIGEST} if base is None else {"round": base},
            "endpoints": [{"role": "Teacher", "url": "http://t/v1", "model": "t"}],
            "reasoning": {"seeds": "builtin://numeracy"} | (flywheel or {}),
            "agentic": {"personas": "builtin://personas", "domains": [{"name": "booking"}]},
            "evaluation": {"suites": [{"name": "numeracy-heldout"}]},
            "training": training | more,
        }
    )


def values(spec: FlywheelRoundSpec, number: int) -> tuple[str, str, tuple[str, str], str]:
    job = training_spec(spec, Track.REASONING, DIGEST, DIGEST, None, (), number)
    of_job = (job.algorithm.learning_rate, job.algorithm.kl_coefficient)
    return *of_job, band(spec, number), replay_share(spec, number)


def test_each_value_holds_from_its_round_on_until_a_later_entry_says_another() -> None:
    spec = spec_of(TABLE)
    assert values(spec_of(TABLE, base=None), 1) == ("1e-6", "0", ("0.05", "0.95"), "0"), "the preset's: none has begun"
    assert values(spec, 2) == values(spec, 3) == ("3e-6", "0.001", ("0.3", "0.8"), "0.2")
    assert values(spec, 4) == ("3e-6", "0.01", ("0.3", "0.6"), "0.4")
    assert values(spec, 5) == values(spec, 99) == ("1e-6", "0.01", ("0.3", "0.6"), "0.4")
    assert values(spec_of(TABLE[::-1]), 5) == values(spec, 5), "however the list came"


@pytest.mark.parametrize("track", list(Track))
def test_the_table_goes_before_what_the_round_says_elsewhere_which_goes_before_the_preset(track: Track) -> None:
    own = {"algorithm": {"learningRate": "7e-6", "klCoefficient": "0.5", "epochs": 2}}
    spec = spec_of([{"from": 3, "learningRate": "2e-6"}], **{track.value: own})
    rates = [algorithm_of(spec, track, n).learning_rate for n in (1, 2, 3)]
    assert rates == ["7e-6", "7e-6", "2e-6"], "else an entry beside a stated value would do nothing"
    assert {(a.kl_coefficient, a.epochs) for n in (1, 3) if (a := algorithm_of(spec, track, n))} == {("0.5", 2)}
    flywheel = {"replayShare": "0.5", "difficulty": {"low": "0.1", "high": "0.7"}}
    stated = spec_of([{"from": 3, "replayShare": "0", "difficulty": {"low": "0"}}], flywheel=flywheel)
    assert (band(stated, 2), replay_share(stated, 2)) == (("0.1", "0.7"), "0.5")
    assert (band(stated, 3), replay_share(stated, 3)) == (("0", "0.7"), "0")


def test_limits_that_come_from_two_places_are_in_order() -> None:
    assert band(spec_of([{"from": 2, "difficulty": {"low": "0.9"}}]), 2) == ("0.8", "0.9")


def test_what_went_by_the_number_is_told() -> None:
    told = {"number": 4, "low": "0.3", "high": "0.6", "replayShare": "0.4"}
    assert by_round(spec_of(TABLE), 4).model_dump(by_alias=True) == told
    alone = spec_of(TABLE).model_copy(update={"reasoning": None})
    assert by_round(alone, 4).model_dump(by_alias=True, exclude_none=True) == {"number": 4}


def key(stage: Stage, spec: FlywheelRoundSpec, number: int) -> str:
    made = content.stage_content(stage, spec, {"Prepare": "sha256:1"}, "sha256:b", "sha256:c", number=number)
    return content.content_key(made)


@pytest.mark.parametrize("stage", JOBS)
def test_a_round_without_a_table_keeps_its_hash_whatever_its_number(stage: Stage) -> None:
    plain = spec_of()
    made = content.stage_content(stage, plain, {"Prepare": "sha256:1"}, "sha256:b", "sha256:c")
    assert not [name for name in made if "rounds" in name]
    assert {key(stage, spec, n) for spec in (plain, spec_of([])) for n in (1, 2, 7)} == {key(stage, plain, 2)}
    assert written(spec_of([])) == written(plain)


@pytest.mark.parametrize("stage", JOBS)
def test_a_stage_is_made_of_what_it_takes_from_the_table(stage: Stage) -> None:
    spec, plain = spec_of(TABLE), spec_of()
    mines, measures = stage is Stage.MINE_REASONING, stage is Stage.MEASURE_REASONING
    assert key(stage, spec, 1) == key(stage, plain, 1), "nothing of it has begun"
    assert (key(stage, spec, 2) != key(stage, plain, 2)) is mines, "the band"
    assert key(stage, spec, 3) == key(stage, spec, 2), "the same values"
    assert (key(stage, spec, 4) != key(stage, spec, 3)) is (mines or measures), "band and replay"
    assert key(stage, spec, 5) == key(stage, spec, 4), "another learning rate makes no other data"


@pytest.mark.parametrize(
    "entry",
    [
        {"learningRate": "1e-6"}, {"from": 0, "learningRate": "1e-6"}, {"from": 2, "learningRate": "1"},
        {"from": 2, "replayShare": "1"}, {"from": 2, "klCoefficient": "-1"}, {"from": 2, "difficulty": {"low": "2"}},
        {"from": 2, "epochs": 3},
    ],
)  # fmt: skip
def test_entries_have_the_bounds_of_what_they_replace(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rounds"):
        spec_of([entry])
