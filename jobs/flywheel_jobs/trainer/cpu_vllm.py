"""vLLM worker extension for CPU rollouts.

verl loads it by `actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls`, which names `CpuWorkerExtension`.

vLLM's CPU back end repacks linear weights after loading (oneDNN) and drops the originals, so that verl's plain
`model.load_weights()` fails with "'Parameter' object has no attribute 'weight_loader'". This one collects the buckets
and hands them to vLLM's own `model_runner.reload_weights()`.
"""

from __future__ import annotations

from typing import Any

import torch
from verl.workers.rollout.vllm_rollout import bucketed_weight_transfer
from verl.workers.rollout.vllm_rollout.utils import VLLM_LORA_INT_ID, vLLMColocateWorkerExtension


class CpuWorkerExtension(vLLMColocateWorkerExtension):  # type: ignore[misc]
    """verl's worker extension with a weight update that survives vLLM's CPU weight layout."""

    def update_weights_from_ipc(
        self, peft_config: dict[str, Any] | None = None, base_sync_done: bool = False, use_shm: bool = False
    ) -> None:
        """Receive all buckets, then load them in one go. Buckets are views of a shared segment, so they are cloned."""
        adapter = bool(peft_config and base_sync_done)
        if adapter:
            self.remove_lora(VLLM_LORA_INT_ID)
        received: dict[str, torch.Tensor] = {}
        receiver = bucketed_weight_transfer.BucketedWeightReceiver(
            zmq_handle=self._get_zmq_handle(), device=self.device, use_shm=use_shm
        )
        receiver.receive_weights(lambda weights, is_last: received.update((n, t.clone()) for n, t in weights))
        if adapter:
            self._update_weights(list(received.items()), peft_config=peft_config, base_sync_done=base_sync_done)
        else:
            self.model_runner.reload_weights(weights_iterator=iter(received.items()))
