"""verl's SFT trainer over a file of settings: `python -m flywheel_jobs.trainer.run_sft settings.json`.

Its Ray trainer, since an attempt's hardware is a Ray cluster. An update takes as many conversations as there are, but
always as many on each GPU; what does not make one step is refused (exit code 64).
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from verl.single_controller import ray as workers
from verl.trainer import sft_trainer_ray
from verl.utils.config import omega_conf_to_dataclass

from flywheel_api.causes import ExitCode
from flywheel_api.ends import End
from flywheel_jobs.trainer import signals, verl_reports
from flywheel_jobs.trainer.conversations import Conversations
from flywheel_jobs.trainer.run_verl import Refusal, composed
from flywheel_jobs.trainer.signals import Planned, Refused

__all__ = ["main", "verl_reports"]


def main(path: str) -> int:
    """Trains; the exit code."""
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    try:
        config = composed(settings, "sft_trainer_engine")
        plan = planned(config)
    except Refusal as refusal:
        signals.emit(Refused(reason=refusal.reason, message=str(refusal)))
        return int(ExitCode.VALIDATION)
    signals.emit(plan)
    workers.RayResourcePool = _narrow(workers.RayResourcePool)
    sft_trainer_ray.StatefulDataLoader = _loader(sft_trainer_ray.StatefulDataLoader, int(config.data.num_workers))
    start: dict[str, Any] = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    ray.init(**start)
    trainer = sft_trainer_ray.SFTTrainer(config)
    trainer.device_name = "cpu"  # where this process counts tokens: a Ray head has no GPU
    trainer.fit()
    return 0


def planned(config: DictConfig) -> Planned:
    """Conversations and steps; the sizes of an update are set by them. Raises Refusal when no step can be made."""
    tokenizer = omega_conf_to_dataclass(config.model).tokenizer
    data = Conversations(list(config.data.train_files), tokenizer, config.data)
    kept, workers = len(data), int(config.trainer.nnodes) * int(config.trainer.n_gpus_per_node)
    batch = min(int(config.data.train_batch_size), kept) // workers * workers
    if not batch:
        raise Refusal(
            End.TOO_LITTLE_DATA,
            f"{kept} of {kept + data.left_out} conversations of warmUp.data fit algorithm.maxPromptTokens "
            f"({config.data.max_prompt_length}) and maxResponseTokens ({config.data.max_response_length}), and "
            f"{workers} GPUs take one each: add data, raise these, or leave warmUp out",
        )
    config.data.train_batch_size = batch
    if batch % int(config.data.micro_batch_size_per_gpu):
        config.data.micro_batch_size_per_gpu = 1
    config.trainer.total_training_steps = kept // batch * int(config.trainer.total_epochs)
    return Planned(prompts=kept + data.left_out, kept=kept, steps=config.trainer.total_training_steps)


def _loader(make: Any, workers: int) -> Any:
    """verl's Ray trainer has eight processes read the data, whatever `data.num_workers` says."""
    return lambda **given: make(**given | {"num_workers": workers})


def _narrow(pool: Any) -> Any:
    """verl's SFT trainer reserves ten CPUs beside each GPU, its RL trainer three: a node of 8 GPUs has not 80 to give.

    What is reserved is what the trainer starts: one worker on each GPU.
    """
    return functools.partial(pool, max_colocate_count=1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
