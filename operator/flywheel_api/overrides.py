"""Checks an RLJob's `overrides` against verl's own keys before any GPU starts.

Pure: the keys are a value of `flywheel_api.verl_keys`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from flywheel_api.stages import ROLLOUTS_ENV, SIGNALS_ENV
from flywheel_api.verl_keys import KEYS

RESERVED: dict[str, str] = {
    "actor_rollout_ref.model.path": "set spec.model",
    "critic.model.path": "set spec.model",
    "data.train_files": "set spec.data.train",
    "data.val_files": "set spec.data.validation",
    "trainer.nnodes": "set spec.nodes",
    "trainer.n_gpus_per_node": "set spec.gpusPerNode",
    "trainer.device": "set spec.gpusPerNode (0 is CPU)",
    "trainer.default_local_dir": "checkpoints go to the store: set spec.checkpoint",
    "trainer.default_hdfs_dir": "checkpoints go to the store: set spec.checkpoint",
    "trainer.resume_mode": "every attempt resumes from the last committed checkpoint",
    "trainer.resume_from_path": "every attempt resumes from the last committed checkpoint",
    "trainer.save_freq": "set spec.checkpoint.everySteps",
    "trainer.max_actor_ckpt_to_keep": "set spec.checkpoint.keepLast and keepBest",
    "trainer.max_critic_ckpt_to_keep": "set spec.checkpoint.keepLast and keepBest",
    "trainer.checkpoint_callback_class": "it is how checkpoints reach the store",
    "trainer.use_v1": "Flywheel drives verl's V1 trainer only",
    "trainer.v1.trainer_mode": "Flywheel drives verl's V1 trainer in sync mode only",
    "trainer.total_epochs": "set spec.algorithm.epochs",
    "trainer.total_training_steps": "set spec.algorithm.maxSteps",
    "trainer.val_only": "an RLJob trains",
    "data.train_batch_size": "set spec.algorithm.promptsPerStep",
    "algorithm.adv_estimator": "set spec.algorithm.type; verl's own estimators would learn from what an outage ended",
    "actor_rollout_ref.actor.checkpoint.async_save": "checkpoints are uploaded when they are whole",
    "actor_rollout_ref.rollout.agent.default_agent_loop": "set spec.agentLoop",
    "ray_kwargs.ray_init.address": "an attempt runs on the Ray cluster that was made for it",
    "ray_kwargs.ray_init.num_cpus": "Ray refuses it on a cluster that runs: the chart sets rayStartParams",
    "ray_kwargs.ray_init.num_gpus": "Ray refuses it on a cluster that runs: set spec.gpusPerNode",
    "ray_kwargs.ray_init.log_to_driver": "progress and checkpoints are read from the output of the workers",
    "actor_rollout_ref.rollout.agent.agent_loop_config_path": "set spec.agentLoop",
    "actor_rollout_ref.model.lora_rank": "set spec.lora.rank",
    "actor_rollout_ref.model.lora_alpha": "set spec.lora.alpha",
    "actor_rollout_ref.model.target_modules": "set spec.lora.targets",
    "actor_rollout_ref.model.exclude_modules": "set spec.lora.targets",
    "actor_rollout_ref.model.target_parameters": "set spec.lora.targets",
    "actor_rollout_ref.model.lora_adapter_path": "adapters are merged: set spec.model to what a former job published",
    "actor_rollout_ref.model.lora.merge": "adapters are always merged into what samples and is published",
    "actor_rollout_ref.model.lora.rank": "that is Megatron's, which is not in the images: set spec.lora.rank",
    "actor_rollout_ref.actor.checkpoint.save_lora_only": "a checkpoint has to hold what is published",
    "reward.custom_reward_function.path": "set spec.reward.entryPoint with type Custom",
    "reward.custom_reward_function.name": "set spec.reward.entryPoint with type Custom",
}
"""Keys that the operator or the driver own, and what to write instead."""

PROMPTED = "data.apply_chat_template_kwargs"
"""Arguments of the chat template that verl prompts with."""
_ENVIRONMENT = "ray_kwargs.ray_init.runtime_env.env_vars"
_VARIABLES = frozenset({ROLLOUTS_ENV, SIGNALS_ENV, "VERL_USE_EXTERNAL_MODULES", "VERL_PLATFORM", "VERL_ENGINE_DEVICE"})
_SAVED = frozenset({"model", "optimizer", "extra"})
_MUST_HOLD = {
    "actor_rollout_ref.actor.checkpoint.save_contents": _SAVED,
    "actor_rollout_ref.actor.checkpoint.load_contents": _SAVED,
    "critic.checkpoint.save_contents": _SAVED,
    "critic.checkpoint.load_contents": _SAVED,
}
_FSDP = ("fsdp", "fsdp2")
_MUST_BE = {
    "actor_rollout_ref.actor.strategy": _FSDP,
    "actor_rollout_ref.ref.strategy": _FSDP,
    "critic.strategy": _FSDP,
    "model_engine": ("dp",),
}
_KEY = re.compile(r"\+{0,2}[A-Za-z_][\w-]*(\.[\w-]+)*", re.ASCII)
_REFERENCE = re.compile(r"\$\{([\w.]+)\}", re.ASCII)

_ACCEPTS: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
}
_WORDS = {
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "list": "a list",
    "dict": "a map",
}


def check_overrides(overrides: Mapping[str, Any], limit: int = 3) -> list[str]:
    """One sentence for each of the first `limit` overrides that verl would not take; empty when all are fine.

    Looking for what was meant takes tens of milliseconds a key: hence the limit.

    A leading `+` or `++` is allowed, as people write it for hydra, and means nothing.
    """
    found = (message for key, value in overrides.items() for message in _check(key, value, overrides))
    return list(islice(found, limit))


def bare(key: str) -> str:
    """A key without the signs by which hydra's command line tells additions from changes."""
    return key.lstrip("+")


def prompts(key: str) -> bool:
    """Whether an override says how prompts are rendered."""
    return f"{bare(key)}.".startswith(f"{PROMPTED}.")


def _check(key: str, value: Any, overrides: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with an override, the first thing first."""
    name = bare(key)
    if not _KEY.fullmatch(key):
        yield f"overrides: {key!r} is no key of verl's: write words of letters, digits, _ and -, joined by dots"
    elif sum(bare(other) == name for other in overrides) > 1:
        yield f"overrides: {name} is given twice, with + and without: keep one of them"
    else:
        wrong = (message for leaf, v in _leaves(name, value) if (message := _reserved(leaf, v)))
        yield from islice((m for m in (*wrong, _unknown(name, value), _references(name, value)) if m), 1)


def _leaves(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A key and, of a map, those below it: a map may carry a reserved one inside."""
    yield key, value
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)


def _reserved(key: str, value: Any) -> str | None:
    if key in RESERVED:
        return f"overrides: {key} is set by Flywheel: {RESERVED[key]}"
    if key.startswith(_ENVIRONMENT + ".") and key.removeprefix(_ENVIRONMENT + ".") in _VARIABLES:
        return f"overrides: {key} is set by Flywheel: the driver and verl's processes talk by it"
    needs = _MUST_HOLD.get(key)
    if needs is not None and not all(part in (value if isinstance(value, list) else [value]) for part in needs):
        return f"overrides: {key} must hold {', '.join(sorted(needs))}: attempts resume from it, and it is published"
    allowed = _MUST_BE.get(key)
    if allowed is not None and value not in allowed:
        return (
            f"overrides: {key} must be {' or '.join(allowed)}: the images hold no Megatron or other engine, and "
            "checkpoints of those cannot be merged into a model"
        )
    return None


def _unknown(key: str, value: Any) -> str | None:
    kind = KEYS.keys.get(key) or KEYS.addable.get(key)
    if kind is not None:
        return _check_type(key, value, kind)
    if KEYS.is_open(key):
        return None
    if any(k.startswith(key + ".") for k in KEYS.keys):
        return f"overrides: {key} is a group of verl settings: give its keys one by one, such as {_first_below(key)}"
    every = KEYS.keys.keys() | KEYS.addable.keys()
    near = _same_leaf(key) or difflib.get_close_matches(key, every, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"overrides: verl {KEYS.version} has no key {key}{hint}"


def _references(key: str, value: Any) -> str | None:
    """verl's configuration reads `${key}` as the value of another key, whatever it is written in."""
    for text in _texts(value):
        named = _REFERENCE.findall(text)
        if len(named) != text.count("${") or any(name not in KEYS.keys for name in named):
            return (
                f"overrides: {key} holds {text!r}: verl reads ${{...}} as a reference to another of its keys, and this "
                "names none; write the value itself"
            )
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def _check_type(key: str, value: Any, kind: str) -> str | None:
    accepted = _ACCEPTS.get(kind)
    if accepted is None or value is None:
        return None
    wrong_bool = isinstance(value, bool) and kind != "bool"
    if wrong_bool or not isinstance(value, accepted):
        return f"overrides: {key} takes {_WORDS[kind]}, not {json.dumps(value)}"
    return None


def _first_below(group: str) -> str:
    return min(k for k in KEYS.keys if k.startswith(group + "."))


def _same_leaf(key: str) -> list[str]:
    """A key of the same last word: people forget the path more often than the word."""
    leaf = key.rpartition(".")[2]
    same = [k for k in KEYS.keys if k.rpartition(".")[2] == leaf]
    return sorted(same, key=lambda k: (not k.startswith("actor_rollout_ref."), len(k)))[:1]
