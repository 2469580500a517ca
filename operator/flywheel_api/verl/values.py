"""Values that verl, torch or vLLM refuse only on the GPUs: numbers out of range, words that nothing knows. As data.

Names mean the same wherever they stand in verl's settings, so a row goes by the end of a key. Of verl 0.9.1. What is no
number is not judged by a range: types are checked with the keys (`overrides`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Interval:
    """An interval as people write it: `(0, 1]`; no end is `inf`."""

    text: str

    def holds(self, value: float) -> bool:
        """Whether a number lies in it."""
        low, high = (float(part) for part in self.text[1:-1].split(","))
        above = value >= low if self.text[0] == "[" else value > low
        return above and (value <= high if self.text[-1] == "]" else value < high)


RANGES: tuple[tuple[str, Interval], ...] = (
    (r"gpu_memory_utilization", Interval("(0, 1]")),
    (r"actor\.optim\.lr", Interval("(0, inf)")),  # 0 would train nothing
    (r"optim\.(?:lr|weight_decay)", Interval("[0, inf)")),
    (r"optim\.(?:lr_warmup_steps_ratio|min_lr_ratio)", Interval("[0, 1]")),
    (r"optim\.lr_warmup_steps", Interval("[-1, inf)")),
    (r"optim\.num_cycles|clip_grad|grad_clip", Interval("(0, inf)")),
    (r"optim\.betas", Interval("[0, 1)")),
    (r"top_p", Interval("(0, 1]")),
    (r"top_k", Interval("[-1, inf)")),
    (r"min_p", Interval("[0, 1]")),
    (r"repetition_penalty", Interval("(0, inf)")),
    (r"val_kwargs\.temperature", Interval("[0, inf)")),
    (r"rollout\.n|val_kwargs\.n|(?:agent|reward)\.num_workers|ppo_epochs", Interval("[1, inf)")),
    (r"(?:prompt|response|max_prompt|max_response)_length|max_model_len", Interval("[1, inf)")),
    (r"max_num_seqs|max_num_batched_tokens|max_token_len_per_gpu", Interval("[1, inf)")),
    (r"(?:mini|micro)_batch_size(?:_per_gpu)?", Interval("[1, inf)")),
    (r"(?:tensor_model|data|pipeline_model|expert|sequence)_parallel_size", Interval("[1, inf)")),
    (r"clip_ratio(?:_low)?", Interval("[0, 1]")),
    (r"clip_ratio_high|cliprange_value|kl_loss_coef|kl_ctrl\.kl_coef|critic_warmup", Interval("[0, inf)")),
    (r"clip_ratio_c", Interval("(1, inf)")),
    (r"kl_ctrl\.horizon", Interval("(0, inf)")),
    (r"algorithm\.(?:gamma|lam)", Interval("[0, 1]")),
    (r"lora_rank", Interval("[0, inf)")),
    (r"lora_alpha", Interval("(0, inf)")),
)
"""The first row that fits a key counts."""

_KL = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
_PRECISION = ("fp16", "float16", "half", "16", "bf16", "bfloat16", "fp32", "float32", "32")
CHOICES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"actor_rollout_ref\.rollout\.name", ("vllm",)),  # what the images hold, and what merging and weights go by
    (r"(?:ref|critic|fsdp_config|fsdp)\.strategy", ("fsdp", "fsdp2")),  # the actor's is checked with its key
    (r"optim\.(?:lr_scheduler_type|warmup_style)", ("constant", "cosine")),
    (
        r"policy_loss\.loss_mode",
        (
            "vanilla", "dppo_tv", "dppo_kl", "gspo", "sapo", "gpg", "clip_cov", "kl_cov", "geo_mean", "dro", "cispo",
            "bypass_mode",
        ),
    ),
    (r"kl_loss_type|algorithm\.kl_penalty", (*_KL, *(f"{name}+" for name in _KL))),
    (r"kl_ctrl\.type", ("fixed", "adaptive")),
    (r"rollout\.dtype", ("auto", "half", "float16", "bfloat16", "float", "float32")),
    (r"fsdp(?:_config)?\.(?:dtype|model_dtype)", _PRECISION),
    (r"data\.truncation", ("error", "left", "right", "middle")),
    (r"router_replay\.mode", ("disabled", "R2", "R3")),
    (
        r"trainer\.logger",
        ("console", "wandb", "mlflow", "swanlab", "vemlp_wandb", "tensorboard", "clearml", "trackio", "file",
         "rl_insight"),
    ),
)  # fmt: skip
"""Words that are known, by key. A tracker's name may stand in a list."""


def refused_values(told: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each setting whose value cannot work."""
    for key, value in _flat(told):
        interval, choices = _rows_of(key)
        if interval is not None:
            yield from (f"{key} {n} is outside {interval.text}" for n in _numbers(value) if not interval.holds(n))
        for words in choices:
            wrong = [one for one in _listed(value) if isinstance(one, str) and one not in words and "${" not in one]
            yield from (f"{key} {one!r} is none of {', '.join(words)}" for one in wrong)


@lru_cache(maxsize=1024)  # verl's keys are the same in every spec; the patterns are tried once for each
def _rows_of(key: str) -> tuple[Interval | None, tuple[tuple[str, ...], ...]]:
    """The first interval that a key has, and the words of all rows that fit it."""
    interval = next((i for pattern, i in RANGES if re.search(rf"(?:^|[._])(?:{pattern})$", key)), None)
    return interval, tuple(words for pattern, words in CHOICES if re.search(rf"(?:^|[.])(?:{pattern})$", key))


def _flat(told: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in told.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _numbers(value: Any) -> list[float]:
    return [one for one in _listed(value) if isinstance(one, int | float) and not isinstance(one, bool)]
