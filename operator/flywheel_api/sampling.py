"""The distribution that a policy is trained on, said once: whatever mines, bands, solves or scores draws from the same.

Temperatures are the spec's. Everything else is neutral, in training and in each request to a pool of ours, so that
neither a checkpoint's `generation_config.json` (top_k 20, a repetition penalty) nor a server's own defaults decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NEUTRAL: Final[Mapping[str, float]] = {
    "top_k": -1,  # vLLM's word for all tokens
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""What a request says besides temperature and top_p (1 for a policy). A pool of ours knows it all, vendors do not."""

ONE_BY_ONE: Final = 1024
"""Tokens of a policy's completion above which samples of one item are requests of their own. 64 requests of 8 samples
with 8B weights on one H100 reach 1,024 tokens in 35 s by `capacity.pace.decode_step`, and 8,192 in 1,028."""

TRAINING: Final[Mapping[str, int]] = {"top_p": 1, "top_k": -1}
"""The same as keys of verl's rollout; it says repetition_penalty 1.0 itself and knows none of the others."""
