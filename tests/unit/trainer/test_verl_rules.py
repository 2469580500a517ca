"""What verl would refuse, asked in Preflight: our rules against what the real verl said of the same specs."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from flywheel_api.overrides import check_overrides, verl_keys
from flywheel_api.verl.rules import refusals
from unit.trainer.verl_verdicts import VERDICTS, cases, make_model, spec, verdict

RECORDED = json.loads(VERDICTS.read_text())
LATER = ("do not divide by", "does not divide", "takes one node")
"""Words of rules whose breach verl meets on the GPUs only, at its first rollout or update."""


@pytest.mark.parametrize("entry", RECORDED["verdicts"], ids=lambda entry: json.dumps(entry["case"]))
def test_what_verl_refuses_is_refused_before(entry: dict[str, Any]) -> None:
    said = refusals(spec(entry["case"]))
    assert check_overrides(entry["case"].get("overrides", {})) == []
    if entry["verl"]:
        assert said, entry["verl"]
    else:
        assert all(any(words in one for words in LATER) for one in said), "verl takes it"


def test_the_verdicts_are_those_of_the_cases_and_of_the_version_that_images_carry() -> None:
    assert [entry["case"] for entry in RECORDED["verdicts"]] == json.loads(json.dumps(cases()))
    assert RECORDED["version"] == verl_keys().version
    refused = [entry for entry in RECORDED["verdicts"] if entry["verl"]]
    assert len(refused) > 30 and len(RECORDED["verdicts"]) - len(refused) > 20, "both kinds are there"


@pytest.mark.timeout(1200)
def test_the_installed_verl_says_what_was_recorded() -> None:
    pytest.importorskip("verl", reason="needs the ML environment")
    make_model()
    assert [verdict(case) for case in cases()] == [entry["verl"] for entry in RECORDED["verdicts"]]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"nodes": 2, "algorithm": {"prompts_per_step": 5, "group_size": 6, "micro_batch_size": 2}},
         "5 prompts x 6 rollouts = 30 sequences, which do not divide by 16 GPUs: change algorithm.promptsPerStep"),
        ({"overrides": {"actor_rollout_ref.rollout.temperature": 0}}, "leaves nothing to compare in a group"),
        ({"rollout_tensor_parallel": 3}, "rolloutTensorParallel 3 does not divide 8 GPUs of a node"),
        ({"algorithm": {"mini_batch_prompts": 3, "group_size": 2}}, "change algorithm.miniBatchPrompts"),
        ({"algorithm": {"mini_batch_prompts": 65}}, "algorithm.miniBatchPrompts 65 exceeds algorithm.promptsPerStep"),
    ],
)  # fmt: skip
def test_sentences_say_what_to_change(fields: dict[str, Any], says: str) -> None:
    assert says in "; ".join(refusals(spec(fields)))


def test_presets_and_examples_pass() -> None:
    from flywheel_api.presets import PRESETS

    for tracks in PRESETS.values():
        for fields in tracks.values():
            made = {k: v for k, v in fields.items() if k != "algorithm"}
            assert refusals(spec({}).model_copy(update={**made, "algorithm": fields["algorithm"]})) == []


def test_defaults_of_the_rules_are_keys_of_verl() -> None:
    from flywheel_api.verl.rules import DEFAULTS

    known = json.loads((resources.files("flywheel_api") / "verl_keys.json").read_text())
    assert [key for key in DEFAULTS if key not in known["keys"] and key not in known["addable"]] == []
