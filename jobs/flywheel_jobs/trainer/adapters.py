"""Low-rank adapters in the shards of a checkpoint: which belong to which weights, and how often they count.

verl 0.9.1's own merger takes the adapters out of the weights, beside which it saves them: the model that it writes is
the base, untrained. Here they are folded in, as `merged_lora_context` does for the sampler.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

META = "lora_train_meta.json"  # verl writes it beside the shards
_WRAPPED = "base_model.model."
_BASE = ".base_layer."
_DOWN, _UP = ".lora_A.default.weight", ".lora_B.default.weight"


@dataclass(frozen=True)
class Adapter:
    """Names of a layer's weights, and of the two that are multiplied and added to them."""

    weight: str
    down: str
    up: str


def scale(shards: Path) -> float:
    """How often adapters count: alpha over rank. Raises ValueError when the checkpoint does not say."""
    try:
        told = json.loads((shards / META).read_text(encoding="utf-8"))
        return float(told["lora_alpha"]) / float(told["r"])
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{META} of the checkpoint does not say how adapters count: {error!r}") from error


def adapters(names: Iterable[str]) -> list[Adapter]:
    """The adapters of a state dict. Raises ValueError for one that is not whole, or of another kind."""
    there = set(names)
    found = []
    for down in sorted(name for name in there if name.endswith(_DOWN)):
        layer = down.removesuffix(_DOWN)
        one = Adapter(f"{layer}{_BASE}weight", down, f"{layer}{_UP}")
        if not {one.weight, one.up} <= there:
            raise ValueError(f"the adapter of {layer} is not whole")
        found.append(one)
    rest = {name for name in there if "lora_" in name} - {name for a in found for name in (a.down, a.up)}
    if rest:
        raise ValueError(f"{min(rest)} is of a kind of adapter that cannot be merged")
    return found


def published_name(name: str) -> str:
    """The name of a weight in the model that no adapter was put on."""
    return name.removeprefix(_WRAPPED).replace(_BASE, ".")
