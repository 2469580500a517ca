"""Arguments of Ray Serve LLM for CPU and GPU pools."""

from __future__ import annotations

import pytest

from flywheel_api.artifacts import Owner
from flywheel_api.stages import PoolConfig
from flywheel_jobs.rollout.app import llm_config


def config(gpus: int, **fields: object) -> PoolConfig:
    defaults = {
        "owner": Owner(kind="RolloutPool", namespace="n", name="p", uid="u"),
        "model": "sha256:" + "a" * 64,
        "directory": "/models/policy",
        "served_model_name": "policy",
        "replicas": 2,
        "gpus_per_replica": gpus,
        "engine": {"max_model_len": 1024},
    }
    return PoolConfig.model_validate({**defaults, **fields})


def test_cpu() -> None:
    got = llm_config(config(0))
    assert got["placement_group_config"]["bundles"] == [{"CPU": 1}]
    assert got["engine_kwargs"] == {
        "dtype": "float32",
        "enforce_eager": True,
        "max_num_seqs": 32,
        "max_model_len": 1024,
        "generation_config": "vllm",
    }
    assert got["deployment_config"] == {"num_replicas": 2}
    assert got["model_loading_config"] == {"model_id": "policy", "model_source": "/models/policy"}


def test_pod_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert llm_config(config(0))["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "7"


def test_gpu() -> None:
    got = llm_config(config(4, engine={"gpu-memory-utilization": 0.9, "tensor_parallel_size": 2}))
    assert got["placement_group_config"]["bundles"] == [{"GPU": 1, "CPU": 1}] * 4
    own = {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.9}
    assert got["engine_kwargs"] == {**own, "generation_config": "vllm"}, "what a request leaves open is neutral"
    assert "runtime_env" not in got


def test_hub_models_are_left_to_vllm() -> None:
    assert llm_config(config(1, model="hf://org/name"))["model_loading_config"]["model_source"] == "org/name"
