"""Unknown or mistyped verl overrides are refused with a sentence that says what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.overrides import RESERVED, bare, check_overrides
from flywheel_api.verl.values import refused_values
from flywheel_api.verl_keys import KEYS

ROLLOUT = "actor_rollout_ref.rollout"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{ROLLOUT}.gpu_memory_utilization", 0.8),
        ("algorithm.gamma", 1),
        (f"{ROLLOUT}.enable_sleep_mode", False),
        (f"+{ROLLOUT}.engine_kwargs.vllm.max_logprobs", 3),
        ("actor_rollout_ref.model.override_config.attn_implementation", "eager"),
        ("actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype", "bf16"),
        (f"{ROLLOUT}.max_model_len", None),
        ("trainer.logger", ["console"]),
        ("trainer.logger", ["wandb"]),
        (f"{ROLLOUT}.engine_kwargs.vllm.served-model-name", "a/b@c [x]"),
        ("trainer.experiment_name", "C:\\dir\\ \\d+ two\nlines"),
        ("data.apply_chat_template_kwargs", {"a:b": 1, "1": 2, "": 3}),
        ("actor_rollout_ref.actor.checkpoint.save_contents", ["model", "optimizer", "extra", "hf_model"]),
        (f"{ROLLOUT}.max_num_batched_tokens", 8192),
        ("trainer.rollout_data_dir", "${trainer.default_local_dir}/rollouts"),
        ("ray_kwargs.ray_init.runtime_env.env_vars.NCCL_DEBUG", "INFO"),
        ("actor_rollout_ref.actor.strategy", "fsdp"),
        ("actor_rollout_ref.actor.entropy_coeff", 0.001),
        (f"{ROLLOUT}.top_p", 0.95),
        (f"{ROLLOUT}.val_kwargs.temperature", 0.6),
    ],
)
def test_good(key: str, value: Any) -> None:
    assert check_overrides({key: value}) == []


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (f"{ROLLOUT}.gpu_memory_utilisation", 0.8, f"did you mean {ROLLOUT}.gpu_memory_utilization?"),
        ("gpu_memory_utilization", 0.8, f"did you mean {ROLLOUT}.gpu_memory_utilization?"),
        (f"{ROLLOUT}.gpu_memory_utilization", "0.8", 'takes a number, not "0.8"'),
        ("actor_rollout_ref.actor.use_kl_loss", 1, "takes true or false, not 1"),
        (f"{ROLLOUT}.n", True, "takes an integer, not true"),
        (f"{ROLLOUT}.max_model_len", "big", "takes an integer"),
        ("trainer.nnodes", 2, "set spec.nodes"),
        (ROLLOUT, {}, "is a group of verl settings"),
        ("+nothing.of.the.kind.at.all", 1, "has no key nothing.of.the.kind.at.all"),
        ("algorithm@x.gamma", 1.0, "is no key of verl's"),
        ("model_engine/x", "dp", "is no key of verl's"),
        ("trainer.logger[0]", "wandb", "is no key of verl's"),
        ("trainer. logger", ["wandb"], "is no key of verl's"),
        ("data.apply_chat_template_kwargs..x", 1, "is no key of verl's"),
        ("data.apply_chat_template_kwargs.x.", 1, "is no key of verl's"),
        ("data.apply_chat_template_kwargs.x=y", 1, "is no key of verl's"),
        ("~algorithm.gamma", 1, "is no key of verl's"),
        ("data.sch\u00fcssel", 1, "is no key of verl's"),
        ("+++algorithm.gamma", 1, "is no key of verl's"),
        ("", 1, "is no key of verl's"),
        ("trainer.project_name", "${not_there}", "write the value itself"),
        ("data.apply_chat_template_kwargs", {"a": ["x${oc.env:HOME}"]}, "write the value itself"),
        ("trainer.project_name", "cost ${", "write the value itself"),
        ("trainer.total_training_steps", 5, "set spec.algorithm.maxSteps"),
        ("trainer.total_epochs", 5, "set spec.algorithm.epochs"),
        ("+data.train_batch_size", None, "set spec.algorithm.promptsPerStep"),
        ("algorithm.adv_estimator", "grpo", "set spec.algorithm.type"),
        ("trainer.v1.trainer_mode", "separate_async", "sync mode only"),
        (f"{ROLLOUT}.agent.default_agent_loop", "single_turn_agent", "set spec.agentLoop"),
        ("actor_rollout_ref.actor.checkpoint.save_contents", ["hf_model"], "must hold extra, model, optimizer"),
        ("actor_rollout_ref.actor.checkpoint.save_contents", None, "must hold extra, model, optimizer"),
        ("actor_rollout_ref.actor.checkpoint.load_contents", [["model"]], "must hold extra, model, optimizer"),
        ("actor_rollout_ref.actor.strategy", "megatron", "must be fsdp or fsdp2: the images hold no Megatron"),
        ("actor_rollout_ref.ref.strategy", "megatron", "no Megatron"),
        ("critic.strategy", "megatron", "no Megatron"),
        ("model_engine", "megatron", "must be dp: the images hold no Megatron"),
        ("ray_kwargs.ray_init.log_to_driver", False, "is set by Flywheel"),
        ("ray_kwargs.ray_init.address", "auto", "is set by Flywheel"),
        ("ray_kwargs.ray_init.runtime_env.env_vars.FLYWHEEL_ROLLOUTS", "/x", "is set by Flywheel"),
        ("++ray_kwargs.ray_init.runtime_env", {"env_vars": {"FLYWHEEL_SIGNALS": "x"}}, "FLYWHEEL_SIGNALS is set by"),
    ],
)
def test_bad(key: str, value: Any, says: str) -> None:
    (message,) = check_overrides({key: value})
    assert says in message


def test_no_key_that_takes_fractions_wants_an_integer() -> None:
    """verl writes 0 and 1 as defaults of numbers that need not be whole."""
    whole = [key for key, kind in KEYS.keys.items() if kind == "int"]
    below_one = [key for key in whole if list(refused_values({key: 2})) and not list(refused_values({key: 0.5}))]
    assert below_one == []


def test_one_message_for_each_in_order() -> None:
    messages = check_overrides({"b.x.unknown": 1, "algorithm.gamma": 1.0, "trainer.device": "cpu"})
    assert [m.split()[1] for m in messages] == ["verl", "trainer.device"]


def test_every_reserved_key_is_a_real_one() -> None:
    known = KEYS
    assert [k for k in RESERVED if k not in known.keys and k not in known.addable and not known.is_open(k)] == []


def test_a_key_with_and_without_plus_is_refused() -> None:
    twice = check_overrides({"algorithm.gamma": 1, "+algorithm.gamma": 2})
    assert twice == ["overrides: algorithm.gamma is given twice, with + and without: keep one of them"] * 2


def test_plus_means_nothing() -> None:
    assert bare("algorithm.gamma") == bare("+algorithm.gamma") == bare("++algorithm.gamma") == "algorithm.gamma"
