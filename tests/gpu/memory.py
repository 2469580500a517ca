"""Part `memory`: verl's own FSDP engine on one GPU at real shapes; peak memory and seconds beside arithmetic.

For each shape one engine (FSDP2, fp32 master weights, bf16 compute, gradient checkpointing, AdamW: the GPU flavour's
settings), and on it one micro-batch whose longest row is much longer than the others, in these ways:

    padded         as the flavour is: use_remove_padding false, sdpa, logits of every padded position
    padded+fused   the same with use_fused_kernels (torch back end): no logits
    packed         use_remove_padding true with sdpa: transformers builds a block-diagonal mask from position_ids
    varlen         use_remove_padding true with torch.nn.attention.varlen (no flash-attn package), registered below
    varlen+fused   both
    .../old        not training but verl's old log-probs before it: forward only, with entropy (always on there)

The log-probs of all ways are compared with the first. OUT gets one JSON list, rewritten after every measurement.
`--cpu` runs a toy shape through the same code on CPU, with Flywheel's CPU platform (development).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

GB = 1e9
# hidden, layers, layers of the real model, heads, kv heads, intermediate, tied
SHAPES: dict[str, tuple[int, int, int, int, int, int, bool]] = {
    "qwen3-0.6b": (1024, 28, 28, 16, 8, 3072, True),
    "qwen3-1.7b": (2048, 28, 28, 16, 8, 6144, True),
    "qwen3-8b/9-layers": (
        4096,
        9,
        36,
        32,
        8,
        12288,
        False,
    ),  # a quarter of the layers: 16 B a weight of all 36 is 131 GB
    "toy": (64, 2, 2, 4, 2, 128, True),
}
VOCABULARY = 151_936
WAYS = ("padded", "padded+fused", "packed", "varlen", "varlen+fused", "padded/old", "varlen/old")


def configuration(shape: str, vocabulary: int) -> dict[str, Any]:
    hidden, layers, _, heads, kv, inner, tied = SHAPES[shape]
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "head_dim": 128 if hidden > 64 else 16,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "max_position_embeddings": 40960,
        "rope_theta": 1e6,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "torch_dtype": "float32",
    }


def register_varlen() -> None:
    """Attention `torch_varlen` for transformers: rows told by position_ids, torch's own variable-length kernel."""
    import torch
    from torch.nn.attention.varlen import varlen_attn
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    bounds: dict[str, Any] = {}

    def attend(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **kwargs: Any
    ) -> tuple[Any, None]:
        position_ids = kwargs["position_ids"]
        if bounds.get("of") is not position_ids:  # once a micro-batch, not once a layer
            starts = torch.nonzero(position_ids[0] == 0).flatten()
            edges = torch.cat([starts, starts.new_tensor([position_ids.shape[1]])]).to(torch.int32)
            bounds.update(of=position_ids, edges=edges, longest=int((edges[1:] - edges[:-1]).max()))
        groups = query.shape[1] // key.shape[1]
        q, k, v = (t.transpose(1, 2)[0] for t in (query, key, value))
        if groups > 1:  # varlen_attn takes equal numbers of heads
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        edges, longest = bounds["edges"], bounds["longest"]
        dtype = v.dtype if v.dtype in (torch.bfloat16, torch.float16) else torch.bfloat16  # the kernel knows no fp32
        q, k, v = q.to(dtype), k.to(dtype), v.to(dtype)
        out = varlen_attn(
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            edges,
            edges,
            longest,
            longest,
            scale=scaling,
            window_size=(-1, 0),
        )
        return out.to(query.dtype).unsqueeze(0), None

    AttentionInterface.register("torch_varlen", attend)
    AttentionMaskInterface.register("torch_varlen", lambda *_args, **_kwargs: None)


class Bench:
    """One engine of one shape."""

    def __init__(self, shape: str, vocabulary: int, cpu: bool) -> None:
        import torch
        from transformers import AutoModelForCausalLM
        from verl.trainer.config import CheckpointConfig
        from verl.workers.config import FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig
        from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

        self.torch, self.cpu, self.shape, self.vocabulary = torch, cpu, shape, vocabulary
        device = "cpu" if cpu else "cuda"

        class Engine(FSDPEngineWithLMHead):  # type: ignore[misc]  # random weights, made on the device
            def _build_module(self) -> Any:
                with torch.device(device):
                    module = AutoModelForCausalLM.from_config(
                        self.model_config.hf_config, dtype=torch.float32, attn_implementation="sdpa"
                    )
                module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
                return module

        folder = Path(tempfile.mkdtemp(prefix="shape-"))
        (folder / "config.json").write_text(json.dumps(configuration(shape, vocabulary)))
        precision = (
            {"mixed_precision": {"param_dtype": "fp32", "reduce_dtype": "fp32", "buffer_dtype": "fp32"}} if cpu else {}
        )
        self.engine = Engine(
            HFModelConfig(
                path=str(folder),
                load_tokenizer=False,
                override_config={"attn_implementation": "sdpa"},
                use_remove_padding=False,
            ),
            FSDPEngineConfig(
                strategy="fsdp2", use_torch_compile=False, use_no_sync_for_gradient_accumulation=False, **precision
            ),
            FSDPOptimizerConfig(
                lr=0.0, total_training_steps=100, lr_warmup_steps=0
            ),  # Adam's states are made, weights stay
            CheckpointConfig(),
        )
        self.engine.initialize()
        self.weights = sum(p.numel() for p in self.engine.module.parameters())
        self.plain = type(self.engine.module).forward

    def memory(self) -> dict[str, float]:
        if self.cpu:
            return {"allocated": 0.0, "peak": 0.0, "reserved": 0.0}
        cuda = self.torch.cuda
        return {
            "allocated": cuda.memory_allocated() / GB,
            "peak": cuda.max_memory_allocated() / GB,
            "reserved": cuda.max_memory_reserved() / GB,
        }

    def data(self, lengths: list[int], way: str) -> Any:
        import tensordict
        from verl.utils import tensordict_utils as tu
        from verl.utils.dataset.dataset_utils import DatasetPadMode

        torch = self.torch
        generator = torch.Generator().manual_seed(7)
        rows = [torch.randint(2, self.vocabulary, (n,), generator=generator) for n in lengths]
        nested = lambda parts: torch.nested.as_nested_tensor(parts, layout=torch.jagged)  # noqa: E731
        data = tensordict.TensorDict(
            {
                "input_ids": nested(rows),  # type: ignore[no-untyped-call]
                "position_ids": nested([torch.arange(n) for n in lengths]),  # type: ignore[no-untyped-call]
                "loss_mask": nested([torch.ones(n, dtype=torch.int64) for n in lengths]),  # type: ignore[no-untyped-call]
            },
            batch_size=[len(lengths)],
        )
        tu.assign_non_tensor(
            data,
            temperature=1.0,
            use_remove_padding=not way.startswith("padded"),
            use_fused_kernels="+fused" in way,
            use_dynamic_bsz=False,
            micro_batch_size_per_gpu=len(lengths),
            pad_mode=DatasetPadMode.NO_PADDING,
            pad_token_id=0,
            calculate_entropy=way.endswith("/old"),
            return_model_output=True,
        )
        return data

    def arrange(self, way: str) -> None:
        """What apply_monkey_patch does at start-up, switched at run time."""
        from verl.models.transformers.monkey_patch import patch_forward_with_backends

        module = self.engine.module
        type(module).forward = self.plain
        if "+fused" in way:
            patch_forward_with_backends(module, use_fused_kernels=True, fused_kernels_backend="torch")
        module.config._attn_implementation = "torch_varlen" if way.startswith("varlen") else "sdpa"

    def measure(self, way: str, lengths: list[int], repeats: int = 2) -> dict[str, Any]:
        torch = self.torch
        self.arrange(way)

        def loss(model_output: Any, data: Any, dp_group: Any = None) -> tuple[Any, dict[str, Any]]:
            values = model_output["log_probs"].values()
            return -values.float().mean(), {}

        seconds, log_probs = [], None
        for _ in range(repeats):
            if not self.cpu:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            started = time.monotonic()
            if way.endswith("/old"):
                with self.engine.eval_mode():
                    out = self.engine.infer_batch(self.data(lengths, way))
            else:
                with self.engine.train_mode():
                    out = self.engine.train_batch(self.data(lengths, way), loss)
            if not self.cpu:
                torch.cuda.synchronize()
            seconds.append(time.monotonic() - started)
            if log_probs is None:
                found = out["model_output"]["log_probs"]
                log_probs = (found.values() if found.is_nested else found).detach().float().cpu()
        return {
            "seconds": round(seconds[-1], 3),
            "first": round(seconds[0], 3),
            **{k: round(v, 2) for k, v in self.memory().items()},
            "log_probs": log_probs,
        }

    def expected(self, way: str, lengths: list[int]) -> dict[str, float]:
        """16 bytes a weight at rest, one checkpoint a layer and token, logits as often as they are kept."""
        hidden, layers, *_ = SHAPES[self.shape]
        tokens = max(lengths) * len(lengths) if way.startswith("padded") else sum(lengths)
        logits = 0.0 if "+fused" in way else tokens * self.vocabulary * 2 / GB
        return {
            "tokens": tokens,
            "states": round(16 * self.weights / GB, 2),
            "checkpoints": round(tokens * hidden * layers * 2 / GB, 2),
            "logits": round(logits, 2),
            "sum1": round(16 * self.weights / GB + tokens * hidden * layers * 2 / GB + 2 * logits, 2),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=110)
    parser.add_argument("--shapes", default="qwen3-0.6b,qwen3-1.7b,qwen3-8b/9-layers")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    deadline = time.monotonic() + args.seconds
    os.environ.update(
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29561"}
    )
    import torch

    if args.cpu:
        import flywheel_jobs.trainer.cpu_platform  # noqa: F401

        torch.distributed.init_process_group("cpu:gloo")
    else:
        torch.cuda.set_device(0)
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl")
    rows: list[dict[str, Any]] = []

    def note(row: dict[str, Any]) -> None:
        rows.append(row)
        args.out.write_text(json.dumps(rows, indent=1))
        print("memory:", json.dumps(row), flush=True)

    try:
        register_varlen()
    except Exception as error:
        note({"way": "varlen", "error": f"{type(error).__name__}: {error}"})
    vocabulary = 1000 if args.cpu else VOCABULARY
    # 16 rows, one of them 16 times as long as the others; 30 GB of padded logits (forward and backward) at most
    batches = {
        "qwen3-0.6b": [2048] + [128] * 15,
        "qwen3-1.7b": [2048] + [128] * 15,
        "qwen3-8b/9-layers": [1024] + [128] * 7,
        "toy": [64] + [8] * 3,
    }
    for shape in ["toy"] if args.cpu else args.shapes.split(","):
        if time.monotonic() > deadline - 10:
            note({"shape": shape, "skipped": "time"})
            continue
        started = time.monotonic()
        try:
            bench = Bench(shape, vocabulary, args.cpu)
            note(
                {
                    "shape": shape,
                    "built": round(time.monotonic() - started, 1),
                    "weights": bench.weights,
                    **bench.memory(),
                }
            )
        except Exception as error:
            note(
                {
                    "shape": shape,
                    "error": f"build: {type(error).__name__}: {error}"[:600],
                    "trace": traceback.format_exc()[-1500:],
                }
            )
            continue
        reference = None
        for way in WAYS:
            if time.monotonic() > deadline - 4:
                note({"shape": shape, "way": way, "skipped": "time"})
                continue
            lengths = batches[shape]
            row = {"shape": shape, "way": way, "expected": bench.expected(way, lengths)}
            try:
                got = bench.measure(way, lengths)
                log_probs = got.pop("log_probs")
                # the last token of each row predicts the next row's first (a roll over all rows): the loss masks it
                inner = torch.ones(len(log_probs), dtype=torch.bool)
                inner[torch.tensor(lengths).cumsum(0) - 1] = False
                if reference is None:
                    reference = log_probs
                row |= got | {"differs": round(float((log_probs - reference)[inner].abs().max()), 4)}
            except Exception as error:
                row["error"] = f"{type(error).__name__}: {error}"[:400]
                row["trace"] = traceback.format_exc()[-1200:]
                try:
                    bench.engine.optimizer_zero_grad()
                except Exception:
                    pass
            note(row)
            gc.collect()
            if not args.cpu:
                torch.cuda.empty_cache()
        del bench
        gc.collect()
        if not args.cpu:
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
