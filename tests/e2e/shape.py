"""The GPU flavour's shape without GPUs: the RLJob, and the chart's values that say what is different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Json = dict[str, Any]

VALUES = Path(__file__).with_name("gpu-shape.yaml")
NAME = "e2e-gpu-shape"
NODES = 2
STEPS = 4


def spec(model: str, train: str, validation: str) -> Json:
    """Two nodes of one GPU each, four steps of the demo's arithmetic, a checkpoint after each."""
    return {
        "model": model,
        "data": {"train": [train], "validation": [validation]},
        "algorithm": {
            "type": "GRPO",
            "groupSize": 4,
            "promptsPerStep": 4,
            "miniBatchPrompts": 4,
            "learningRate": "2e-5",
            "maxSteps": STEPS,
            "maxPromptTokens": 128,
            "maxResponseTokens": 16,
        },
        "reward": {"type": "Math"},
        "nodes": NODES,
        "gpusPerNode": 1,
        "checkpoint": {"everySteps": 1, "keepLast": 2, "keepBest": 1},
        "retries": {"limit": 1},
        "wallClock": "40m",
        "reuse": "Never",
    }
