"""Memory of a GPU by part, in bytes, at the moments that decide; and of a node's host and disk.

FSDP2 with fp32 master weights, Adam, bf16 compute, every layer checkpointed: the GPU flavour.

- States: 4 bytes a weight, 4 its gradient, 8 Adam's moments (16 in skypilot-org/skypilot#10269). On our H200 the
  optimiser's step peaked at 20 for three shapes: 4 more for torch's temporaries.
- Gathered: 10 bytes a weight of the largest unit (two bf16 copies, a bf16 gradient, an fp32 buffer), 6 on one GPU; a
  forward pass alone 4. Fits PrimeIntellect-ai/prime-rl's benchmarks/results/BENCHMARKS.md.
- Layer inputs: 2 bytes a value. The layer that is recomputed: 14 a value of its inside, 18 a routed copy (prime-rl); 6
  each in a forward pass.
- Logits: `Logits` below. They decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from flywheel_api.capacity.hardware import GIB
from flywheel_api.capacity.shape import Shape

FRAGMENTATION = 1.14
"""Reserved over allocated: 1.01 to 1.31 in verl's published logs (verl#2049, #2312, #3347, #1609), the median."""
RESERVE = 5 * GIB
"""CUDA context, NCCL, the sleeping engine (vllm-project/vllm#32714)."""
BUCKETS = 4 * GIB
"""Two of verl's 2 GiB buckets, in which weights go to the sampler."""
PADDED = 5
"""Padded over real tokens where rows are not packed: verl counts real ones. 61 to 164 thousand for 28,192 real."""
MERGE_GROUP = 2 * GIB
"""Bytes of a file that the merger writes; as much of the model is in memory at a time."""
IMAGES = 25e9
"""Bytes of a node's disk that images take; they count to the limit of no pod."""
_CHUNK = 2048


@dataclass(frozen=True)
class Logits:
    """Bytes a logit. Measured for padded rows and for old log-probs, packed or not; else read from verl's code.

    update: bf16 logits and their gradient are 4 (H200: 4.0 to 4.1 padded). Packed rows keep their log-softmax in fp32
    beside the logits: 6 (the H200's packed row bounds it at 6.1). old: verl computes the entropy over all of them, in
    fp32, eagerly: 14 (H200: 13.2 to 13.8 in five rows). A temperature other than 1 costs a bf16 copy.
    """

    update: float
    old: float
    chunk: int = 0  # rows that are held in fp32 at a time, where entropy is computed in chunks

    @classmethod
    def of(cls, packed: bool, temperature: float, fused: bool, chunked: bool) -> Logits:
        """What verl holds of them under these settings."""
        if fused:
            return cls(0, 0)
        copy = 0 if temperature == 1 else 2
        return cls((6 if packed else 4) + copy, (2 if chunked else 14) + copy, _CHUNK if chunked else 0)


@dataclass(frozen=True)
class Layout:
    """How a training lies on its GPUs.

    `gpus` are those that FSDP shards over; `others` are bytes a weight of a critic or reference beside the actor.
    """

    gpus: int
    update_tokens: int
    old_tokens: int
    logits: Logits
    state: float = 1.0  # 1 with fp32 states, a half with bf16
    optimizer_offload: bool = False
    param_offload: bool = False
    offload_policy: bool = False  # FSDP2's own: the card holds bf16 weights
    others: float = 0.0
    trained: float = 1.0  # share of the weights that have gradients: less than 1 with adapters


class Peak(NamedTuple):
    """The moment of a pass that needs most, in bytes by part."""

    parts: Mapping[str, float]

    @property
    def allocated(self) -> float:
        """What torch has allocated."""
        return sum(self.parts.values())

    @property
    def card(self) -> float:
        """What the card must have, in bytes."""
        return self.allocated * FRAGMENTATION + RESERVE

    @property
    def largest(self) -> str:
        """The part that is most of it."""
        return max(self.parts, key=lambda part: self.parts[part])


def _states(s: Shape, at: Layout, gradients: bool) -> dict[str, float]:
    """verl's offload brings everything back for a pass (verl#7804): only FSDP2's own lowers its peak."""
    share = s.weights * at.state / at.gpus
    others = {"reference or critic": s.weights * at.others / at.gpus} if at.others else {}
    if at.offload_policy:
        return {"parameters": 2 * s.weights / at.gpus} | others
    own = {"parameters": 4 * share, "optimiser": 8 * share * at.trained}
    return own | ({"gradients": 4 * share * at.trained} if gradients else {}) | others


def update(s: Shape, at: Layout, accumulates: bool = True) -> Peak:
    """The update: at the loss, in the layer that is recomputed, or in the optimiser's step.

    With `accumulates` the gradients of former micro-batches are there already at the loss.
    """
    tokens = at.update_tokens
    held = {
        "gathered weights": (10.0 if at.gpus > 1 else 6.0) * s.unit,
        "layer inputs": 2.0 * s.layers * s.hidden * tokens,
    }
    states = _states(s, at, gradients=True)
    loss = _states(s, at, gradients=accumulates) | held | {"logits": at.logits.update * s.vocabulary * tokens}
    inside = (14.0 * s.width + 18.0 * s.active_experts * s.hidden) * tokens
    step = {} if at.offload_policy else {"optimiser's temporaries": 4.0 * s.weights * at.state * at.trained / at.gpus}
    return max(Peak(loss), Peak(states | held | {"layer": inside}), Peak(states | step), key=lambda p: p.allocated)


def old_log_probs(s: Shape, at: Layout) -> Peak:
    """verl's pass before the update: forward only, with entropy."""
    tokens = at.old_tokens
    inside = 6.0 * (s.width + s.active_experts * s.hidden) * tokens
    chunk = 14.0 * s.vocabulary * min(at.logits.chunk, tokens)
    logits = at.logits.old * s.vocabulary * tokens + chunk
    return Peak(_states(s, at, gradients=False) | {"gathered weights": 4.0 * s.unit, "layer": inside, "logits": logits})


def awake(s: Shape, at: Layout, engine: float) -> Peak:
    """While the engine (`engine` bytes, its share of the card) generates, or takes new weights."""
    share = s.weights * at.state / at.gpus
    parts = {
        "sampling engine": engine,
        "parameters": 0.0 if at.param_offload or at.offload_policy else 4 * share,
        "optimiser": 0.0 if at.optimizer_offload or at.offload_policy else 8 * share * at.trained,
        "weights on their way": float(BUCKETS),
    }
    return Peak(parts | ({"reference or critic": s.weights * at.others / at.gpus} if at.others else {}))


def engine(s: Shape, card: float, share: float, sequences: int, parallel: int) -> dict[str, float]:
    """vLLM on one GPU: weights, the sampler's warm-up and the rest, and what its share leaves for the cache.

    May be negative. llm-d/llm-d-benchmark empirical-vllm-memory-results.md, verl-project/verl-recipe qat/README.md.
    """
    out = {
        "weights": 2.0 * s.weights / parallel,
        "sampler": 9.7 * sequences * s.vocabulary * 4,
        "rest": (0.13 if parallel == 1 else 0.55) * GIB,
    }
    return out | {"cache": share * card - sum(out.values())}


def cache_tokens(s: Shape, cache: float, parallel: int) -> float:
    """Tokens that fit a replica's cache; heads cannot be cut further than there are."""
    return cache * min(parallel, s.kv_heads) / s.kv_bytes


def host(s: Shape, nodes: int, gpus_per_node: int, offloads: bool) -> float:
    """Bytes of a node's memory while it saves.

    40 GB system and Ray, 10 GB a GPU process (verl#224, #5206), shards on their way, offloaded states in pinned copies.
    """
    states = 12.0 * s.weights / nodes
    return 40e9 + 10e9 * gpus_per_node + states * (2.5 if offloads else 1)


def checkpoint(s: Shape, adapters: int | None = None) -> float:
    """Bytes of one checkpoint over all nodes: 4 a weight and Adam's 8, as measured (12.0 on the H200).

    With adapters of so many weights those alone have Adam's: verl saves the frozen weights beside them.
    """
    return 12.0 * s.weights if adapters is None else 4.0 * s.weights + 12.0 * adapters


def disk(s: Shape, nodes: int, kept: int, saved: float) -> float:
    """Bytes of a node's disk: images, the model, the checkpoints that are kept and one in the making, one resumed.

    `saved` are those of one checkpoint.
    """
    return IMAGES + 2.0 * s.weights + (kept + 1) * saved / nodes + 14.0 * s.weights / nodes


def merge(s: Shape) -> float:
    """Host memory of `flywheel_jobs.trainer.merge`, without pages of files that the kernel may drop.

    Seen for two made models with groups of 64 MiB: 8 MB (dense) and 71 MB (experts, whose published form is a copy)
    above the 286 MB of the process; verl's own merger took 1.2 and 1.7 GB. Three groups leave room for a layer.
    """
    return 1e9 + 3 * min(MERGE_GROUP, 2.0 * s.weights)
