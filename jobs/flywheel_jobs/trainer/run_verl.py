"""verl's main over a file of settings: `python -m flywheel_jobs.trainer.run_verl settings.json`.

The settings are handed over as values: no string goes through hydra's grammar. verl's own `validate_config` and its own
data set are asked before Ray is: what they refuse would be refused again (exit code 64), and the steps that are counted
are those that verl will make, overlong prompts left out.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import verl
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
from verl.trainer.ppo.utils import create_rl_dataset, need_critic, need_reference_policy
from verl.utils.checkpoint.checkpoint_manager import find_latest_ckpt_path
from verl.utils.config import omega_conf_to_dataclass, validate_config
from verl.utils.device import auto_set_device, get_device_name

from flywheel_api.causes import ExitCode
from flywheel_api.ends import MEANINGS, End
from flywheel_jobs.trainer import signals
from flywheel_jobs.trainer.signals import Planned, Refused


class Refusal(Exception):
    """What the same settings and data would meet again."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def main(path: str) -> int:
    """Trains; the exit code."""
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        config = composed(settings)
        check(config)
        plan = planned(config)
    except Refusal as refusal:
        signals.emit(Refused(reason=refusal.reason, message=str(refusal)))
        return int(ExitCode.VALIDATION)
    signals.emit(plan)
    if plan.steps <= resumed_step(config):
        return 0
    config.trainer.total_training_steps = plan.steps  # the last one is saved, whatever saveFreq
    run_ppo(config, TaskRunnerV1)
    return 0


def composed(settings: Mapping[str, Any], name: str = "ppo_trainer") -> DictConfig:
    """verl's configuration of that name with the settings in it. Raises Refusal."""
    folder = os.path.join(os.path.dirname(verl.__file__), "trainer", "config")
    with initialize_config_dir(folder, version_base=None):
        config = compose(name)
    for key, value in settings.items():
        try:
            OmegaConf.update(config, key, value, merge=True, force_add=True)
        except Exception as error:
            raise Refusal(End.INVALID_OVERRIDE, f"verl has no place for {key}: {error}") from error
    try:
        OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    except Exception as error:
        raise Refusal(End.INVALID_OVERRIDE, f"verl cannot resolve its settings: {error}") from error
    return config


def check(config: DictConfig) -> None:
    """verl's own checks, and those that it would make on GPUs only. Raises Refusal."""
    auto_set_device(config)
    config.trainer.device = get_device_name()  # verl leaves `cuda` where the image's platform is a CPU
    critic = need_critic(config)
    try:
        validate_config(config, use_reference_policy=need_reference_policy(config), use_critic=critic)
        omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    except Exception as error:
        if any(isinstance(cause, OSError) for cause in _causes(error)):
            raise  # a critic's model is read here, from a disk or a hub that may be away: no matter of settings
        raise Refusal(End.SIZES_DO_NOT_FIT, f"verl refuses these settings: {error}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def planned(config: DictConfig) -> Planned:
    """Counts the steps as verl will. Raises Refusal when no step can be made."""
    model = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    own = config.data.get("apply_chat_template_kwargs") or {}
    if model.tokenizer.chat_template is None and "chat_template" not in own:
        raise Refusal(End.NO_CHAT_TEMPLATE, MEANINGS[End.NO_CHAT_TEMPLATE].text)  # verl would drop every prompt
    most = int(config.data.get("train_max_samples", -1))
    data = create_rl_dataset(
        config.data.train_files, config.data, model.tokenizer, model.processor, is_train=True, max_samples=most
    )
    prompts = sum(parquet.read_metadata(path).num_rows for path in config.data.train_files)
    prompts = min(prompts, most) if most > 0 else prompts
    return plan_of(config, prompts, len(data))


def plan_of(config: DictConfig, prompts: int, kept: int) -> Planned:
    """Whole batches of all epochs, cut at the steps that were asked for. Raises Refusal when there is none."""
    batch, asked = int(config.data.train_batch_size), config.trainer.total_training_steps
    if kept < batch:
        raise Refusal(
            End.TOO_LITTLE_DATA,
            f"{prompts - kept} of {prompts} prompts are longer than algorithm.maxPromptTokens "
            f"({config.data.max_prompt_length}) or do not go into the chat template, and the {kept} left are fewer "
            f"than algorithm.promptsPerStep {batch}: raise maxPromptTokens, add data or lower promptsPerStep",
        )
    steps = kept // batch * int(config.trainer.total_epochs)
    return Planned(prompts=prompts, kept=kept, steps=steps if asked is None else min(steps, int(asked)))


def resumed_step(config: DictConfig) -> int:
    """The step that verl will resume from, 0 without a checkpoint."""
    folder = find_latest_ckpt_path(config.trainer.default_local_dir)
    return int(folder.rpartition("global_step_")[2]) if folder else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
