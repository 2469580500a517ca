"""The Ray Serve application of a RolloutPool: Ray Serve LLM on vLLM, an OpenAI-compatible server.

A RayService names `flywheel_jobs.rollout.app:build` as import_path and passes a PoolConfig as args. The weights lie in
`directory` on every pod, put there and verified by the init container (`fetch-model`).
"""

from __future__ import annotations

import os
from typing import Any

from flywheel_api.base import HUB
from flywheel_api.stages import PoolConfig

CPU_ENGINE: dict[str, Any] = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 32}
"""Compiling takes 135 s and gains nothing on 2 cores; float32 is what vLLM's CPU back end is fastest with at 135M."""
CPU_VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "passive",  # spinning threads starve whatever else runs on the node
    "TORCH_COMPILE_DISABLE": "1",  # vLLM's sampler is compiled even when eager, and the image has no compiler
    "TORCHDYNAMO_DISABLE": "1",
}


def build(args: dict[str, Any]) -> Any:
    """The application of a PoolConfig. Raises pydantic's ValidationError for arguments of another version."""
    from ray.serve.llm import LLMConfig, build_openai_app

    return build_openai_app({"llm_configs": [LLMConfig(**llm_config(PoolConfig.model_validate(args)))]})


def llm_config(config: PoolConfig) -> dict[str, Any]:
    """Arguments of ray.serve.llm.LLMConfig. Pure."""
    cpu = config.gpus_per_replica == 0
    return {
        "model_loading_config": {"model_id": config.served_model_name, "model_source": model_source(config)},
        "accelerator_type": None,
        "deployment_config": {"num_replicas": config.replicas},
        "placement_group_config": {"bundles": _bundles(config), "strategy": "STRICT_PACK"},
        "engine_kwargs": engine_arguments(config),
        **({"runtime_env": {"env_vars": cpu_variables()}} if cpu else {}),
    }


def model_source(config: PoolConfig) -> str:
    """The local folder, or the hub's name, which vLLM resolves by itself."""
    return config.model.removeprefix(HUB) if config.model.startswith(HUB) else config.directory


def engine_arguments(config: PoolConfig) -> dict[str, Any]:
    """vLLM's AsyncEngineArgs: the flavour's defaults, then the pool's own, in snake_case.

    What a request leaves open is vLLM's neutral value, not the checkpoint's `generation_config.json` (top_k 20, a
    repetition penalty ...): training samples so, and a pass rate or score must be of the policy that is trained.
    """
    own = {"generation_config": "vllm"} | {key.replace("-", "_"): value for key, value in config.engine.items()}
    if config.gpus_per_replica == 0:
        return CPU_ENGINE | own
    return {"tensor_parallel_size": config.gpus_per_replica} | own


def cpu_variables() -> dict[str, str]:
    """Variables of a CPU replica; what the pod says wins."""
    return {name: os.environ.get(name, value) for name, value in CPU_VARIABLES.items()}


def _bundles(config: PoolConfig) -> list[dict[str, int]]:
    """One bundle a GPU, all on one node; a CPU replica takes one logical CPU."""
    if config.gpus_per_replica == 0:
        return [{"CPU": 1}]
    return [{"GPU": 1, "CPU": 1} for _ in range(config.gpus_per_replica)]
