"""The data set of a warm-up, in the place of verl's own (see `turn_tokens` for why).

Conversations whose prompt or response is longer than RL's are left out: they are none that RL could sample.
"""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as parquet
import torch
from torch.utils.data import Dataset

from flywheel_jobs.trainer.turn_tokens import NotRendered, tokens_of


class Conversations(Dataset[Any]):  # type: ignore[misc]
    """Those that fit; `left_out` counts the others. verl calls it with these arguments."""

    def __init__(self, parquet_files: Any, tokenizer: Any, config: Any, **_unused: Any) -> None:
        rows = [row for file in parquet_files for row in parquet.read_table(file).to_pylist()]
        template = dict(config.get("apply_chat_template_kwargs") or {})
        found = [_tokens(row["messages"], tokenizer, template) for row in rows]
        fitting = [t for t in found if t is not None and _fits(t[1], config)]
        self.left_out = len(rows) - len(fitting)
        self._rows = [
            {
                "input_ids": torch.tensor(ids),
                "position_ids": torch.arange(len(ids)),
                "loss_mask": torch.tensor(mask, dtype=torch.long),
            }
            for ids, mask in fitting
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return self._rows[number]


def _tokens(messages: Any, tokenizer: Any, template: dict[str, Any]) -> tuple[list[int], list[bool]] | None:
    try:
        return tokens_of(messages, tokenizer, **template)
    except NotRendered:
        return None


def _fits(mask: list[bool], config: Any) -> bool:
    if True not in mask:
        return False
    prompt = mask.index(True)
    return bool(prompt <= config.max_prompt_length and len(mask) - prompt <= config.max_response_length)
