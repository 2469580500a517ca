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

TRAINING: Final[Mapping[str, int]] = {"top_p": 1, "top_k": -1}
"""The same as keys of verl's rollout; it says repetition_penalty 1.0 itself and knows none of the others."""
