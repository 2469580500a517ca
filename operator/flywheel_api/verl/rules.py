"""What verl 0.9.1 would refuse of a spec, asked before a GPU is taken: its arithmetic, which only its own code knows.

A translation of `verl.utils.config.validate_config`, of the checks in verl's dataclasses and of those at the first
rollout and the first update, over the very settings that verl will be told. A test compares with what the real verl
says of many specs (`tests/unit/trainer/verl_verdicts.json`). Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from flywheel_api.rljob import RLJobSpec
from flywheel_api.verl.settings import RunPaths, settings
from flywheel_api.verl.values import refused_values

_ACTOR, _ROLLOUT, _REF, _CRITIC = (
    "actor_rollout_ref.actor",
    "actor_rollout_ref.rollout",
    "actor_rollout_ref.ref",
    "critic",
)
DEFAULTS: dict[str, Any] = {
    f"{_ACTOR}.ppo_micro_batch_size": None,
    f"{_ACTOR}.ppo_micro_batch_size_per_gpu": None,
    f"{_ACTOR}.use_dynamic_bsz": False,
    f"{_ACTOR}.ulysses_sequence_parallel_size": 1,
    f"{_ACTOR}.fsdp_config.ulysses_sequence_parallel_size": 1,
    f"{_ROLLOUT}.log_prob_micro_batch_size": None,
    f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": None,
    f"{_ROLLOUT}.mode": "async",
    f"{_ROLLOUT}.data_parallel_size": 1,
    f"{_ROLLOUT}.expert_parallel_size": 1,
    f"{_ROLLOUT}.pipeline_model_parallel_size": 1,
    f"{_ROLLOUT}.moe_tensor_parallel_size": None,
    f"{_ROLLOUT}.val_kwargs.do_sample": False,
    f"{_REF}.log_prob_micro_batch_size": None,
    f"{_REF}.log_prob_micro_batch_size_per_gpu": None,
    f"{_CRITIC}.ppo_micro_batch_size": None,
    f"{_CRITIC}.ppo_micro_batch_size_per_gpu": None,
    f"{_CRITIC}.ulysses_sequence_parallel_size": 1,
}
"""verl's own values of keys that the rules ask about and that Flywheel does not always set."""
_LOSS_MODES = ("token-mean", "token-sum", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
_NOWHERE = RunPaths(model="-", train=("-",), validation=(), checkpoints="-", rollouts="-", agent_loops="-")


def refusals(spec: RLJobSpec) -> list[str]:
    """One sentence for each thing that verl would refuse. Overrides must have passed `overrides.check_overrides`."""
    told = settings(spec, _NOWHERE, "-", "-")
    infinite = [f"{key} would be {value}" for key, value in told.items() if _infinite(value)]
    if infinite:
        return [f"{text}: verl needs a finite number" for text in infinite]
    wrong = list(refused_values(told))  # sizes that are none would only confuse the arithmetic
    return wrong or [said for rule in RULES if (said := rule(_Asked(told, spec))) is not None]


def _infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


class _Asked:
    """The settings as the rules read them."""

    def __init__(self, told: Mapping[str, Any], spec: RLJobSpec) -> None:
        self._told = told
        self.on_cpu = spec.gpus_per_node == 0
        self.gpus_per_node = max(1, spec.gpus_per_node)
        self.gpus = self.gpus_per_node * spec.nodes
        self.asked_mini = spec.algorithm.mini_batch_prompts or 1

    def __getitem__(self, key: str) -> Any:
        return self._told.get(key, DEFAULTS.get(key))

    def size(self, key: str) -> int:
        """A whole number of at least 1; references to other keys and null count as 1, for verl to judge."""
        value = self[key]
        return value if isinstance(value, int) and value >= 1 else 1

    @property
    def dynamic(self) -> bool:
        return self[f"{_ACTOR}.use_dynamic_bsz"] is True

    @property
    def critic_dynamic(self) -> bool:
        own = self[f"{_CRITIC}.use_dynamic_bsz"]  # verl's default is the actor's
        return self.dynamic if own is None else own is True

    @property
    def batch(self) -> int:
        return self.size("data.train_batch_size")

    @property
    def group(self) -> int:
        return self.size(f"{_ROLLOUT}.n")

    def mini(self, of: str) -> int:
        own = self._told.get(f"{of}.ppo_mini_batch_size")  # the critic's default is the actor's
        return own if isinstance(own, int) and own >= 1 else self.size(f"{_ACTOR}.ppo_mini_batch_size")

    def sequence_parallel(self, of: str) -> int:
        inner = self.size(f"{of}.fsdp_config.ulysses_sequence_parallel_size") if of == _ACTOR else 1
        outer = self.size(f"{of}.ulysses_sequence_parallel_size")
        return outer if outer > 1 else inner


Rule = Callable[[_Asked], str | None]


def _batch_over_gpus(a: _Asked) -> str | None:
    rows = a.batch * a.group
    if a.dynamic or rows % a.gpus == 0:
        return None
    return (
        f"a step has {a.batch} prompts x {a.group} rollouts = {rows} sequences, which do not divide by {a.gpus} GPUs: "
        "change algorithm.promptsPerStep or groupSize, or leave algorithm.microBatchSize out"
    )


def _mini_over_gpus(a: _Asked) -> str | None:
    for of in (_ACTOR, *([_CRITIC] if a["critic.enable"] else [])):
        ranks = max(1, a.gpus // a.sequence_parallel(of))
        rows = a.mini(of) * a.group
        if rows % ranks:
            return (
                f"an update has {a.mini(of)} prompts x {a.group} rollouts = {rows} sequences, which do not divide by "
                f"{ranks} data-parallel GPUs: change algorithm.miniBatchPrompts, promptsPerStep or groupSize"
            )
    return None


def _micro_in_update(a: _Asked) -> str | None:
    micro = a[f"{_ACTOR}.ppo_micro_batch_size_per_gpu"]
    rows = a.mini(_ACTOR) * a.group // max(1, a.gpus // a.sequence_parallel(_ACTOR))
    if a.dynamic or not isinstance(micro, int) or micro < 1 or rows % micro == 0:
        return None
    return (
        f"a GPU's share of an update is {rows} sequences, which do not divide by algorithm.microBatchSize {micro}: "
        "change it, miniBatchPrompts or groupSize"
    )


def _cpu_nodes(a: _Asked) -> str | None:
    return "training on CPU (gpusPerNode 0) takes one node: set nodes to 1" if a.on_cpu and a.gpus > 1 else None


def _mini_in_batch(a: _Asked) -> str | None:
    if a.asked_mini > a.batch:  # verl would fill every batch up with empty rows, and the API server refuses it
        return f"algorithm.miniBatchPrompts {a.asked_mini} exceeds algorithm.promptsPerStep {a.batch}: lower it"
    checked = [_ACTOR] if not a.dynamic else []
    checked += [_CRITIC] if a["critic.enable"] and not a.critic_dynamic else []
    for of in checked:
        if a.batch < a.mini(of):
            return f"{of}.ppo_mini_batch_size {a.mini(of)} exceeds algorithm.promptsPerStep {a.batch}: lower it"
    return None


def _old_micro(a: _Asked) -> str | None:
    """`ppo_micro_batch_size`, which verl still takes, counts over all GPUs."""
    for of, dynamic in ((_ACTOR, a.dynamic), *([(_CRITIC, a.critic_dynamic)] if a["critic.enable"] else [])):
        old, new = a[f"{of}.ppo_micro_batch_size"], a[f"{of}.ppo_micro_batch_size_per_gpu"]
        if dynamic:
            continue
        if old is not None and new is not None:
            return f"{of}.ppo_micro_batch_size and ppo_micro_batch_size_per_gpu are both set: leave the first out"
        if old is None and new is None:
            return f"{of}.ppo_micro_batch_size_per_gpu is not set: set algorithm.microBatchSize"
        if isinstance(old, int) and (a.mini(of) % max(1, old) or old * a.sequence_parallel(of) < a.gpus):
            return (
                f"{of}.ppo_micro_batch_size {old} must divide ppo_mini_batch_size {a.mini(of)} and be at least the "
                f"number of GPUs, {a.gpus}: set algorithm.microBatchSize in its place"
            )
    return None


def _log_prob_micro(a: _Asked) -> str | None:
    if a.dynamic:
        return None
    reference = bool(a["algorithm.use_kl_in_reward"] or a[f"{_ACTOR}.use_kl_loss"])
    for of in (*([_REF] if reference else []), _ROLLOUT):
        old, new = a[f"{of}.log_prob_micro_batch_size"], a[f"{of}.log_prob_micro_batch_size_per_gpu"]
        if (old is None) == (new is None):
            return f"set {of}.log_prob_micro_batch_size_per_gpu, and not log_prob_micro_batch_size"
    return None


def _loss_mode(a: _Asked) -> str | None:
    mode = a[f"{_ACTOR}.loss_agg_mode"]
    return None if mode in _LOSS_MODES else f"{_ACTOR}.loss_agg_mode {mode!r} is none of {', '.join(_LOSS_MODES)}"


def _padding(a: _Asked) -> str | None:
    if a.size(f"{_ACTOR}.ulysses_sequence_parallel_size") == 1 or a["actor_rollout_ref.model.use_remove_padding"]:
        return None
    return f"{_ACTOR}.ulysses_sequence_parallel_size above 1 needs actor_rollout_ref.model.use_remove_padding"


def _rollout_parallel(a: _Asked) -> str | None:
    tensor, data = a.size(f"{_ROLLOUT}.tensor_model_parallel_size"), a.size(f"{_ROLLOUT}.data_parallel_size")
    if a.gpus_per_node % tensor or a.gpus % (tensor * data):
        return (
            f"rolloutTensorParallel {tensor}{f' x data_parallel_size {data}' if data > 1 else ''} does not divide "
            f"{a.gpus_per_node} GPUs of a node and {a.gpus} in all"
        )
    if a.size(f"{_ROLLOUT}.pipeline_model_parallel_size") > 1:
        return f"{_ROLLOUT}.pipeline_model_parallel_size above 1 is not there in verl's vLLM rollout"
    expert = a.size(f"{_ROLLOUT}.expert_parallel_size")
    if expert > 1 and expert != tensor * data:
        return f"{_ROLLOUT}.expert_parallel_size {expert} must be tensor x data parallel size, {tensor * data}"
    if a.size(f"{_ROLLOUT}.moe_tensor_parallel_size") > 1:
        return f"{_ROLLOUT}.moe_tensor_parallel_size is for TensorRT-LLM only"
    return None


def _rollout_mode(a: _Asked) -> str | None:
    return f"{_ROLLOUT}.mode sync is gone from verl: leave it out" if a[f"{_ROLLOUT}.mode"] == "sync" else None


def _temperature(a: _Asked) -> str | None:
    temperature = a[f"{_ROLLOUT}.temperature"]
    if isinstance(temperature, int | float) and temperature <= 0:
        return f"sampling temperature {temperature} leaves nothing to compare in a group: set algorithm.temperature"
    return None


def _packed_length(a: _Asked) -> str | None:
    """Packing by tokens needs room for the longest sequence: verl finds that out in its first update."""
    longest = a.size("data.max_prompt_length") + a.size("data.max_response_length")
    for of, dynamic in ((_ACTOR, a.dynamic), *([(_CRITIC, a.critic_dynamic)] if a["critic.enable"] else [])):
        room = a[f"{of}.ppo_max_token_len_per_gpu"]
        if dynamic and isinstance(room, int) and room * a.sequence_parallel(of) < longest:
            return (
                f"{of}.ppo_max_token_len_per_gpu {room} is less than the longest sequence, {longest} tokens of prompt "
                "and response: raise it, or lower algorithm.maxPromptTokens or maxResponseTokens"
            )
    return None


def _window(a: _Asked) -> str | None:
    """vLLM refuses a prompt that leaves no room in its window for an answer."""
    window, prompt = a[f"{_ROLLOUT}.max_model_len"], a.size("data.max_prompt_length")
    if not isinstance(window, int) or window > prompt:
        return None
    return f"{_ROLLOUT}.max_model_len {window} leaves no room after algorithm.maxPromptTokens {prompt}: raise it"


RULES: tuple[Rule, ...] = (
    _batch_over_gpus,
    _cpu_nodes,
    _mini_over_gpus,
    _micro_in_update,
    _mini_in_batch,
    _old_micro,
    _log_prob_micro,
    _loss_mode,
    _padding,
    _rollout_parallel,
    _rollout_mode,
    _temperature,
    _packed_length,
    _window,
)
