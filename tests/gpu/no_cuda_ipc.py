"""verl plug-in (VERL_USE_EXTERNAL_MODULES=gpu.no_cuda_ipc): weights go to vLLM through shared memory, not CUDA IPC."""

from verl.plugin.platform.platform_cuda import PlatformCUDA

PlatformCUDA.is_ipc_supported = lambda self: False
