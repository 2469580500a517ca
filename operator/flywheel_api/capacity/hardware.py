"""Cards: memory as torch and vLLM see it, bf16 peak, and bandwidth."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """A GPU: GiB of memory, bf16 operations and bytes a second."""

    name: str
    memory: float
    flops: float
    bandwidth: float


CARDS = {
    card.name: card
    for card in (
        Card("A100-40GB", 39.4, 312e12, 1.56e12),
        Card("A100", 79.2, 312e12, 2.04e12),
        Card("L40S", 44.4, 362e12, 0.86e12),
        Card("H100", 79.2, 989e12, 3.35e12),  # llm-d/llm-d-benchmark: 79.18; verl#6366: 79.65
        Card("H200", 139.8, 989e12, 4.8e12),  # 150.11e9 bytes on ours
        Card("B200", 178.0, 2250e12, 8.0e12),
    )
}
PRODUCT_LABEL = "nvidia.com/gpu.product"
LARGEST = max(CARDS.values(), key=lambda card: card.memory)


def card_of(product: str | None) -> Card | None:
    """The card that a node label such as NVIDIA-H100-80GB-HBM3 names; None when it names none of ours."""
    words = set((product or "").upper().split("-"))
    found = [card for card in CARDS.values() if set(card.name.split("-")) <= words]
    return max(found, key=lambda card: len(card.name), default=None)
