"""No optimiser step on a batch that says nothing: where all advantages are zero, momentum and weight decay still move.

One informative group followed by five dead batches is applied 3.3 times by AdamW's moments; that one lucky sample
then decides the policy (docs/method.md, "Training"). verl steps whenever the norm of the gradient is finite. torch is
asked through the batch and the engine only.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

TrainBatch = Callable[[Any, Any, Any], Any]


def informative(engine: Any, data: Any) -> bool:
    """Whether any advantage of the batch is not zero, on any rank; batches without advantages (a critic's) are."""
    if "advantages" not in data.keys():  # noqa: SIM118 - a TensorDict has no `in`
        return True
    found = data["advantages"]
    values = found.values() if getattr(found, "is_nested", False) else found
    own = bool((values != 0).any())
    if engine.get_data_parallel_size() == 1:
        return own
    import torch.distributed as ranks  # every rank has to come to the same decision

    said: list[Any] = [None] * engine.get_data_parallel_size()
    ranks.all_gather_object(said, own, engine.get_data_parallel_group())
    return any(said)


def braked(train_batch: TrainBatch) -> TrainBatch:
    """An engine's `train_batch` that leaves weights and optimiser as they are where nothing is to be learnt."""

    @functools.wraps(train_batch)
    def train(engine: Any, data: Any, loss_function: Any) -> Any:
        if informative(engine, data):
            return train_batch(engine, data, loss_function)

        def stand_still() -> float:
            engine.optimizer_zero_grad()
            return 0.0

        engine.optimizer_step = stand_still  # hides the method of the class for this batch
        try:
            return train_batch(engine, data, loss_function)
        finally:
            del engine.optimizer_step

    return train


def limited(buffer: Any, prompts: int) -> Any:
    """A replay buffer that samples groups without variance anew, but at most `prompts` of them in a step.

    verl would go on for ever over data that is all solved, or all too hard. After the limit groups are taken as they
    are: the step may then be a dead one.
    """
    filtered, sample, seen = buffer._dapo_filtered_keys, buffer.sample, set[str]()

    def dapo_filtered_keys(partition_id: str) -> tuple[set[str], Counter[float]]:
        found, rewards = filtered(partition_id)
        if len(seen | found) > prompts:
            return set(), Counter()
        seen.update(found)
        return found, rewards

    def sampled(*args: Any, **more: Any) -> Any:
        seen.clear()
        return sample(*args, **more)

    buffer._dapo_filtered_keys, buffer.sample = dapo_filtered_keys, sampled
    return buffer


def skipping(update_actor: Callable[..., Any], informative: Callable[[], bool], name: str) -> Callable[..., Any]:
    """A trainer's update that is left out, and reported under `name`, where no group of the whole step is informative.

    It saves the passes over the batch; several updates of one step are each held by `braked` beside it.
    """

    @functools.wraps(update_actor)
    def update(trainer: Any, batch: Any, metrics: dict[str, Any]) -> Any:
        metrics[name] = float(not informative())
        if metrics[name]:
            metrics["actor/grad_norm"] = 0.0
            return batch
        return update_actor(trainer, batch, metrics=metrics)

    return update
