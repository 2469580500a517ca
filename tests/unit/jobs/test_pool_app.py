"""What a RolloutPool's servers are started with."""

from __future__ import annotations

from typing import Any

import pytest

from flywheel_api.artifacts import Owner
from flywheel_api.stages import PoolConfig
from flywheel_jobs.rollout.app import engine_arguments


def arguments(gpus: int, **engine: Any) -> dict[str, Any]:
    owner = Owner(kind="RolloutPool", namespace="n", name="p", uid="u")
    return engine_arguments(
        PoolConfig(
            owner=owner,
            model="m",
            directory="/m",
            served_model_name="m",
            replicas=1,
            gpus_per_replica=gpus,
            engine=engine,
        )
    )


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_pool_samples_from_the_policy_and_not_from_its_checkpoint_s_habits(gpus: int) -> None:
    """Qwen's generation_config.json says top_k 20 and a repetition penalty; training samples without them."""
    assert arguments(gpus)["generation_config"] == "vllm"
    assert arguments(gpus, **{"generation-config": "auto"})["generation_config"] == "auto"
