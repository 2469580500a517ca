"""Seconds of a step by phase. Published steps (NeMo-RL, verl) lie within a factor of 1.6, phases of 2.

Valid for CUDA graphs (eager decoding is ten times slower), packed micro-batches of 4,000 tokens a GPU and more, text
decoders; not for images, nor for 30B experts on kernels older than 2026.
"""

from __future__ import annotations

from dataclasses import dataclass

from flywheel_api.capacity.hardware import Card
from flywheel_api.capacity.memory import cache_tokens
from flywheel_api.capacity.shape import Shape

LOW, HIGH = 0.7, 1.8
"""The range that a computed time stands for."""
SLOTS = 256  # verl's max_num_seqs
_SYNC = {True: 3e9, False: 6e9}  # bytes a second, experts or none: verl#7348, #1609; NVIDIA-NeMo/RL#959
_CELLS = 64
_OVERHEAD = 1.25  # rewards, advantages, data, wake-up, stragglers


@dataclass(frozen=True)
class Batch:
    """Sequences that are generated: how many, over how many engines, how long. `slots` an engine decodes at once."""

    sequences: int
    engines: int
    parallel: int
    prompt: float
    mean: float
    longest: float
    cache: float  # bytes of a GPU
    slots: int = SLOTS


def decode_step(s: Shape, card: Card, batch: float, context: float, parallel: int = 1) -> float:
    """Seconds of one token for each of `batch` sequences: kernels to launch, weights to read, cache to read."""
    touched = 1 - (1 - s.active_experts / s.experts) ** batch if s.experts else 1.0
    experts = s.layers * s.experts * s.expert
    read = 2 * (s.layers * s.layer + s.embedding - experts + experts * touched)
    products = max(read / (0.9 * card.bandwidth), batch * 2 * s.products / (0.6 * card.flops)) / parallel
    launch = s.layers * (0.13e-3 if s.experts else 0.065e-3) * (1.3 if parallel > 1 else 1)
    return launch + products + batch * context * s.kv_bytes / parallel / (0.9 * card.bandwidth)


def generation(s: Shape, card: Card, b: Batch) -> float:
    """Seconds until the longest is done. alive(t) has exactly this mean and this longest; waves where room is short."""
    each = b.sequences / b.engines
    room = max(1.0, min(b.slots, cache_tokens(s, b.cache, b.parallel) / (b.prompt + b.mean)))
    power, steps, total = max(b.longest / b.mean - 1, 1e-6), b.longest / _CELLS, 0.0
    for cell in range(_CELLS):
        done = (cell + 0.5) / _CELLS
        alive = each * (1 - done) ** power
        token = decode_step(s, card, max(min(alive, room), 1), b.prompt + done * b.longest, b.parallel)
        total += steps * max(1.0, alive / room) * token
    return 1.2 * total


def compute(s: Shape, card: Card, tokens: float, length: float, passes: int, share: float = 1.0) -> float:
    """GPU-seconds over packed tokens: 2 passes forward, 6 with backward.

    Recomputation is in the share of peak reached: 0.11 to 0.35 in logs of prime-rl and verl, less for experts.
    """
    reached = 0.40 * s.active / (s.active + 2e9) * (0.40 if s.experts else 1)
    peak = card.flops * share
    return passes * (s.products * tokens / (peak * reached) + tokens * length * s.query * s.layers / (peak * 0.30))


def step(s: Shape, card: Card, gpus: int, b: Batch, references: int = 0, critics: int = 0) -> dict[str, float]:
    """Seconds of a training step by phase, and `step`, their sum with what lies between them."""
    length = b.prompt + b.mean
    tokens = b.sequences * length
    phases = {
        "generation": generation(s, card, b),
        "log-probs": compute(s, card, tokens, length, 2, 0.7) / gpus * (1 + references + critics),
        "update": compute(s, card, tokens, length, 6) / gpus * (1 + critics),
        "weights to the sampler": 2 * s.weights / _SYNC[bool(s.experts)],
    }
    return phases | {"step": _OVERHEAD * sum(phases.values())}
