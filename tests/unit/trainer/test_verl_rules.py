"""What verl would refuse, asked in Preflight: our rules against what the real verl said of the same specs."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import pytest

from flywheel_api.overrides import check_overrides
from flywheel_api.verl.rules import refusals
from flywheel_api.verl_keys import KEYS
from unit.trainer.verl_verdicts import VERDICTS, cases, make_model, spec, verdict

RECORDED = json.loads(VERDICTS.read_text())
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
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
    assert RECORDED["version"] == KEYS.version
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
        ({"overrides": {f"{ACTOR}.ppo_max_token_len_per_gpu": 512}}, "is less than the longest sequence"),
        ({"overrides": {f"{ROLLOUT}.max_model_len": 64}}, "leaves no room after algorithm.maxPromptTokens"),
    ],
)  # fmt: skip
def test_sentences_say_what_to_change(fields: dict[str, Any], says: str) -> None:
    assert says in "; ".join(refusals(spec(fields)))


@pytest.mark.parametrize(
    ("key", "bad", "good"),
    [
        (f"{ROLLOUT}.name", ["sglang", "trtllm", "hf"], ["vllm"]),
        (f"{ROLLOUT}.gpu_memory_utilization", [1.5, 0, -0.1, 85], [0.85, 1, 0.05]),
        (f"{ROLLOUT}.top_p", [0, 1.01, -1], [1, 1.0, 0.7]),
        (f"{ROLLOUT}.top_k", [-2], [-1, 0, 20]),
        (f"{ROLLOUT}.dtype", ["fp8", "int8"], ["bfloat16", "auto"]),
        (f"{ROLLOUT}.n", [0, -4], [8]),
        (f"{ROLLOUT}.max_num_seqs", [0], [256]),
        (f"{ROLLOUT}.max_num_batched_tokens", [-1], [8192]),
        (f"{ROLLOUT}.tensor_model_parallel_size", [0, -1], [2]),
        (f"{ROLLOUT}.val_kwargs.temperature", [-0.5], [0, 1.0]),
        (f"{ROLLOUT}.val_kwargs.n", [0], [4]),
        (f"{ROLLOUT}.val_kwargs.top_p", [1.5], [0.95]),
        (f"{ACTOR}.optim.lr", [-1, 0, -1e-6], [1e-6, 1]),
        (f"{ACTOR}.optim.weight_decay", [-0.01], [0, 0.1]),
        (f"{ACTOR}.optim.betas", [[0.9, 1.0], [-0.1, 0.9]], [[0.9, 0.95]]),
        (f"{ACTOR}.optim.lr_warmup_steps_ratio", [1.1, -0.1], [0, 0.1]),
        (f"{ACTOR}.optim.lr_warmup_steps", [-5], [-1, 10]),
        (f"{ACTOR}.optim.lr_scheduler_type", ["linear", "Cosine"], ["cosine", "constant"]),
        (f"{ACTOR}.optim.min_lr_ratio", [2], [0.1, None]),
        (f"{ACTOR}.clip_ratio", [-0.2, 2], [0.2]),
        (f"{ACTOR}.clip_ratio_c", [1, 0.5], [3.0, 10]),
        (f"{ACTOR}.grad_clip", [0, -1], [1.0]),
        (f"{ACTOR}.ppo_epochs", [0], [2]),
        (f"{ACTOR}.ppo_mini_batch_size", [0, -8], [64]),
        (f"{ACTOR}.policy_loss.loss_mode", ["ppo", "GSPO"], ["gspo", "clip_cov"]),
        (f"{ACTOR}.kl_loss_type", ["kl3", "full"], ["low_var_kl", "k3+"]),
        (f"{ACTOR}.kl_loss_coef", [-0.1], [0.001]),
        (f"{ACTOR}.fsdp_config.model_dtype", ["fp8"], ["fp32", "bf16"]),
        (f"{ACTOR}.fsdp_config.strategy", ["megatron", "deepspeed"], ["fsdp2"]),
        ("actor_rollout_ref.ref.strategy", ["megatron"], ["fsdp2"]),
        ("algorithm.gamma", [1.5], [1.0, 0.99]),
        ("algorithm.lam", [-1], [0.95]),
        ("algorithm.kl_ctrl.type", ["linear"], ["adaptive"]),
        ("algorithm.kl_penalty", ["kl4"], ["kl", "k3"]),
        ("critic.optim.lr", [-1e-5], [0, 1e-5]),
        ("critic.cliprange_value", [-0.5], [0.5]),
        ("data.truncation", ["cut"], ["left", "error"]),
        ("trainer.logger", [["console", "wand"], "tensorbord"], [["console", "wandb"], "tensorboard"]),
        ("critic.model.lora_rank", [-1], [0, 32]),
        ("critic.model.lora_alpha", [0, -16], [16]),
    ],
)
def test_values_that_only_the_gpus_would_refuse_are_refused_before(key: str, bad: list[Any], good: list[Any]) -> None:
    assert check_overrides({key: good[0]}) == [], "a key that verl has"
    for value in bad:
        (said,) = refusals(spec({"overrides": {key: value}}))
        assert said.startswith(f"{key} ") and ("is outside" in said or "is none of" in said)
    for value in good:
        found = refusals(spec({"overrides": {key: value}}))
        assert all(any(words in one for words in LATER) for one in found), found


def test_a_map_hides_no_value_and_a_reference_is_left_to_verl() -> None:
    assert refusals(spec({"overrides": {f"{ACTOR}.optim": {"lr": -1, "betas": [0.9, 2]}}}))
    assert not refusals(spec({"overrides": {f"{ACTOR}.optim.lr": "${critic.optim.lr}"}}))
    assert not refusals(spec({"overrides": {f"{ACTOR}.kl_loss_type": "${algorithm.kl_penalty}"}}))


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
