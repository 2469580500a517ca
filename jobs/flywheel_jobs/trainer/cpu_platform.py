"""verl plug-in: a "cpu" platform, registered through verl's PlatformRegistry (verl >= 0.9).

verl brings nvidia, huawei and amd platforms. This one lets the same trainer run without an accelerator. Selected by
VERL_USE_EXTERNAL_MODULES=flywheel_jobs.trainer.cpu_platform VERL_PLATFORM=cpu VERL_ENGINE_DEVICE=cuda (verl
registers its FSDP engine for cuda and npu only). Ray's "GPU" is a logical slot here (num-gpus 1 on a node without
one is accepted), so placement groups, colocation and accelerator ids behave as in production.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
import verl.utils.distributed as verl_distributed
from verl.plugin.platform import PlatformBase, PlatformRegistry

_IGNORED = frozenset(
    {
        "empty_cache",
        "ipc_collect",
        "manual_seed",
        "manual_seed_all",
        "reset_max_memory_allocated",
        "reset_peak_memory_stats",
        "set_device",
        "synchronize",
    }
)


def _resident_bytes(*_args: Any, **_kwargs: Any) -> int:
    return int(psutil.Process().memory_info().rss)


def _free_and_total(*_args: Any) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.available, memory.total


class _CpuDeviceModule(types.ModuleType):
    """`torch.cpu`, plus the calls that verl makes on modules like `torch.cuda`."""

    memory_allocated = max_memory_allocated = memory_reserved = max_memory_reserved = staticmethod(_resident_bytes)
    mem_get_info = staticmethod(_free_and_total)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: "cpu")
    get_device_name = staticmethod(lambda *_args: "cpu")
    get_rng_state = staticmethod(lambda *_args, **_kwargs: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, *_args, **_kwargs: torch.set_rng_state(state))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if hasattr(torch.cpu, name):
            return getattr(torch.cpu, name)
        if name in _IGNORED:
            return lambda *_args, **_kwargs: None
        raise AttributeError(f"torch.cpu has no {name!r}, and flywheel's CPU platform does not stand in for it")


_DEVICE_MODULE = _CpuDeviceModule("flywheel_cpu_device")


@PlatformRegistry.register(platform="cpu")
class CpuPlatform(PlatformBase):  # type: ignore[misc]
    """One "device" per process, gloo between processes, weights to vLLM through shared memory."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _DEVICE_MODULE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return os.environ.get("VERL_PLATFORM", "") == "cpu"

    def current_device(self) -> str:
        return "cpu"  # verl passes this to Tensor.to(): a device string, not an ordinal

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return (None, None)

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False  # verl then sends weights to vLLM through shared memory

    def rollout_env_vars(self) -> dict[str, str]:
        return {k: v for k, v in os.environ.items() if k.startswith(("VLLM_CPU_", "OMP_"))}

    def cudart(self) -> None:
        return None


def _use_gloo_for_cpu() -> None:
    """verl would build the backend "cpu:gloo,cpu:gloo", which torch refuses as a duplicate device.

    NUMA binding needs a GPU.
    """
    original = verl_distributed.initialize_global_process_group_ray

    def initialize(timeout_second: int | None = None, backend: str | None = None) -> Any:
        return original(timeout_second, backend or "cpu:gloo")

    verl_distributed.initialize_global_process_group_ray = initialize
    verl_distributed.set_numa_affinity = lambda: None


_use_gloo_for_cpu()
