"""Ray settings for a run that starts its own Ray instead of joining a RayJob's cluster (development and tests)."""

from __future__ import annotations

import os
from typing import Any

LOGICAL_CPUS = 16  # verl asks for about 12 one-CPU actors; on a real cluster num-cpus of rayStartParams says this
OBJECT_STORE_BYTES = 500_000_000


def ray_settings() -> dict[str, Any]:
    """verl settings when RAY_ADDRESS is not set; nothing inside a cluster, where Ray refuses num_cpus and num_gpus."""
    if os.environ.get("RAY_ADDRESS"):
        return {}
    return {
        "ray_kwargs.ray_init.num_cpus": LOGICAL_CPUS,
        "ray_kwargs.ray_init.num_gpus": 1,
        "ray_kwargs.ray_init.include_dashboard": False,
        "ray_kwargs.ray_init.object_store_memory": OBJECT_STORE_BYTES,
    }
