"""Shapes read from config.json, against the numbers of weights that the models publish; what is none is said."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.capacity.shape import KNOWN, UnknownShape, known, shape_of

Config = dict[str, Any]


def config(told: str, layers: int, hidden: int, heads: int, inner: int, vocabulary: int, **more: Any) -> Config:
    """A config.json as the hub has it, with the keys that every model tells."""
    sizes = {"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads}
    return sizes | {"model_type": told, "intermediate_size": inner, "vocab_size": vocabulary} | more


def kv(heads: int, **more: Any) -> Config:
    return {"num_key_value_heads": heads, **more}


TIED = {"tie_word_embeddings": True}
LLAMA_3B = config("llama", 28, 3072, 24, 8192, 128_256, **kv(8, head_dim=128), **TIED)
QWEN_7B = config("qwen2", 28, 3584, 28, 18_944, 152_064, **kv(4), use_sliding_window=False, sliding_window=131_072)
MOE = {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1}
QWEN_MOE = config("qwen3_moe", 48, 2048, 32, 6144, 151_936, **kv(4, head_dim=128), **MOE, mlp_only_layers=[])
MISTRAL = config("mistral", 32, 4096, 32, 14_336, 32_768, **kv(8), sliding_window=None, max_position_embeddings=32_768)
PHI_4 = config("phi3", 40, 5120, 40, 17_920, 100_352, **kv(10), sliding_window=None, tie_word_embeddings=False)
MIXTRAL = config("mixtral", 32, 4096, 32, 14_336, 32_000, **kv(8), num_local_experts=8, num_experts_per_tok=2)

MODELS: dict[str, tuple[Config, float, int]] = {  # weights in the published files, bytes of a token in a bf16 cache
    "Llama-3.2-1B": (config("llama", 16, 2048, 32, 8192, 128_256, **kv(8, head_dim=64), **TIED), 1.2358e9, 32_768),
    "Llama-3.2-3B": (LLAMA_3B, 3.2127e9, 114_688),
    "Llama-2-13b (all heads are key heads)": (config("llama", 40, 5120, 40, 13_824, 32_000), 13.016e9, 819_200),
    "Qwen2.5-0.5B": (config("qwen2", 24, 896, 14, 4864, 151_936, **kv(2), **TIED), 0.49403e9, 12_288),
    "Qwen2.5-7B": (QWEN_7B, 7.6156e9, 57_344),
    "Qwen2.5-14B": (config("qwen2", 48, 5120, 40, 13_824, 152_064, **kv(8)), 14.770e9, 196_608),
    "Qwen3-30B-A3B": (QWEN_MOE, 30.532e9, 98_304),
    "Mistral-7B-v0.3": (MISTRAL, 7.248e9, 131_072),
    "Mistral-Small-24B-2501": (
        config("mistral", 40, 5120, 32, 32_768, 131_072, **kv(8, head_dim=128), sliding_window=None),
        23.572e9, 163_840),
    "Mixtral-8x7B": (MIXTRAL, 46.703e9, 131_072),
    "phi-4": (PHI_4, 14.66e9, 204_800),
    "Phi-4-mini": (
        config("phi3", 32, 3072, 24, 8192, 200_064, **kv(8), **TIED, sliding_window=262_144,
               max_position_embeddings=131_072), 3.836e9, 131_072),
    "SmolLM3-3B (says nothing of tied tables)": (
        config("smollm3", 36, 2048, 16, 11_008, 128_256, **kv(4), layer_types=["full_attention"] * 36),
        3.0751e9, 73_728),
    "granite-3.1-8b": (config("granite", 40, 4096, 32, 12_800, 49_155, **kv(8), **TIED), 8.1709e9, 163_840),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_cache_of_published_models(name: str) -> None:
    told, weights, cached = MODELS[name]
    shape = shape_of(told)
    assert shape.fused is (told["model_type"] == "phi3")
    assert shape.weights == pytest.approx(weights, rel=0.002) and shape.kv_bytes == cached


@pytest.mark.parametrize("name", [name for name in MODELS if name in KNOWN])
def test_what_is_read_is_what_is_known_by_name(name: str) -> None:
    assert shape_of(MODELS[name][0]) == KNOWN[name]


def test_active_weights_of_mixtures() -> None:
    assert shape_of(QWEN_MOE).active == pytest.approx(3.35e9, rel=0.01)
    assert shape_of(MIXTRAL).active == pytest.approx(12.88e9, rel=0.01)


def test_what_is_not_said_is_what_the_model_s_class_fills_in() -> None:
    """A layer of Qwen3 without head_dim is 128 wide a head; of Mistral without key heads it has 8."""
    whole = config("qwen3", 36, 2560, 32, 9728, 151_936, **kv(8, head_dim=128), **TIED)
    assert shape_of({k: v for k, v in whole.items() if k != "head_dim"}) == KNOWN["Qwen3-4B"] == shape_of(whole)
    fewer = {k: v for k, v in MISTRAL.items() if k != "num_key_value_heads"}
    assert shape_of(fewer) == shape_of(MISTRAL)
    assert shape_of(config("llama", 40, 5120, 40, 13_824, 32_000, **kv(None))).kv_heads == 40  # type: ignore[arg-type]


OTHERS: dict[str, tuple[Config, str]] = {
    "Gemma 2": (config("gemma2", 26, 2304, 8, 9216, 256_000, **kv(4, head_dim=256)), "type 'gemma2' has layers"),
    "Gemma 3, nested": ({"model_type": "gemma3", "text_config": {"hidden_size": 2560}}, "type 'gemma3' has layers"),
    "DeepSeek-V2-Lite": (config("deepseek_v2", 27, 2048, 16, 10_944, 102_400, kv_lora_rank=512), "type 'deepseek_v2'"),
    "gpt-oss-20b": (config("gpt_oss", 24, 2880, 64, 2880, 201_088, **kv(8)), "type 'gpt_oss' has layers"),
    "Mistral-7B-v0.1": (MISTRAL | {"sliding_window": 4096}, "a window of 4096 tokens"),
    "a Mistral that says nothing of windows": (
        {k: v for k, v in MISTRAL.items() if k != "sliding_window"}, "a window of 4096 tokens"),
    "Phi-3-mini-4k": (PHI_4 | {"sliding_window": 2047, "max_position_embeddings": 4096}, "a window of 2047 tokens"),
    "windows in some layers": (
        QWEN_7B | {"use_sliding_window": True, "sliding_window": 4096, "max_position_embeddings": 32_768},
        "a window of 4096 tokens"),
    "layers of two kinds": (
        QWEN_7B | {"layer_types": ["sliding_attention", "full_attention"]}, "several kinds (full_attention, sliding"),
    "linear attention": (QWEN_7B | {"layer_types": ["linear_attention"]}, "several kinds (linear_attention)"),
    "layers without experts": (QWEN_MOE | {"mlp_only_layers": [0]}, "some have none"),
    "every second layer has experts": (QWEN_MOE | {"decoder_sparse_step": 2}, "some have none"),
    "a shared expert": (QWEN_MOE | {"shared_expert_intermediate_size": 768}, "experts of another kind"),
    "experts of a dense type": (LLAMA_3B | {"num_local_experts": 8}, "experts of another kind (num_local_experts)"),
    "a mixture of none": (QWEN_MOE | {"num_experts": 0}, "sizes that no model has"),
    "a mixture of nobody knows how many": (
        {k: v for k, v in QWEN_MOE.items() if k != "num_experts"}, "does not tell the model's shape"),
    "experts that no token meets": (QWEN_MOE | {"num_experts_per_tok": 0}, "sizes that no model has"),
    "AWQ": (QWEN_7B | {"quantization_config": {"quant_method": "awq", "bits": 4}}, "quantised weights"),
    "an old form of compressed tensors": (QWEN_7B | {"compression_config": {"format": "pack"}}, "quantised weights"),
    "no vocabulary": ({k: v for k, v in QWEN_7B.items() if k != "vocab_size"}, "does not tell the model's shape"),
    "a number as text": (QWEN_7B | {"hidden_size": "3584"}, "hidden_size '3584' is no whole number"),
    "half a layer": (QWEN_7B | {"num_hidden_layers": 28.5}, "28.5 is no whole number"),
    "yes for a number": (QWEN_7B | {"num_hidden_layers": True}, "True is no whole number"),
    "text for yes": (QWEN_7B | {"tie_word_embeddings": "false"}, "true or false"),
    "heads that do not share evenly": (QWEN_7B | {"num_key_value_heads": 5}, "sizes that no model has"),
    "more key heads than heads": (QWEN_7B | {"num_key_value_heads": 56}, "sizes that no model has"),
    "no key heads": (QWEN_7B | {"num_key_value_heads": 0}, "sizes that no model has"),
    "a type that is no word": (QWEN_7B | {"model_type": ["qwen2"]}, "has layers that no formula"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_what_the_formulas_do_not_cover_is_said(name: str) -> None:
    told, said = OTHERS[name]
    with pytest.raises(UnknownShape) as found:
        shape_of(told)
    assert said in str(found.value) and "cannot be estimated" in str(found.value)


@pytest.mark.parametrize(
    "name",
    [
        "Qwen3-8B-AWQ", "Qwen3-8B-FP8", "Qwen3-8B-GGUF", "Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen3-4B-MLX-4bit",
        "Llama-3.2-1B-Instruct-QLORA_INT4_EO8", "Llama-3.1-8B-Instruct-bnb-4bit", "Llama-3.1-8B-quantized.w4a16",
        "Qwen3-32B-NVFP4",
    ],
)  # fmt: skip
def test_quantised_weights_are_not_known_by_the_name_of_their_model(name: str) -> None:
    assert known(f"hf://Qwen/{name}") is None


@pytest.mark.parametrize("name", ["Qwen3-4B-Instruct-2507", "Qwen2.5-7B-Instruct-1M", "Qwen3-8B-Base"])
def test_other_trainings_of_a_model_are(name: str) -> None:
    assert known(f"hf://Qwen/{name}") is not None
