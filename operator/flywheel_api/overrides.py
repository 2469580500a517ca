"""Checks an RLJob's `overrides` against verl's own keys before any GPU starts, and writes them as hydra wants them.

The keys are in `verl_keys.json`, generated from the verl that the trainer images carry
(`flywheel_jobs.trainer.verl_keys`). Pure.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any

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
    "actor_rollout_ref.rollout.agent.agent_loop_config_path": "set spec.agentLoop",
    "reward.custom_reward_function.path": "set spec.reward.entryPoint with type Custom",
    "reward.custom_reward_function.name": "set spec.reward.entryPoint with type Custom",
}
"""Keys that the operator or the driver own, and what to write instead."""

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


@dataclass(frozen=True)
class VerlKeys:
    """What a verl version accepts: keys of its YAML, fields of its dataclasses beyond those, and open maps."""

    version: str
    keys: dict[str, str]
    addable: dict[str, str]
    open: tuple[str, ...]

    def is_open(self, key: str) -> bool:
        """Whether a key lies below a map that takes anything."""
        maps = (*self.open, *(k for k, kind in self.addable.items() if kind == "dict"))
        return any(key.startswith(prefix + ".") for prefix in maps)


@cache
def verl_keys() -> VerlKeys:
    """The keys that this version of Flywheel was built against."""
    raw = json.loads((resources.files("flywheel_api") / "verl_keys.json").read_text(encoding="utf-8"))
    return VerlKeys(raw["verl"], raw["keys"], raw["addable"], tuple(raw["open"]))


def check_overrides(overrides: Mapping[str, Any], limit: int = 3) -> list[str]:
    """One sentence for each of the first `limit` overrides that verl would not take; empty when all are fine.

    Looking for what was meant takes tens of milliseconds a key: hence the limit.

    A leading `+` or `++` is allowed where hydra needs it, and never necessary.
    """
    found = (message for key, value in overrides.items() if (message := _check(key, value)) is not None)
    return list(islice(found, limit))


def hydra_key(key: str) -> str:
    """A checked key as hydra wants it: `++` in front of keys that verl's YAML does not hold."""
    bare = key.lstrip("+")
    return bare if bare in verl_keys().keys else "++" + bare


def _check(key: str, value: Any) -> str | None:
    known = verl_keys()
    bare = key.lstrip("+")
    if bare in RESERVED:
        return f"overrides: {bare} is set by Flywheel: {RESERVED[bare]}"
    kind = known.keys.get(bare) or known.addable.get(bare)
    if kind is not None:
        return _check_type(bare, value, kind)
    if known.is_open(bare):
        return None
    if any(k.startswith(bare + ".") for k in known.keys):
        return f"overrides: {bare} is a group of verl settings: give its keys one by one, such as {_first_below(bare)}"
    every = known.keys.keys() | known.addable.keys()
    near = _same_leaf(bare) or difflib.get_close_matches(bare, every, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"overrides: verl {known.version} has no key {bare}{hint}"


def _check_type(key: str, value: Any, kind: str) -> str | None:
    accepted = _ACCEPTS.get(kind)
    if accepted is None or value is None:
        return None
    wrong_bool = isinstance(value, bool) and kind != "bool"
    if wrong_bool or not isinstance(value, accepted):
        return f"overrides: {key} takes {_WORDS[kind]}, not {json.dumps(value)}"
    return None


def _first_below(group: str) -> str:
    return min(k for k in verl_keys().keys if k.startswith(group + "."))


def _same_leaf(key: str) -> list[str]:
    """A key of the same last word: people forget the path more often than the word."""
    leaf = key.rpartition(".")[2]
    same = [k for k in verl_keys().keys if k.rpartition(".")[2] == leaf]
    return sorted(same, key=lambda k: (not k.startswith("actor_rollout_ref."), len(k)))[:1]
