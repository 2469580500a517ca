"""Cards: memory as torch and vLLM see it, bf16 peak, and bandwidth."""

from __future__ import annotations

import re
from dataclasses import dataclass

GIB = 2**30
_SLICE = re.compile(r"MIG-(\d)G\.(\d+)GB\b")
_SLICES = 7
"""Compute slices of a card that MIG divides; `2g.20gb` has two of them and 20 GB (NVIDIA's MIG user guide)."""
_OF_A_GB = 0.98
"""GiB that a slice has for each GB of its name: 9.75 for 1g.10gb, 39.25 for 3g.40gb (the same guide)."""


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
    """The card that a node label such as NVIDIA-H100-80GB-HBM3 names; None when it names none of ours.

    Of a slice (`-MIG-1g.10gb`) what the slice has; of a card that pods share in turns (`-SHARED`) nobody knows.
    """
    name = (product or "").upper()
    words = set(name.split("-"))
    found = [card for card in CARDS.values() if set(card.name.split("-")) <= words]
    card = max(found, key=lambda card: len(card.name), default=None)
    if card is None or "SHARED" in words:
        return None
    return _slice(card, name) if "MIG" in words else card


def _slice(card: Card, product: str) -> Card | None:
    """A part of a card, by the words that NVIDIA's plug-in adds to its label."""
    found = _SLICE.search(product)
    if found is None:
        return None
    computes, memory = int(found[1]) / _SLICES, min(card.memory, _OF_A_GB * int(found[2]))
    share = memory / card.memory
    return Card(f"{card.name} {found[0].lower()}", memory, card.flops * min(1.0, computes), card.bandwidth * share)
