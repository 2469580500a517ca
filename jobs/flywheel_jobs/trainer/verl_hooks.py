"""What runs inside verl's task runner: our advantage estimators, the brake on dead steps and the checkpoint hook.

verl imports this module itself, because `trainer.checkpoint_callback_class` names `CheckpointHook`; the import
registers the estimators and has verl's steps reported. All speak to the driver by lines on stdout, which Ray forwards
from whichever node the task runner is on (see `signals`).
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from verl.trainer.ppo.checkpoint_callback import CheckpointCallback
from verl.trainer.ppo.core_algos import register_adv_est
from verl.trainer.ppo.v1.trainer_base import PPOTrainer

from flywheel_api.stages import FORMAT_BONUS_ENV
from flywheel_api.verl.settings import ADVANTAGE, ADVANTAGE_BY_BATCH
from flywheel_jobs.trainer import signals, verl_reports
from flywheel_jobs.trainer.advantage import Normalise, group_advantages
from flywheel_jobs.trainer.brakes import limited, skipping
from flywheel_jobs.trainer.metrics import SKIPPED

__all__ = ["CheckpointHook", "flywheel_grpo", "flywheel_grpo_batch", "verl_reports"]
POLL_SECONDS = 0.5


class _Step:
    """What the estimator found of the step that is under way."""

    informative = True


def _estimated(
    rewards: torch.Tensor, mask: torch.Tensor, index: np.ndarray, normalise: Normalise
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        summed = rewards.sum(dim=-1).cpu().numpy()
        valid = (mask.sum(dim=-1) > 0).cpu().numpy()
        bonus = float(os.environ.get(FORMAT_BONUS_ENV) or 0)
        advantages, report = group_advantages(summed, list(index), valid, normalise, bonus)
        _Step.informative = report.informative > 0
        signals.emit(report)
        spread = torch.as_tensor(advantages, dtype=rewards.dtype, device=rewards.device).unsqueeze(-1) * mask
    return spread, spread


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
    by_group = bool(config.get("norm_adv_by_std_in_grpo", True)) if config is not None else True
    normalise = Normalise.GROUP if by_group else Normalise.NONE
    return _estimated(token_level_rewards, response_mask, index, normalise)


@register_adv_est(ADVANTAGE_BY_BATCH)  # type: ignore[untyped-decorator]
def flywheel_grpo_batch(
    token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: np.ndarray, **_unused: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same with the whole batch's standard deviation."""
    return _estimated(token_level_rewards, response_mask, index, Normalise.BATCH)


def _with_limit(build: Callable[..., Any]) -> Callable[..., Any]:
    """verl's replay buffer, with the limit of its configuration that its V1 trainer ignores."""

    @functools.wraps(build)
    def built(trainer: Any) -> Any:
        buffer, asked = build(trainer), trainer.config.algorithm.get("filter_groups") or {}
        most = int(asked.get("max_num_gen_batches") or 0) * int(trainer.config.data.train_batch_size)
        return limited(buffer, most) if asked.get("enable") and most else buffer

    return built


PPOTrainer._build_replay_buffer = _with_limit(PPOTrainer._build_replay_buffer)
PPOTrainer._update_actor = skipping(PPOTrainer._update_actor, lambda: _Step.informative, SKIPPED)


class CheckpointHook(CheckpointCallback):  # type: ignore[misc]
    """Tells the driver that a checkpoint is complete, and holds training while uploads are too far behind."""

    def on_save(
        self, trainer: Any, global_step: int, checkpoint_dir: str, async_save: bool = False, **_context: Any
    ) -> None:
        """After all ranks have written. Waits, for a bounded time, until all earlier checkpoints are committed.

        Otherwise a slow store would fill the nodes' disks. What is committed is marked on every node.
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
