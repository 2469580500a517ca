"""LoRA: what verl is told, what is refused by name, and which weights an adapter is folded into."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flywheel_api.capacity.shape import KNOWN
from flywheel_api.conditions import Reason
from flywheel_api.content import training_content
from flywheel_api.overrides import check_overrides
from flywheel_api.pods.allowed import AllowList
from flywheel_api.presets import training_spec
from flywheel_api.results import Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.verl.rules import refusals
from flywheel_api.verl.settings import RunPaths, settings
from flywheel_jobs.trainer.adapters import META, Adapter, adapters, published_name, scale
from flywheel_operator.plan.preflight import Hardware, capacity, job_fits, round_spec
from golden import BASE, DATA, load

PATHS = RunPaths("/m", ("/t",), (), "/c", "/r", "/a")
MODEL = "actor_rollout_ref.model"


def job(**more: Any) -> RLJobSpec:
    return RLJobSpec.model_validate(load("rljob")[1] | {"model": BASE} | more)


def test_verl_is_told_by_its_own_keys_and_merges_for_the_sampler() -> None:
    told = settings(job(lora={"rank": 32, "targets": ["q_proj", "v_proj"]}), PATHS, "o", "p")
    assert {key: told[f"{MODEL}.{key}"] for key in ("lora_rank", "lora_alpha", "target_modules", "lora.merge")} == {
        "lora_rank": 32, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"], "lora.merge": True,
    }  # fmt: skip
    assert settings(job(lora={"rank": 8, "alpha": 8}), PATHS, "o", "p")[f"{MODEL}.lora_alpha"] == 8
    every = settings(job(lora={"rank": 8}), PATHS, "o", "p")[f"{MODEL}.target_modules"]
    assert len(every) == 7 and "lm_head" not in every
    assert not any("lora" in key for key in settings(job(), PATHS, "o", "p"))
    assert refusals(job(lora={"rank": 512})) == []


def test_a_training_with_adapters_is_another_content_and_one_without_is_as_before() -> None:
    assert "spec.lora" in training_content(job(lora={"rank": 8}), BASE)
    assert "spec.lora" not in training_content(job(), BASE)


def test_a_round_hands_it_to_its_trainings() -> None:
    spec = load("round-8b")[1]
    spec["training"] = spec["training"] | {"lora": {"rank": 16}}
    made = training_spec(FlywheelRoundSpec.model_validate(spec), Track.AGENTIC, BASE, DATA, None)
    assert made.lora is not None and made.lora.rank == 16
    spec["training"]["gpusPerNode"] = 0
    problem = round_spec(FlywheelRoundSpec.model_validate(spec), AllowList())
    assert problem is not None and "lora is for GPUs" in problem.message


@pytest.mark.parametrize(
    "key",
    ["lora_rank", "lora_alpha", "target_modules", "exclude_modules", "lora_adapter_path", "lora.merge", "lora.rank"],
)
def test_adapters_are_not_had_by_overrides_which_published_the_base_as_trained(key: str) -> None:
    (said,) = check_overrides({f"{MODEL}.{key}": 8})
    assert "is set by Flywheel" in said


def test_a_checkpoint_of_adapters_alone_is_refused() -> None:
    assert check_overrides({"actor_rollout_ref.actor.checkpoint.save_lora_only": True})


@pytest.mark.parametrize(
    ("name", "rank", "words"),
    [("Qwen3-30B-A3B", 16, "128 experts"), ("SmolLM2-135M", 256, "layer 192 wide"), ("Qwen3-8B", 32, "")],
)
def test_a_model_that_cannot_have_them_is_refused_before_a_gpu_is_held(name: str, rank: int, words: str) -> None:
    problem = job_fits(job(lora={"rank": rank}), KNOWN[name], Hardware())
    assert (problem is None) if not words else (problem is not None and words in problem.message)
    spec = load("round-8b")[1]
    spec["training"] = spec["training"] | {"lora": {"rank": rank}}
    refused, _ = capacity(FlywheelRoundSpec.model_validate(spec), KNOWN[name], Hardware())
    if words:
        assert refused is not None and refused.reason is Reason.INVALID_SPEC and words in refused.message


@pytest.mark.parametrize(
    ("targets", "fits"), [([], False), (["q_proj", "o_proj"], False), (["o_proj", "down_proj"], True)]
)
def test_layers_that_a_model_has_fused_get_no_adapter(targets: list[str], fits: bool) -> None:
    """Phi: adapters would be on the layers alone that are called as elsewhere, and nobody would see it."""
    lora = {"rank": 16, **({"targets": targets} if targets else {})}
    problem = job_fits(job(lora=lora), replace(KNOWN["Qwen3-4B"], fused=True), Hardware())
    assert (problem is None) is fits
    if problem is not None:
        assert "q_proj" in problem.message and "o_proj, down_proj" in problem.message


LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
NAMES = [
    f"{LAYER}.base_layer.weight", f"{LAYER}.base_layer.bias", f"{LAYER}.lora_A.default.weight",
    f"{LAYER}.lora_B.default.weight", "base_model.model.model.norm.weight", "base_model.model.lm_head.weight",
]  # fmt: skip


def test_an_adapter_is_found_beside_its_weights_which_get_their_own_name_again() -> None:
    (found,) = adapters(NAMES)
    assert found == Adapter(NAMES[0], NAMES[2], NAMES[3])
    assert [published_name(name) for name in (NAMES[0], NAMES[1], NAMES[4], NAMES[5])] == [
        "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias", "model.norm.weight",
        "lm_head.weight",
    ]  # fmt: skip
    assert adapters(["model.norm.weight"]) == [] and published_name("model.norm.weight") == "model.norm.weight"


@pytest.mark.parametrize("missing", [0, 3])
def test_half_an_adapter_is_no_model(missing: int) -> None:
    with pytest.raises(ValueError, match="not whole"):
        adapters(name for place, name in enumerate(NAMES) if place != missing)


def test_another_kind_of_adapter_is_not_left_out_in_silence() -> None:
    with pytest.raises(ValueError, match="cannot be merged"):
        adapters([*NAMES, f"{LAYER}.lora_magnitude_vector.default.weight"])


def test_how_often_adapters_count_is_what_the_checkpoint_says(tmp_path: Path) -> None:
    (tmp_path / META).write_text(json.dumps({"r": 32, "lora_alpha": 64, "task_type": "CAUSAL_LM"}))
    assert scale(tmp_path) == 2.0
    for wrong in ("{}", '{"r": 0, "lora_alpha": 1}', "no json"):
        (tmp_path / META).write_text(wrong)
        with pytest.raises(ValueError, match="how adapters count"):
            scale(tmp_path)
    with pytest.raises(ValueError, match="how adapters count"):
        scale(tmp_path / "nowhere")
