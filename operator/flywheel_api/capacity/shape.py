"""A model's shape, read from its config.json, and the numbers of weights that follow from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
    fused: bool = False  # one layer for all of attention's inputs, one for both of the MLP's

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


@dataclass(frozen=True)
class _Family:
    """What a type of model says by being it, and what its class fills in where a config.json is silent.

    Defaults are those of huggingface/transformers src/transformers/models/<type>/configuration_<type>.py. `kv_heads`
    None: as many as heads; `head` None: hidden by heads. `experts` names the key that tells how many there are.
    """

    tied: bool = False
    kv_heads: int | None = None
    head: int | None = None
    qk_norm: bool = False
    bias: bool = False
    experts: str = ""
    inner: str = "intermediate_size"
    slides: bool = False  # attention has a window wherever one is told, and not only where use_sliding_window says so
    window: int | None = None
    fused: bool = False


_FAMILIES = {
    "llama": _Family(),
    "granite": _Family(),
    "mistral": _Family(kv_heads=8, slides=True, window=4096),
    "mixtral": _Family(kv_heads=8, experts="num_local_experts", slides=True),
    "phi3": _Family(slides=True, fused=True),
    "qwen2": _Family(kv_heads=32, bias=True),
    "qwen3": _Family(kv_heads=32, head=128, qk_norm=True),
    # a mixture's own intermediate_size is that of layers it does not have
    "qwen3_moe": _Family(kv_heads=4, qk_norm=True, experts="num_experts", inner="moe_intermediate_size"),
    "smollm3": _Family(tied=True, kv_heads=4),
}
FUSED = frozenset({"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"})
"""Layers that a model with fused ones does not have under these names."""
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_QUANTISED = ("quantization_config", "compression_config")


def shape_of(config: Any) -> Shape:
    """The shape that a parsed config.json tells. Raises UnknownShape for what these formulas would only guess at."""
    if not isinstance(config, Mapping):
        raise UnknownShape(f"config.json holds no object: {_NO_SHAPE}")
    told = config.get("model_type")
    family = _FAMILIES.get(told) if isinstance(told, str) else None
    if family is None or "text_config" in config or "vision_config" in config:
        what = f"a model of type {told!r}" if told else "a config.json without model_type"
        raise UnknownShape(f"{what} has layers that no formula here covers: {_NO_SHAPE}")
    if any(config.get(key) for key in _QUANTISED):
        raise UnknownShape(f"quantised weights are not two bytes each: {_NO_SHAPE}")
    if odd := _unequal(config, family):
        raise UnknownShape(f"{odd}, and the formulas here are of equal layers that see all tokens: {_NO_SHAPE}")
    try:
        shape = _read(config, family)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise UnknownShape(f"config.json does not tell the model's shape ({error!r}): {_NO_SHAPE}") from None
    numbers = (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head, shape.inner, shape.vocabulary)
    wrong = min(numbers) < 1 or max(numbers) > _LARGEST or shape.heads % shape.kv_heads
    if wrong or not bool(family.experts) <= shape.active_experts <= shape.experts <= _LARGEST:
        raise UnknownShape(f"config.json tells sizes that no model has: {_NO_SHAPE}")
    return shape


def _read(config: Mapping[str, Any], family: _Family) -> Shape:
    heads, hidden = _whole(config, "num_attention_heads"), _whole(config, "hidden_size")
    experts = _whole(config, family.experts) if family.experts else 0
    tied, bias = config.get("tie_word_embeddings", family.tied), config.get("attention_bias", family.bias)
    if not (isinstance(tied, bool) and isinstance(bias, bool)):
        raise TypeError("tie_word_embeddings and attention_bias are true or false")
    return Shape(
        layers=_whole(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_whole(config, "num_key_value_heads", family.kv_heads or heads, heads),
        head=_whole(config, "head_dim", family.head or hidden // heads, hidden // heads),
        inner=_whole(config, family.inner),
        vocabulary=_whole(config, "vocab_size"),
        tied=tied,
        experts=experts,
        active_experts=_whole(config, "num_experts_per_tok") if experts else 0,
        qk_norm=family.qk_norm,
        bias=bias,
        fused=family.fused,
    )


def _whole(config: Mapping[str, Any], key: str, absent: int | None = None, null: int | None = None) -> int:
    """A whole number: `absent` where nothing is said, `null` where null is; a text or 4096.5 is none."""
    value = config[key] if absent is None else config.get(key, absent)
    if value is None and null is not None:
        return null
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} {value!r} is no whole number")
    return value


def _unequal(config: Mapping[str, Any], family: _Family) -> str | None:
    """What makes layers differ from each other, or keep less of a conversation than all of it."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and any(kind != "full_attention" for kind in kinds):
        return f"layers are of several kinds ({', '.join(sorted({str(kind) for kind in kinds}))})"
    window, context = config.get("sliding_window", family.window), config.get("max_position_embeddings")
    slides = family.slides or config.get("use_sliding_window") is True
    if (
        slides
        and window is not None
        and not (isinstance(window, int) and isinstance(context, int) and window >= context)
    ):
        return f"attention sees a window of {window} tokens"
    if config.get("mlp_only_layers") or (config.get("decoder_sparse_step") or 1) != 1:
        return "some layers have experts and some have none"
    others = [
        key for key in (*_EXPERTS, "n_shared_experts", "shared_expert_intermediate_size") if key != family.experts
    ]
    if found := [key for key in others if config.get(key)]:
        return f"it has experts of another kind ({', '.join(found)})"
    return None


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


_OTHER_BYTES = re.compile(
    r"(?i)(?:^|[-_.])(?:awq|gptq|gguf|mlx|bnb|exl\d|qlora|spinquant|(?:nv|mx)?fp[48]|int[48]|w\d+a\d+|\d-?bit)(?![a-z])"
)
_OFFICIAL = ("hf://Qwen/", "hf://meta-llama/", "hf://HuggingFaceTB/")


def official(ref: str) -> Shape | None:
    """The shape of a hub's model by its name, where its makers are those who gave the name."""
    return known(ref) if ref.startswith(_OFFICIAL) else None


def known(ref: str) -> Shape | None:
    """The shape of a well-known model by the name that a reference ends with, such as hf://Qwen/Qwen3-8B-Base.

    None for one that its name says to be quantised: these are two bytes a weight.
    """
    name = ref.partition("@")[0].rstrip("/").rpartition("/")[2].lower() + "-"
    if _OTHER_BYTES.search(name):
        return None
    found = [model for model in KNOWN if name.startswith(model.lower() + "-")]
    return KNOWN[max(found, key=len)] if found else None
