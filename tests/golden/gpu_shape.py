"""The GPU flavour's RayJob beside the same on CPUs (`tests/e2e/gpu-shape.yaml`): what differs, a line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from e2e import shape
from flywheel_api.rljob import RLJobSpec
from flywheel_operator.config_file import merge
from flywheel_operator.model import Meta
from flywheel_operator.settings import OperatorConfig
from golden import BASE, DATA, FOLDER, job_objects

FILE = FOLDER / "gpu-shape.txt"
JOB = RLJobSpec.model_validate(shape.spec(BASE, DATA, DATA))
META = Meta("shape", "flywheel", "uid-of-shape", 1)
ABSENT = "-"


def values() -> Any:
    """The operator's configuration of the shape, as the chart lays it over the defaults."""
    read = yaml.safe_load(shape.VALUES.read_text())
    over = read.pop("config")
    assert not read, "the shape is the operator's configuration alone"
    over["gpu"]["trainer"]["image"] = OperatorConfig().cpu.trainer.image  # of images.trainerGpu
    return over


def both() -> tuple[Any, Any]:
    """What is laid over the defaults on GPUs, and on CPUs."""
    return {}, values()


def rendered(over: Any) -> Any:
    """The RayJob."""
    config = OperatorConfig.model_validate(merge(OperatorConfig().model_dump(by_alias=True), over))
    (job,) = job_objects(config, META, JOB)
    return job


def differences() -> list[str]:
    """`path: on GPUs -> on CPUs`, sorted."""
    gpu, cpu = (dict(_leaves("", rendered(over)["spec"]["rayClusterSpec"])) for over in both())
    keys = sorted(key for key in gpu.keys() | cpu.keys() if gpu.get(key) != cpu.get(key))
    return [f"{key[1:]}: {gpu.get(key, ABSENT)} -> {cpu.get(key, ABSENT)}" for key in keys]


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Leaves by path: items of a list by their name or number, a configuration in a variable as what it is."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            named = isinstance(item, dict) and "name" in item
            rest = {key: inner for key, inner in item.items() if key != "name"} if named else item
            yield from _leaves(f"{path}.{item['name'] if named else number}", rest)
    else:
        text = str(value)
        inner = json.loads(text) if text.startswith("{") else None
        yield from _leaves(path, inner) if inner else [(path, text)]
