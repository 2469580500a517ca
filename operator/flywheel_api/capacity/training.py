"""A training on cards of a kind, from the very settings that verl will be told: its needs, and what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flywheel_api.capacity import memory, pace
from flywheel_api.capacity.hardware import GIB, Card
from flywheel_api.capacity.memory import Layout, Logits, Peak
from flywheel_api.capacity.shape import Shape
from flywheel_api.rljob import Algorithm, RLJobSpec
from flywheel_api.verl.settings import RunPaths, settings

ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
TIGHT = 0.9
"""Share of the card above which a warning is due: fragmentation went up to 1.31 in published logs."""
ANSWERED = 0.35
"""Mean answer over the longest that is allowed: an assumption; 0.1 to 0.7 is seen."""
PROMPTED = 0.5
"""The same of prompts."""
_LIMIT = 16384  # verl's own
_NOWHERE = RunPaths(model="-", train=("-",), validation=(), checkpoints="-", rollouts="-", agent_loops="-")
_FEWER = "set {keys} to fewer (a row has up to {longest} tokens), or lower algorithm.maxResponseTokens"
_MEND = {
    "logits": _FEWER,
    "layer": _FEWER,
    "layer inputs": _FEWER,
    "sampling engine": f"lower overrides {ROLLOUT}.gpu_memory_utilization, or set {ACTOR}.fsdp_config.param_offload "
    "and optimizer_offload",
}
_MORE = f"train on more or larger GPUs, or set overrides {ACTOR}.fsdp_config.offload_policy: true"


@dataclass(frozen=True)
class Finding:
    """Something that does not fit (`fits` False) or hardly does, with what to change."""

    fits: bool
    text: str


@dataclass(frozen=True)
class Training:
    """The estimate of a training. Bytes and seconds; `step` is empty on CPU, where no formula holds."""

    shape: Shape
    nodes: int
    gpus: int
    peaks: Mapping[str, Peak]
    engine: Mapping[str, float]
    cache_tokens: float
    host: float
    disk: float
    checkpoint: float
    merge: float
    step: Mapping[str, float]
    findings: tuple[Finding, ...]


def training(spec: RLJobSpec, shape: Shape, card: Card, overrides: Mapping[str, Any] | None = None) -> Training:
    """What an RLJob needs on these cards. Its overrides win over those of the hardware, and have been checked."""
    told = settings(spec.model_copy(update={"overrides": {**(overrides or {}), **spec.overrides}}), _NOWHERE, "-", "-")
    gpus = spec.nodes * spec.gpus_per_node
    cache = 0.0
    peaks: dict[str, Peak] = {}
    engine: dict[str, float] = {}
    step: dict[str, float] = {}
    findings: tuple[Finding, ...] = ()
    at = _layout(spec, shape, told)
    if gpus:
        share = number(told.get(f"{ROLLOUT}.gpu_memory_utilization"), 0.5)
        slots = int(number(told.get(f"{ROLLOUT}.max_num_seqs"), pace.SLOTS))
        parallel = int(number(told.get(f"{ROLLOUT}.tensor_model_parallel_size"), 1))
        engine = memory.engine(shape, card.memory * GIB, share, slots, parallel)
        cache = memory.cache_tokens(shape, engine["cache"], parallel)
        peaks = {
            "update": memory.update(shape, at),
            "old log-probs": memory.old_log_probs(shape, at),
            "generation": memory.awake(shape, at, share * card.memory * GIB),
        }
        findings = _findings(spec, told, peaks, cache, card)
        step = _step(spec, shape, card, gpus, engine["cache"], slots) if cache > 0 else {}
    saved = memory.checkpoint(shape, adapters_of(spec, shape))
    offloads = at.optimizer_offload or at.param_offload or at.offload_policy
    return Training(
        shape=shape,
        nodes=spec.nodes,
        gpus=gpus,
        peaks=peaks,
        engine=engine,
        cache_tokens=cache,
        host=memory.host(shape, spec.nodes, spec.gpus_per_node, offloads or spec.lora is not None),
        disk=memory.disk(shape, spec.nodes, 1, saved),  # a committed checkpoint goes from the nodes' disks
        checkpoint=saved,
        merge=memory.merge(shape),
        step=step,
        findings=findings,
    )


def number(value: Any, default: float) -> float:
    """A setting that somebody may have overridden with null or a reference: then it is for verl to judge."""
    return value if isinstance(value, int | float) and value > 0 else default


def _longest(spec: RLJobSpec) -> int:
    return spec.algorithm.max_prompt_tokens + spec.algorithm.max_response_tokens


def _layout(spec: RLJobSpec, shape: Shape, told: Mapping[str, Any]) -> Layout:
    fsdp = f"{ACTOR}.fsdp_config"
    keys = (f"{ACTOR}.ppo_max_token_len_per_gpu", f"{ROLLOUT}.log_prob_max_token_len_per_gpu")
    rows = (f"{ACTOR}.ppo_micro_batch_size_per_gpu", f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu")
    is_packed = told.get("actor_rollout_ref.model.use_remove_padding") is True
    if told.get(f"{ACTOR}.use_dynamic_bsz") is True:
        first = number(told.get(keys[0]), _LIMIT)
        padded = 1 if is_packed else memory.PADDED
        limits = [max(number(told.get(key), first), _longest(spec)) * padded for key in keys]
    else:
        limits = [number(told.get(key), 1) * _longest(spec) for key in rows]
    sliced = number(told.get(f"{ACTOR}.ulysses_sequence_parallel_size"), 1)
    shards = int(number(told.get(f"{fsdp}.fsdp_size"), spec.nodes * spec.gpus_per_node))
    adapters = adapters_of(spec, shape)
    reference = 4.0 if _references(spec) and adapters is None else 0.0  # without its adapters a policy is its reference
    others = (12.0 if spec.algorithm.type is Algorithm.PPO else 0.0) + reference
    return Layout(
        gpus=max(1, min(shards, spec.nodes * spec.gpus_per_node)),
        update_tokens=int(limits[0] / sliced),
        old_tokens=int(limits[1] / sliced),
        logits=Logits.of(
            is_packed,
            number(told.get(f"{ROLLOUT}.temperature"), 1),
            told.get("actor_rollout_ref.model.use_fused_kernels") is True,
            told.get(f"{ACTOR}.entropy_from_logits_with_chunking") is True,
        ),
        state=0.5 if told.get(f"{fsdp}.model_dtype") in ("bf16", "bfloat16") else 1.0,
        optimizer_offload=told.get(f"{fsdp}.optimizer_offload") is True,
        param_offload=told.get(f"{fsdp}.param_offload") is True,
        offload_policy=told.get(f"{fsdp}.offload_policy") is True,
        others=others,
        trained=1.0 if adapters is None else adapters / shape.weights,
    )


def adapters_of(spec: RLJobSpec, shape: Shape) -> int | None:
    """Weights of the adapters that are trained; None where all weights are."""
    return shape.adapters(spec.lora.layers, spec.lora.rank) if spec.lora is not None else None


def _references(spec: RLJobSpec) -> int:
    return int(float(spec.algorithm.kl_coefficient) > 0)


def _step(spec: RLJobSpec, shape: Shape, card: Card, gpus: int, cache: float, slots: int) -> dict[str, float]:
    a = spec.algorithm
    batch = pace.Batch(
        sequences=a.prompts_per_step * (1 if a.type is Algorithm.PPO else a.group_size),
        engines=max(1, gpus // spec.rollout_tensor_parallel),
        parallel=spec.rollout_tensor_parallel,
        prompt=PROMPTED * a.max_prompt_tokens,
        mean=ANSWERED * a.max_response_tokens,
        longest=a.max_response_tokens,
        cache=cache,
        slots=slots,
    )
    return pace.step(shape, card, gpus, batch, _references(spec), int(a.type is Algorithm.PPO))


def _findings(
    spec: RLJobSpec, told: Mapping[str, Any], peaks: Mapping[str, Peak], cache: float, card: Card
) -> tuple[Finding, ...]:
    keys = {
        "update": f"overrides {ACTOR}.ppo_max_token_len_per_gpu",
        "old log-probs": f"overrides {ROLLOUT}.log_prob_max_token_len_per_gpu",
    }
    if told.get(f"{ACTOR}.use_dynamic_bsz") is not True:
        keys = {"update": "algorithm.microBatchSize", "old log-probs": "algorithm.microBatchSize"}
    found = []
    for moment, peak in peaks.items():
        # an engine's share and resident states do not fragment: vLLM takes its share at once
        need = (peak.allocated + memory.RESERVE if moment == "generation" else peak.card) / GIB
        if need <= TIGHT * card.memory:
            continue
        part = peak.largest
        mend = _MEND.get(part, _MORE).format(keys=keys.get(moment, ""), longest=_longest(spec))
        text = (
            f"{moment} needs {need:.0f} GiB a GPU, and {card.name} has {card.memory:.0f}; most of it is {part}, "
            f"{peak.parts[part] / GIB:.0f}: {mend}"
        )
        found.append(Finding(need <= card.memory, text))
    if cache < _longest(spec):
        found.append(
            Finding(
                False,
                f"one row of {_longest(spec)} tokens does not fit the sampler's cache ({max(0, cache):.0f} tokens): "
                f"raise rolloutTensorParallel, or overrides {ROLLOUT}.gpu_memory_utilization",
            )
        )
    return tuple(found)
