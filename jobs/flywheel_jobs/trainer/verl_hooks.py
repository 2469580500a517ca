"""What runs inside verl's task runner: our advantage estimator and the checkpoint hook.

verl imports this module itself, because `trainer.checkpoint_callback_class` names `CheckpointHook`; the import
registers the estimator and has verl's steps reported. All speak to the driver by lines on stdout, which Ray forwards
from whichever node the task runner is on (see `signals`).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.trainer.ppo.core_algos import register_adv_est
from verl.utils.tracking import Tracking

from flywheel_api.verl.settings import ADVANTAGE
from flywheel_jobs.trainer import signals
from flywheel_jobs.trainer.advantage import group_advantages

POLL_SECONDS = 0.5


@register_adv_est(ADVANTAGE)  # type: ignore[untyped-decorator]
def flywheel_grpo(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: np.ndarray,
    config: Any = None,
    **_unused: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """verl's estimator interface over `group_advantages`: tensors of shape (batch, response length), twice the same.

    A trajectory is masked when no token of it is the policy's to learn from (its response mask is all zero).
    """
    with torch.no_grad():
        rewards = token_level_rewards.sum(dim=-1).cpu().numpy()
        valid = (response_mask.sum(dim=-1) > 0).cpu().numpy()
        normalise = bool(config.get("norm_adv_by_std_in_grpo", True)) if config is not None else True
        advantages, report = group_advantages(rewards, list(index), valid, normalise=normalise)
        signals.emit(report)
        scalar = torch.as_tensor(advantages, dtype=token_level_rewards.dtype, device=token_level_rewards.device)
        spread = scalar.unsqueeze(-1) * response_mask
    return spread, spread


def _reporting(log: Callable[..., None]) -> Callable[..., None]:
    """verl's logging of a step, which then also tells the driver: its console lines carry no mark and cut what is NaN.

    The mark keeps a reward that prints the policy's answer from reporting steps of its own.
    """

    @functools.wraps(log)
    def logged(self: Tracking, data: Mapping[str, Any], step: int, *rest: Any, **more: Any) -> None:
        log(self, data, step, *rest, **more)
        signals.emit(signals.Stepped(step=int(step), numbers=_numbers(data)))

    return logged


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    found = {}
    for name, value in data.items():
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError):
            continue
    return found


Tracking.log = _reporting(Tracking.log)


class CheckpointHook(CheckpointCallback):  # type: ignore[misc]
    """Tells the driver that a checkpoint is complete, and holds training while uploads are too far behind."""

    def on_save(
        self, trainer: Any, global_step: int, checkpoint_dir: str, async_save: bool = False, **_context: Any
    ) -> None:
        """After all ranks have written. Waits, for a bounded time, until all earlier checkpoints are committed.

        Otherwise a slow store would fill the node's disk. The wait applies where the uploader runs on this node.
        """
        signals.emit(signals.Saved(step=int(global_step)))
        root = Path(checkpoint_dir).parent
        limit = signals.stall_limit(root)
        started = time.monotonic()
        while time.monotonic() - started < limit and signals.uncommitted(root, before=int(global_step)):
            time.sleep(POLL_SECONDS)
        waited = time.monotonic() - started
        if waited > POLL_SECONDS:
            signals.emit(signals.Stalled(step=int(global_step), seconds=round(waited, 1)))
