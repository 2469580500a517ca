"""The formulas against published runs and against our own H200; presets and examples against the formulas."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel_api.capacity import memory as mem
from flywheel_api.capacity import whole
from flywheel_api.capacity.hardware import CARDS, GIB, card_of
from flywheel_api.capacity.memory import Layout, Logits, Peak
from flywheel_api.capacity.pace import Batch, compute, decode_step, step
from flywheel_api.capacity.shape import KNOWN, Shape, UnknownShape, known, shape_of
from flywheel_api.capacity.text import estimate
from flywheel_api.capacity.training import training
from flywheel_api.capacity.whole import round_estimate
from flywheel_api.rljob import LoraSpec, RLJobSpec
from flywheel_api.round import FlywheelRoundSpec

ROOT = Path(__file__).resolve().parents[3]
H100, H200 = CARDS["H100"], CARDS["H200"]
FUSED, FP32 = Logits(0, 0), Logits(16, 0)
PUBLISHED = {  # 1e9 weights, as the models' cards say
    "SmolLM2-135M": 0.135, "SmolLM2-360M": 0.362, "SmolLM2-1.7B": 1.71, "Qwen2.5-0.5B": 0.494, "Qwen2.5-1.5B": 1.54,
    "Qwen2.5-7B": 7.61, "Qwen2.5-14B": 14.7, "Llama-3.2-1B": 1.23, "Llama-3.2-3B": 3.21, "Llama-3.1-8B": 8.03,
    "Qwen3-0.6B": 0.6, "Qwen3-1.7B": 1.72, "Qwen3-4B": 4.02, "Qwen3-8B": 8.2, "Qwen3-14B": 14.8, "Qwen3-32B": 32.8,
    "Qwen3-30B-A3B": 30.5,
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_weights_are_those_that_the_models_publish(name: str) -> None:
    assert KNOWN[name].weights / 1e9 == pytest.approx(PUBLISHED[name], rel=0.015)


# ---- published runs --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("run", "name", "gpus", "tokens", "logits", "offloaded", "published"),
    [
        ("prime-rl BENCHMARKS.md RL, 1 H100", "Qwen3-0.6B", 1, 16_384, FUSED, False, 12.5),
        ("prime-rl BENCHMARKS.md RL, 1 H100", "Qwen3-0.6B", 1, 65_536, FUSED, False, 19.6),
        ("prime-rl BENCHMARKS.md RL, 8 H100", "Qwen3-4B", 8, 16_384, FUSED, False, 17.1),
        ("prime-rl BENCHMARKS.md RL, 8 H100", "Qwen3-4B", 8, 65_536, FUSED, False, 36.1),
        ("prime-rl BENCHMARKS.md RL, 8 H100", "Qwen3-30B-A3B", 8, 16_384, FUSED, False, 74.6),
        ("prime-rl BENCHMARKS.md RL, 8 H200", "Qwen3-30B-A3B", 8, 65_536, FUSED, False, 105.4),
        ("prime-rl BENCHMARKS.md SFT, fp32 loss", "Qwen3-0.6B", 1, 8_192, FP32, False, 31.7),
        ("prime-rl BENCHMARKS.md SFT, fp32 loss", "Qwen3-0.6B", 1, 16_384, FP32, False, 52.8),
        ("prime-rl BENCHMARKS.md SFT, fp32 loss", "Qwen3-4B", 8, 16_384, FP32, False, 54.6),
        ("prime-rl BENCHMARKS.md SFT, fp32 loss", "Qwen3-30B-A3B", 8, 16_384, FP32, False, 106.4),
        ("PrimeIntellect-ai/prime-rl#3234", "Qwen3-30B-A3B", 8, 8_192, FUSED, False, 63.1),
        ("PrimeIntellect-ai/prime-rl#3234", "Qwen3-30B-A3B", 8, 16_384, FUSED, False, 67.0),
        ("PrimeIntellect-ai/prime-rl#3234", "Qwen3-30B-A3B", 8, 65_536, FUSED, False, 90.3),
        ("PrimeIntellect-ai/prime-rl#3234", "Qwen3-30B-A3B", 8, 16_384, FUSED, True, 21.5),
        ("PrimeIntellect-ai/prime-rl#3234", "Qwen3-30B-A3B", 8, 65_536, FUSED, True, 44.9),
    ],
)
def test_trainer_peaks_of_published_runs(
    run: str, name: str, gpus: int, tokens: int, logits: Logits, offloaded: bool, published: float
) -> None:
    at = Layout(gpus, tokens, tokens, logits, offload_policy=offloaded)
    assert 0.90 <= mem.update(KNOWN[name], at).allocated / GIB / published <= 1.20, run


def test_a_verl_run_whose_engine_never_slept() -> None:
    """verl#2049: Qwen2.5-VL-7B (8.29e9 weights) on 8 A800, 6,144 tokens, flash-attn's loss: 62.3 GiB allocated."""
    text = KNOWN["Qwen2.5-7B"]
    peak = mem.update(text, Layout(8, 6144, 6144, Logits(4, 8))).allocated + (8.29e9 - text.weights) * 16 / 8
    engine = 0.6 * 79.3 * GIB - 1.5 * GIB
    assert 0.90 <= (peak + engine) / GIB / 62.3 <= 1.20


@pytest.mark.parametrize(
    ("name", "weights", "sampler", "cache"),
    [("Llama-3.1-8B", 14.99, 4.76, 51.38), ("Qwen3-0.6B", 1.12, 5.56, 64.45), ("Qwen3-32B", 61.03, 5.64, 4.45)],
)
def test_vllm_as_llm_d_measured_it(name: str, weights: float, sampler: float, cache: float) -> None:
    """llm-d/llm-d-benchmark empirical-vllm-memory-results.md: H100, share 0.9, 1,024 sequences."""
    parts = mem.engine(KNOWN[name], 79.18 * GIB, 0.9, 1024, 1)
    for part, published in (("weights", weights), ("sampler", sampler), ("cache", cache)):
        assert parts[part] / GIB == pytest.approx(published, rel=0.03)


def test_cache_tokens_of_published_servers() -> None:
    assert mem.cache_tokens(KNOWN["Qwen3-8B"], 6.37 * GIB, 1) == pytest.approx(46_368, rel=0.03)  # LMCache/LMCache#3430


def _batch(sequences: int, engines: int, parallel: int, lengths: tuple[int, int, int], cache: float) -> Batch:
    return Batch(sequences, engines, parallel, *lengths, cache * GIB)


def test_key_heads_are_cut_no_further_than_there_are() -> None:
    """Qwen3-30B-A3B has four: at TP 8 each is held twice, so that a replica's cache holds as many tokens as at TP 4."""
    moe = KNOWN["Qwen3-30B-A3B"]
    assert mem.cache_tokens(moe, GIB, 8) == mem.cache_tokens(moe, GIB, 4) > mem.cache_tokens(moe, GIB, 2)


STEPS = [
    ("NVIDIA-NeMo/RL#959", "Llama-3.1-8B", 8, _batch(2048, 8, 1, (150, 777, 3900), 30), 0, 122),
    ("NeMo-RL v0.5", "Llama-3.1-8B", 16, _batch(2048, 16, 1, (150, 869, 3900), 30), 0, 92.8),
    ("NeMo-RL v0.6", "Qwen3-30B-A3B", 32, _batch(2048, 16, 2, (150, 3053, 3946), 15), 0, 192),
    ("NeMo-RL v0.4", "Qwen3-30B-A3B", 32, _batch(2048, 8, 4, (150, 3004, 3946), 30), 0, 225),
    ("verl v1_async_trainer.md", "Qwen3-30B-A3B", 32, _batch(512, 8, 4, (150, 12_720, 32_768), 40), 0, 547),
]


@pytest.mark.parametrize(("run", "name", "gpus", "batch", "references", "published"), STEPS)
def test_seconds_of_published_steps(
    run: str, name: str, gpus: int, batch: Batch, references: int, published: float
) -> None:
    assert 1 / 1.6 <= step(KNOWN[name], H100, gpus, batch, references)["step"] / published <= 1.6, run


def test_phases_of_a_published_step() -> None:
    phases = step(KNOWN["Llama-3.1-8B"], H100, 8, STEPS[0][3])
    for phase, seconds in (("generation", 57), ("log-probs", 19), ("update", 38), ("weights to the sampler", 4)):
        assert 0.5 <= phases[phase] / seconds <= 2, phase


def test_a_published_verl_step_on_a800() -> None:
    """verl#2049 step 4: log-probs of policy and reference 28.6 s each, update 94.8 s, 2,560 rows of 647 tokens."""
    a800 = CARDS["A100"]
    tokens, length = 2560 * 647, 647
    assert 0.5 <= compute(KNOWN["Qwen2.5-7B"], a800, tokens, length, 2, 0.7) / 8 / 28.6 <= 2
    assert 0.5 <= compute(KNOWN["Qwen2.5-7B"], a800, tokens, length, 6) / 8 / 94.8 <= 2


@pytest.mark.parametrize(
    ("run", "name", "card", "batch", "context", "published"),
    [
        ("gpustack qwen3-8b/h100-latency.md", "Qwen3-8B", "H100", 4, 400, 7.38),
        ("tenstorrent/tt-inference-server#340", "Qwen3-1.7B", "A100", 1, 200, 4.6),
        ("tenstorrent/tt-inference-server#340", "Qwen3-30B-A3B", "A100", 1, 200, 9.6),
    ],
)
def test_milliseconds_of_a_token(run: str, name: str, card: str, batch: int, context: int, published: float) -> None:
    assert 0.8 <= 1e3 * decode_step(KNOWN[name], CARDS[card], batch, context) / published <= 1.25, run


# ---- our own H200 ----------------------------------------------------------------------------------------------------
_ROW = re.compile(r"memory +qwen3-(\S+) (\S+) +(\d+) tokens, .* peak ([\d.]+) GB")
MEASURED = _ROW.findall((ROOT / "docs/evidence/gpu/h200-2026-11-26-all-parts.txt").read_text())


def _measured_shape(name: str) -> Shape:
    whole = KNOWN[{"0.6b": "Qwen3-0.6B", "1.7b": "Qwen3-1.7B", "8b/9-layers": "Qwen3-8B"}[name]]
    return replace(whole, layers=9) if name.endswith("9-layers") else whole


@pytest.mark.parametrize(("name", "way", "tokens", "peak"), MEASURED)
def test_peaks_that_we_measured(name: str, way: str, tokens: str, peak: str) -> None:
    """One micro-batch through verl's own engine; temperature 1, so no copy of the logits."""
    logits = Logits.of(not way.startswith("padded"), 1.0, "fused" in way, chunked=False)
    at = Layout(1, int(tokens), int(tokens), logits)
    shape = _measured_shape(name)
    found = mem.old_log_probs(shape, at) if way.endswith("/old") else mem.update(shape, at, accumulates=False)
    assert 0.95 <= found.allocated / 1e9 / float(peak) <= 1.21, found


def test_the_measurement_is_there_in_full() -> None:
    assert len(MEASURED) == 19


def test_a_checkpoint_is_twelve_bytes_a_weight_as_measured() -> None:
    """grpo on the H200: 538,208,507 bytes of model and 1,076 MB of optimiser for 134.5 million weights."""
    assert mem.checkpoint(KNOWN["SmolLM2-135M"]) == pytest.approx(538_208_507 * 3, rel=0.01)


def test_a_checkpoint_of_adapters_as_measured() -> None:
    """lora on the H200, rank 16 on all layers: 558,145,787 bytes of model and adapters, 39,543,104 of optimiser."""
    shape = KNOWN["SmolLM2-135M"]
    adapters = shape.adapters(LoraSpec(rank=16).layers, 16)
    assert mem.checkpoint(shape, adapters) == pytest.approx(558_145_787 + 39_543_104, rel=0.01)


def test_the_engine_of_the_measured_training() -> None:
    """On the H200 vLLM took 105.8 GB at its share of 0.7, and decoded 128 answers in 2.1 s."""
    assert 0.7 * H200.memory * GIB / 1e9 == pytest.approx(105.77, rel=0.01)


# ---- shapes that are read --------------------------------------------------------------------------------------------
QWEN3_8B = {
    "model_type": "qwen3", "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "head_dim": 128,
    "num_key_value_heads": 8, "intermediate_size": 12288, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_30B = QWEN3_8B | {
    "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_key_value_heads": 4,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
}  # fmt: skip


def test_shapes_are_read_from_config_json() -> None:
    assert shape_of(QWEN3_8B) == KNOWN["Qwen3-8B"]
    assert shape_of(QWEN3_30B) == KNOWN["Qwen3-30B-A3B"]
    assert shape_of(QWEN3_30B).active / 1e9 == pytest.approx(3.35, rel=0.01)


@pytest.mark.parametrize(
    "config",
    [
        {}, [], "text", None, QWEN3_8B | {"model_type": "qwen3_5"}, QWEN3_8B | {"text_config": {}},
        QWEN3_8B | {"vocab_size": None}, QWEN3_8B | {"num_attention_heads": 0, "head_dim": None},
        QWEN3_8B | {"num_hidden_layers": 0}, QWEN3_8B | {"hidden_size": -1}, QWEN3_8B | {"num_experts": 8},
        QWEN3_8B | {"quantization_config": {"quant_method": "fp8"}},
        QWEN3_8B | {"num_hidden_layers": float("inf")}, QWEN3_8B | {"vocab_size": 10**30},
    ],
)  # fmt: skip
def test_what_is_no_known_shape_is_said_and_not_guessed(config: Any) -> None:
    with pytest.raises(UnknownShape, match="cannot be estimated"):
        shape_of(config)


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("hf://Qwen/Qwen3-8B", "Qwen3-8B"),
        ("hf://Qwen/Qwen3-8B-Base@abc", "Qwen3-8B"),
        ("hf://Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen3-30B-A3B"),
        ("s3://models/smollm2-135m-instruct/", "SmolLM2-135M"),
        ("hf://Qwen/Qwen2.5-VL-7B-Instruct", None),
        ("hf://Qwen/Qwen3-80B", None),
        ("sha256:" + "0" * 64, None),
    ],
)
def test_well_known_models_by_name(ref: str, name: str | None) -> None:
    assert known(ref) == (KNOWN[name] if name else None)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("NVIDIA-H100-80GB-HBM3", "H100"), ("NVIDIA-H200", "H200"), ("NVIDIA-A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA-A100-SXM4-80GB", "A100"), ("NVIDIA-GeForce-RTX-4090", None), ("", None), (None, None),
        ("NVIDIA-H100-80GB-HBM3-SHARED", None), ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb-SHARED", None),
        ("NVIDIA-A100-SXM4-40GB-MIG-INVALID", None), ("NVIDIA-GeForce-RTX-4090-MIG-1g.10gb", None),
    ],
)  # fmt: skip
def test_cards_by_their_node_label(label: str | None, name: str | None) -> None:
    assert card_of(label) == (CARDS[name] if name else None)


@pytest.mark.parametrize(
    ("label", "whole", "gib", "computes"),
    [
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "H100", 9.75, 1),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb.me", "H100", 9.75, 1),
        ("NVIDIA-H100-80GB-HBM3-MIG-3g.40gb", "H100", 39.25, 3),
        ("NVIDIA-H100-80GB-HBM3-MIG-7g.80gb", "H100", 79.2, 7),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "A100-40GB", 4.75, 1),
    ],
)
def test_a_slice_of_a_card_has_its_own_memory(label: str, whole: str, gib: float, computes: int) -> None:
    found = card_of(label)
    assert found is not None and found.name.startswith(f"{whole} mig-")
    assert found.memory == pytest.approx(gib, rel=0.04)
    assert found.flops == pytest.approx(CARDS[whole].flops * computes / 7)
    assert found.bandwidth == pytest.approx(CARDS[whole].bandwidth * found.memory / CARDS[whole].memory)


# ---- what does not fit -----------------------------------------------------------------------------------------------
def _job(**changes: Any) -> RLJobSpec:
    spec = yaml.safe_load((ROOT / "examples/rljob.yaml").read_text())["spec"]
    return RLJobSpec.model_validate(spec | changes)


def _refused(**changes: Any) -> str:
    return " ".join(f.text for f in training(_job(**changes), KNOWN["Qwen3-8B"], H100).findings if not f.fits)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu": 28_192}, "old log-probs needs .*logits"),
        ({"actor_rollout_ref.rollout.gpu_memory_utilization": 0.8}, "generation needs .*sampling engine"),
        ({"actor_rollout_ref.actor.ppo_max_token_len_per_gpu": 65_536}, "update needs .*logits"),
        ({"actor_rollout_ref.model.use_remove_padding": False}, "update needs .*logits"),
        ({"actor_rollout_ref.rollout.gpu_memory_utilization": 0.1}, "sampler's cache"),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_change(overrides: dict[str, Any], said: str) -> None:
    assert re.search(said, _refused(overrides=overrides)), _refused(overrides=overrides)


@pytest.mark.parametrize("value", [None, "${actor_rollout_ref.actor.ppo_mini_batch_size}", 0, -1, "many", [], True])
def test_settings_that_are_no_numbers_are_left_to_verl(value: Any) -> None:
    keys = (
        "actor.ppo_max_token_len_per_gpu", "actor.use_dynamic_bsz", "actor.fsdp_config.fsdp_size",
        "actor.ulysses_sequence_parallel_size", "rollout.gpu_memory_utilization", "rollout.max_num_seqs",
        "rollout.tensor_model_parallel_size", "rollout.log_prob_max_token_len_per_gpu", "rollout.temperature",
    )  # fmt: skip
    told = {f"actor_rollout_ref.{key}": value for key in keys}
    assert training(_job(overrides=told), KNOWN["Qwen3-8B"], H100).peaks


def test_entropy_in_chunks_needs_less_than_all_at_once() -> None:
    chunked = {"actor_rollout_ref.actor.entropy_from_logits_with_chunking": True}
    many = {"actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu": 28_192}
    assert "old log-probs" not in _refused(overrides=chunked | many)


def test_offload_leaves_the_peak_of_a_pass_and_frees_the_generation() -> None:
    fsdp = "actor_rollout_ref.actor.fsdp_config"
    offload = {f"{fsdp}.param_offload": True, f"{fsdp}.optimizer_offload": True}
    plain = training(_job(), KNOWN["Qwen3-8B"], H100).peaks
    moved = training(_job(overrides=_job().overrides | offload), KNOWN["Qwen3-8B"], H100).peaks
    assert moved["update"].allocated == plain["update"].allocated
    assert moved["generation"].allocated < plain["generation"].allocated - 11 * GIB


def test_adapters_need_little_beside_the_frozen_weights() -> None:
    share = {"actor_rollout_ref.rollout.gpu_memory_utilization": 0.8}
    assert "generation" in _refused(overrides=share)
    assert "generation" not in _refused(overrides=share, lora={"rank": 32})
    with_kl = {"klCoefficient": "0.01"}
    whole, low = (
        training(_job(algorithm=with_kl, **more), KNOWN["Qwen3-8B"], H100) for more in ({}, {"lora": {"rank": 32}})
    )
    assert "reference or critic" in whole.peaks["update"].parts  # without its adapters a policy is its reference
    assert "reference or critic" not in low.peaks["update"].parts
    assert KNOWN["Qwen3-8B"].adapters(LoraSpec(rank=32).layers, 32) == pytest.approx(87.3e6, rel=0.001)
    assert low.checkpoint == pytest.approx(4 * 8.19e9 + 12 * 87.3e6, rel=0.01) and low.disk < whole.disk


def test_published_runs_that_did_not_fit() -> None:
    """verl#855: 14B on 8 H100, TP 8, 24,000 tokens; and 30B-A3B at a share of 0.7 beside resident states."""
    big = _job(nodes=1, algorithm={"maxPromptTokens": 2000, "maxResponseTokens": 10_000})
    told = training(big, KNOWN["Qwen2.5-14B"], H100)
    assert any(not f.fits for f in told.findings)
    share = {"actor_rollout_ref.rollout.gpu_memory_utilization": 0.7}
    moe = training(_job(nodes=2, rolloutTensorParallel=8, overrides=share), KNOWN["Qwen3-30B-A3B"], H100)
    assert any("sampling engine" in f.text and not f.fits for f in moe.findings)


# ---- the examples ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_fit_their_cards_and_their_budgets(path: Path) -> None:
    kind = yaml.safe_load(path.read_text())["kind"]
    if kind == "Secret" or path.stem == "round-next":
        return
    text = estimate(path.read_text())
    assert "DOES NOT FIT" not in text and "warning" not in text and text.endswith("fits"), text


def test_a_round_is_compared_with_its_budget() -> None:
    spec = yaml.safe_load((ROOT / "examples/round-8b.yaml").read_text())["spec"]
    spec["budget"] = {"gpuHours": "300", "wallClock": "72h", "tokens": [{"role": "Solver", "limit": "180000000"}]}
    found = round_estimate(FlywheelRoundSpec.model_validate(spec), KNOWN["Qwen3-8B"], H100)
    said = " ".join(f.text for f in found.findings)
    assert "gpuHours 300" in said and "wallClock 72h" in said and "tokens of Solver" in said
    assert all(f.fits for f in found.findings)  # a small budget is a warning: it may be raised at any time


def test_a_round_whose_pool_does_not_fit() -> None:
    spec = yaml.safe_load((ROOT / "examples/round-8b.yaml").read_text())["spec"]
    found = round_estimate(FlywheelRoundSpec.model_validate(spec), KNOWN["Qwen3-32B"], H100)
    assert any("pool's servers" in f.text and "raise gpusPerReplica" in f.text for f in found.findings)


def test_a_model_of_unknown_shape_asks_for_its_config() -> None:
    text = (ROOT / "examples/rljob.yaml").read_text().replace("hf://Qwen/Qwen3-8B", "hf://acme/secret-9b")
    with pytest.raises(UnknownShape, match="CONFIG="):
        estimate(text)
    assert "8.19e9" in estimate(text, json.dumps(QWEN3_8B))


def test_peaks_name_their_largest_part() -> None:
    assert Peak({"logits": 2.0, "parameters": 1.0}).largest == "logits"


def test_the_reserve_of_tasks_is_written_and_solved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter more cases, attempts and users' answers; workflows and trees are of the tasks alone."""
    spec = FlywheelRoundSpec.model_validate(yaml.safe_load((ROOT / "examples" / "round-8b.yaml").read_text())["spec"])
    with_it = whole._tokens(spec)
    monkeypatch.setattr(whole, "RESERVE_SHARE", 0.0)
    without = whole._tokens(spec)
    assert with_it["UserSimulator"] == pytest.approx(1.25 * without["UserSimulator"])
    assert without["Teacher"] < with_it["Teacher"] < 1.25 * without["Teacher"]
