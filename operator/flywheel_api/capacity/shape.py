"""A model's shape, read from its config.json, and the numbers of weights that follow from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "smollm3")
_LARGEST = 10_000_000
_NO_SHAPE = "memory, time and cost cannot be estimated"


class UnknownShape(ValueError):
    """A config.json that the formulas do not cover; the message says why."""


@dataclass(frozen=True)
class Shape:
    """A decoder of equal layers: grouped-query attention and a gated MLP, or experts of one width."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    vocabulary: int
    tied: bool
    experts: int = 0
    active_experts: int = 0
    qk_norm: bool = False
    bias: bool = False

    @property
    def query(self) -> int:
        """Width of all query heads; not `hidden` in Qwen3."""
        return self.heads * self.head

    @property
    def key(self) -> int:
        """Width of all key heads."""
        return self.kv_heads * self.head

    @property
    def expert(self) -> int:
        """Weights of one gated MLP."""
        return 3 * self.hidden * self.inner

    @property
    def embedding(self) -> int:
        """Weights of the token table, and of a head of its own."""
        return self.vocabulary * self.hidden

    @cached_property
    def _attention(self) -> int:
        own = self.hidden * (2 * self.query + 2 * self.key) + 2 * self.head * self.qk_norm
        return own + (self.query + 2 * self.key) * self.bias

    @property
    def layer(self) -> int:
        """Weights of one layer."""
        return self._attention + self.expert * (self.experts or 1) + self.hidden * self.experts + 2 * self.hidden

    @property
    def weights(self) -> int:
        """All weights. Within 1.5 % of what 17 models publish."""
        return self.layers * self.layer + self.embedding * (1 if self.tied else 2) + self.hidden

    @property
    def active(self) -> int:
        """Weights that a token meets."""
        return self.weights - self.layers * (self.experts - self.active_experts) * self.expert

    @property
    def products(self) -> int:
        """Weights that a token is multiplied with: the embedding is looked up, the head is multiplied."""
        mlp = self.expert * (self.active_experts or 1) + self.hidden * self.experts
        return self.layers * (self._attention + mlp) + self.embedding

    def adapters(self, layers: Iterable[str], rank: int) -> int:
        """Weights of low-rank adapters on these linear layers of every decoder layer."""
        key, mlp = self.hidden + self.key, self.hidden + self.inner
        widths = {
            "q_proj": self.hidden + self.query, "k_proj": key, "v_proj": key, "o_proj": self.query + self.hidden,
            "gate_proj": mlp, "up_proj": mlp, "down_proj": mlp,
        }  # fmt: skip
        return self.layers * rank * sum(widths[layer] for layer in layers)

    @property
    def kv_bytes(self) -> int:
        """Bytes of a token in a bf16 cache."""
        return 2 * self.layers * self.key * 2

    @property
    def unit(self) -> int:
        """The largest piece that FSDP2 gathers at a time: a layer, the embedding or the head."""
        return max(self.layer, self.embedding)

    @property
    def width(self) -> int:
        """Values of a token inside a layer: attention and MLP (of the experts that it meets)."""
        return self.hidden + self.query + self.key + self.inner * (self.active_experts or 1)


def shape_of(config: Any) -> Shape:
    """The shape that a parsed config.json tells. Raises UnknownShape for what these formulas would only guess at."""
    if not isinstance(config, Mapping):
        raise UnknownShape(f"config.json holds no object: {_NO_SHAPE}")
    family = str(config.get("model_type", ""))
    if "text_config" in config or "vision_config" in config or family not in _FAMILIES:
        what = f"a model of type {family!r}" if family else "a config.json without model_type"
        raise UnknownShape(f"{what} has layers that no formula here covers: {_NO_SHAPE}")
    if config.get("quantization_config"):
        raise UnknownShape(f"quantised weights are not two bytes each: {_NO_SHAPE}")
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        experts = int(config.get("num_experts") or 0)
        shape = Shape(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head=int(config.get("head_dim") or hidden // heads),
            # a mixture's own intermediate_size is that of layers it does not have
            inner=int(config["moe_intermediate_size" if experts else "intermediate_size"]),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            experts=experts,
            active_experts=int(config["num_experts_per_tok"]) if experts else 0,
            qk_norm=family.startswith("qwen3"),
            bias=family == "qwen2",
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise UnknownShape(f"config.json does not tell the model's shape ({error!r}): {_NO_SHAPE}") from None
    numbers = (shape.layers, hidden, heads, shape.kv_heads, shape.head, shape.inner, shape.vocabulary)
    if min(numbers) < 1 or max(numbers) > _LARGEST or not 0 <= shape.active_experts <= experts <= _LARGEST:
        raise UnknownShape(f"config.json tells sizes that no model has: {_NO_SHAPE}")
    return shape


_QWEN = 151_936
KNOWN: dict[str, Shape] = {  # from each model's config.json
    "SmolLM2-135M": Shape(30, 576, 9, 3, 64, 1536, 49_152, True),
    "SmolLM2-360M": Shape(32, 960, 15, 5, 64, 2560, 49_152, True),
    "SmolLM2-1.7B": Shape(24, 2048, 32, 32, 64, 8192, 49_152, True),
    "Qwen2.5-0.5B": Shape(24, 896, 14, 2, 64, 4864, _QWEN, True, bias=True),
    "Qwen2.5-1.5B": Shape(28, 1536, 12, 2, 128, 8960, _QWEN, True, bias=True),
    "Qwen2.5-7B": Shape(28, 3584, 28, 4, 128, 18_944, 152_064, False, bias=True),
    "Qwen2.5-14B": Shape(48, 5120, 40, 8, 128, 13_824, 152_064, False, bias=True),
    "Llama-3.2-1B": Shape(16, 2048, 32, 8, 64, 8192, 128_256, True),
    "Llama-3.2-3B": Shape(28, 3072, 24, 8, 128, 8192, 128_256, True),
    "Llama-3.1-8B": Shape(32, 4096, 32, 8, 128, 14_336, 128_256, False),
    "Qwen3-0.6B": Shape(28, 1024, 16, 8, 128, 3072, _QWEN, True, qk_norm=True),
    "Qwen3-1.7B": Shape(28, 2048, 16, 8, 128, 6144, _QWEN, True, qk_norm=True),
    "Qwen3-4B": Shape(36, 2560, 32, 8, 128, 9728, _QWEN, True, qk_norm=True),
    "Qwen3-8B": Shape(36, 4096, 32, 8, 128, 12_288, _QWEN, False, qk_norm=True),
    "Qwen3-14B": Shape(40, 5120, 40, 8, 128, 17_408, _QWEN, False, qk_norm=True),
    "Qwen3-32B": Shape(64, 5120, 64, 8, 128, 25_600, _QWEN, False, qk_norm=True),
    "Qwen3-30B-A3B": Shape(48, 2048, 32, 4, 128, 768, _QWEN, False, 128, 8, qk_norm=True),
}


_OFFICIAL = ("hf://Qwen/", "hf://meta-llama/", "hf://HuggingFaceTB/")


def official(ref: str) -> Shape | None:
    """The shape of a hub's model by its name, where its makers are those who gave the name."""
    return known(ref) if ref.startswith(_OFFICIAL) else None


def known(ref: str) -> Shape | None:
    """The shape of a well-known model by the name that a reference ends with, such as hf://Qwen/Qwen3-8B-Base."""
    name = ref.partition("@")[0].rstrip("/").rpartition("/")[2].lower() + "-"
    found = [model for model in KNOWN if name.startswith(model.lower() + "-")]
    return KNOWN[max(found, key=len)] if found else None
