"""Every row of what Preflight asks of verl's settings is needed: without it, what fails on the GPUs passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from flywheel_api.verl import rules, values
from flywheel_api.verl.values import CHOICES, RANGES, refused_values
from unit.trainer.verl_verdicts import VERDICTS, spec

ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
OUTSIDE: list[tuple[str, list[Any], list[Any]]] = [
    (f"{ROLLOUT}.gpu_memory_utilization", [0, 1.01], [0.01, 1]),
    (f"{ACTOR}.optim.lr", [0, -1], [1e-9, 5]),
    ("critic.optim.lr", [-1e-9], [0, 5]),
    ("critic.optim.weight_decay", [-0.1], [0, 3]),
    (f"{ACTOR}.optim.lr_warmup_steps_ratio", [-0.01, 1.01], [0, 1]),
    (f"{ACTOR}.optim.min_lr_ratio", [-0.01, 1.01], [0, 1]),
    (f"{ACTOR}.optim.lr_warmup_steps", [-2], [-1, 0, 9]),
    (f"{ACTOR}.optim.num_cycles", [0], [0.5]),
    (f"{ACTOR}.optim.clip_grad", [0, -1], [0.1]),
    ("critic.grad_clip", [0], [0.1]),
    (f"{ACTOR}.optim.betas", [[1.0, 0.9], [0.9, -0.1]], [[0, 0.999]]),
    (f"{ROLLOUT}.top_p", [0, 1.01], [0.01, 1]),
    (f"{ROLLOUT}.top_k", [-2], [-1, 0]),
    (f"{ROLLOUT}.min_p", [-0.01, 1.01], [0, 1]),
    (f"{ROLLOUT}.repetition_penalty", [0], [0.1, 2]),
    (f"{ROLLOUT}.val_kwargs.temperature", [-0.1], [0, 2]),
    (f"{ROLLOUT}.n", [0], [1]),
    (f"{ROLLOUT}.val_kwargs.n", [0], [1]),
    (f"{ROLLOUT}.agent.num_workers", [0], [1]),
    ("reward.num_workers", [0], [1]),
    (f"{ACTOR}.ppo_epochs", [0], [1]),
    (f"{ROLLOUT}.prompt_length", [0], [1]),
    (f"{ROLLOUT}.response_length", [0], [1]),
    ("data.max_prompt_length", [0], [1]),
    ("data.max_response_length", [0], [1]),
    (f"{ROLLOUT}.max_model_len", [0], [1]),
    (f"{ROLLOUT}.max_num_seqs", [0], [1]),
    (f"{ROLLOUT}.max_num_batched_tokens", [0], [1]),
    (f"{ACTOR}.ppo_max_token_len_per_gpu", [0], [1]),
    (f"{ACTOR}.ppo_mini_batch_size", [0], [1]),
    (f"{ACTOR}.ppo_micro_batch_size_per_gpu", [0], [1]),
    (f"{ROLLOUT}.tensor_model_parallel_size", [0], [1]),
    (f"{ROLLOUT}.data_parallel_size", [0], [1]),
    (f"{ROLLOUT}.pipeline_model_parallel_size", [0], [1]),
    (f"{ROLLOUT}.expert_parallel_size", [0], [1]),
    (f"{ACTOR}.ulysses_sequence_parallel_size", [0], [1]),
    (f"{ACTOR}.clip_ratio", [-0.01, 1.01], [0, 1]),
    (f"{ACTOR}.clip_ratio_low", [-0.01, 1.01], [0, 1]),
    (f"{ACTOR}.clip_ratio_high", [-0.01], [0, 5]),
    ("critic.cliprange_value", [-0.01], [0, 5]),
    (f"{ACTOR}.kl_loss_coef", [-0.01], [0, 5]),
    ("algorithm.kl_ctrl.kl_coef", [-0.01], [0, 5]),
    ("trainer.critic_warmup", [-1], [0, 5]),
    (f"{ACTOR}.clip_ratio_c", [1], [1.01, 10]),
    ("algorithm.kl_ctrl.horizon", [0], [1]),
    ("algorithm.gamma", [-0.01, 1.01], [0, 1]),
    ("algorithm.lam", [-0.01, 1.01], [0, 1]),
    ("critic.model.lora_rank", [-1], [0, 64]),
    ("critic.model.lora_alpha", [0], [1]),
]
UNKNOWN: list[tuple[str, Any, list[Any]]] = [
    (f"{ROLLOUT}.name", "sglang", ["vllm"]),
    ("actor_rollout_ref.ref.strategy", "megatron", ["fsdp", "fsdp2"]),
    ("critic.strategy", "megatron", ["fsdp"]),
    (f"{ACTOR}.fsdp_config.strategy", "veomni", ["fsdp2"]),
    (f"{ACTOR}.optim.lr_scheduler_type", "linear", ["constant", "cosine"]),
    (f"{ACTOR}.optim.warmup_style", "linear", ["constant", "cosine"]),
    (f"{ACTOR}.policy_loss.loss_mode", "ppo", ["vanilla", "gspo", "cispo"]),
    (f"{ACTOR}.kl_loss_type", "reverse", ["kl", "low_var_kl", "k3+"]),
    ("algorithm.kl_penalty", "reverse", ["abs", "mse+"]),
    ("algorithm.kl_ctrl.type", "linear", ["fixed", "adaptive"]),
    (f"{ROLLOUT}.dtype", "fp8", ["auto", "half", "bfloat16"]),
    (f"{ACTOR}.fsdp_config.model_dtype", "fp8", ["bf16", "fp32"]),
    ("data.truncation", "cut", ["error", "left", "right", "middle"]),
    (f"{ACTOR}.router_replay.mode", "R1", ["disabled", "R2", "R3"]),
    ("trainer.logger", ["console", "neptune"], ["wandb", ["console", "file"]]),
]


@pytest.fixture(autouse=True)
def searched_anew() -> Iterator[None]:
    """What the tables say of a key is remembered: not from before a row was taken out, nor from then on."""
    values._rows_of.cache_clear()
    yield
    values._rows_of.cache_clear()


WRONG = [(key, value) for key, bad, _ in OUTSIDE for value in bad] + [(key, bad) for key, bad, _ in UNKNOWN]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=str)
def test_each_end_of_each_range_and_each_unknown_word_is_refused(key: str, value: Any) -> None:
    (said,) = refused_values({key: value})
    assert said.startswith(f"{key} ")


def test_what_lies_on_an_end_that_belongs_to_a_range_is_taken() -> None:
    taken = [(key, value) for key, _, good in [*OUTSIDE, *UNKNOWN] for value in good]
    assert [said for key, value in taken for said in refused_values({key: value})] == []


@pytest.mark.parametrize("row", range(len(RANGES)), ids=lambda row: RANGES[row][0])
def test_without_a_range_something_passes(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "RANGES", RANGES[:row] + RANGES[row + 1 :])
    assert not all(list(refused_values({key: value})) for key, value in WRONG)


@pytest.mark.parametrize("row", range(len(CHOICES)), ids=lambda row: CHOICES[row][0])
def test_without_a_choice_something_passes(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "CHOICES", CHOICES[:row] + CHOICES[row + 1 :])
    assert not all(list(refused_values({key: value})) for key, value in WRONG)


REFUSED = [entry["case"] for entry in json.loads(VERDICTS.read_text())["verdicts"] if entry["verl"]] + [
    # what verl meets on the GPUs only
    {
        "nodes": 2,
        "algorithm": {"prompts_per_step": 6, "mini_batch_prompts": 4, "group_size": 4, "micro_batch_size": 1},
    },
    {"nodes": 2, "gpus_per_node": 0},
    {"algorithm": {"mini_batch_prompts": 3, "group_size": 2}},
    {"algorithm": {"prompts_per_step": 16, "mini_batch_prompts": 16, "group_size": 4, "micro_batch_size": 3}},
    {"overrides": {f"{ROLLOUT}.temperature": 0}},
    {"overrides": {f"{ACTOR}.ppo_max_token_len_per_gpu": 512}},
    {"overrides": {f"{ROLLOUT}.max_model_len": 64}},
]


@pytest.mark.parametrize("row", range(len(rules.RULES)), ids=lambda row: rules.RULES[row].__name__)
def test_without_a_rule_something_passes(row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with_all = [case for case in REFUSED if rules.refusals(spec(case))]
    assert len(with_all) == len(REFUSED)
    monkeypatch.setattr(rules, "RULES", rules.RULES[:row] + rules.RULES[row + 1 :])
    assert not all(rules.refusals(spec(case)) for case in REFUSED)
