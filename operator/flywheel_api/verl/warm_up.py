"""The supervised fine-tuning before RL as settings of verl's SFT trainer (`sft_trainer_engine`), by dotted key. Pure.

Written for verl 0.9.1. Its configuration is another one than RL's: of an RLJob's `overrides` only those count here that
say how the model is loaded, sharded and prompted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flywheel_api.overrides import PROMPTED, bare
from flywheel_api.rljob import RLJobSpec
from flywheel_api.verl.hardware import CPU_MICRO_BATCH, hardware, is_cpu, packed, update_tokens
from flywheel_api.verl.settings import ENVIRONMENT

DATASET = ("pkg://flywheel_jobs.trainer.conversations", "Conversations")
RISING = 0.1  # of the steps, until the learning rate is at its peak
_SHARED = {"actor_rollout_ref.model.": "model.", "actor_rollout_ref.actor.fsdp_config.": "engine."}


def warm_up_settings(
    spec: RLJobSpec, model: str, files: Sequence[str], folder: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    """All settings, in the order in which they count. `folder`: where the model is written, `global_step_<n>`.

    The last step's model is written, in Hugging Face's form, and no state to resume from: a warm-up that is lost begins
    again, since it is one pass over what one round has shown.
    """
    warm_up, a, own = spec.warm_up, spec.algorithm, hardware(spec)
    assert warm_up is not None
    return {
        "model.path": model,
        "model.use_remove_padding": packed(spec),
        "model.override_config.attn_implementation": "sdpa",
        "engine.strategy": "fsdp2",
        "engine.seed": spec.seed,
        "optim.lr": float(warm_up.learning_rate),
        "optim.lr_warmup_steps_ratio": RISING,
        "optim.weight_decay": float(a.weight_decay),
        "optim.clip_grad": float(a.gradient_clip),
        "data.train_files": list(files),
        "data.train_batch_size": warm_up.conversations_per_step,
        "data.max_length": a.max_prompt_tokens + a.max_response_tokens,
        "data.max_prompt_length": a.max_prompt_tokens,
        "data.max_response_length": a.max_response_tokens,
        "data.num_workers": 0,  # conversations are in memory
        "data.custom_cls.path": DATASET[0],
        "data.custom_cls.name": DATASET[1],
        "checkpoint.save_contents": ["hf_model"],
        "checkpoint.load_contents": [],
        "trainer.nnodes": spec.nodes,
        "trainer.n_gpus_per_node": max(1, spec.gpus_per_node),
        "trainer.total_epochs": warm_up.epochs,
        "trainer.default_local_dir": folder,
        "trainer.resume_mode": "disable",
        "trainer.logger": ["console"],
        "trainer.seed": spec.seed,
        "trainer.device": own["trainer.device"],
        **_batches(spec),
        **_shared(own),
        **_shared(spec.overrides),
        **{f"{ENVIRONMENT}.{name}": value for name, value in environment.items()},
    }


def _batches(spec: RLJobSpec) -> dict[str, Any]:
    """How a GPU's, or the CPU's, part of an update is cut."""
    if is_cpu(spec):
        return {"data.use_dynamic_bsz": False, "data.micro_batch_size_per_gpu": CPU_MICRO_BATCH}
    return {"data.use_dynamic_bsz": True, "data.max_token_len_per_gpu": update_tokens(spec)}


def _shared(told: Mapping[str, Any]) -> dict[str, Any]:
    """Those of RL's settings that SFT has under another name, or the same."""
    found = {}
    for key, value in ((bare(key), value) for key, value in told.items()):
        for prefix, ours in _SHARED.items():
            if key.startswith(prefix):
                found[ours + key.removeprefix(prefix)] = value
        if key.startswith(PROMPTED):
            found[key] = value
    return found
