"""Unknown or mistyped verl overrides are refused with a sentence that says what to write instead."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.overrides import RESERVED, check_overrides, hydra_key, verl_keys

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
    ],
)
def test_bad(key: str, value: Any, says: str) -> None:
    (message,) = check_overrides({key: value})
    assert says in message


def test_one_message_for_each_in_order() -> None:
    messages = check_overrides({"b.x.unknown": 1, "algorithm.gamma": 1.0, "trainer.device": "cpu"})
    assert [m.split()[1] for m in messages] == ["verl", "trainer.device"]


def test_every_reserved_key_is_a_real_one() -> None:
    known = verl_keys()
    assert [k for k in RESERVED if k not in known.keys and k not in known.addable] == []


def test_plus_is_written_only_where_hydra_needs_it() -> None:
    assert hydra_key("algorithm.gamma") == "algorithm.gamma"
    assert hydra_key("+algorithm.gamma") == "algorithm.gamma"
    assert hydra_key(f"{ROLLOUT}.enable_sleep_mode") == f"++{ROLLOUT}.enable_sleep_mode"
