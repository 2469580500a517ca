"""The configuration file: one YAML file, rendered by the chart from its values, read once at start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flywheel_operator.settings import OperatorConfig

CONFIG_ENV = "FLYWHEEL_CONFIG"
DEFAULT_PATH = "/etc/flywheel/config.yaml"


class ConfigError(ValueError):
    """The configuration file is absent or wrong; the message names the field and the fix."""


def load_config(path: str | None = None) -> OperatorConfig:
    """Reads the file at `path`, else at $FLYWHEEL_CONFIG, else the default path. Raises ConfigError."""
    chosen = path or os.environ.get(CONFIG_ENV)
    file = Path(chosen or DEFAULT_PATH)
    if not file.exists():
        if chosen:
            raise ConfigError(f"{file} does not exist: point {CONFIG_ENV} at the operator's configuration")
        return OperatorConfig()
    try:
        data = yaml.safe_load(file.read_text()) or {}
        return OperatorConfig.model_validate(merge(OperatorConfig().model_dump(by_alias=True), data))
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        raise ConfigError(f"{file} is not a valid operator configuration: {error}") from error


_FREE_KEYS = frozenset({"requests", "limits", "env", "headRayStartParams", "workerRayStartParams", "overrides"})


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, field by field; maps with free keys (env, limits...) are merged by key as well.

    A free key set to null is removed, so that a default environment variable can be unset.
    """
    if not isinstance(over, dict):
        raise TypeError("the configuration must be a mapping")
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            inner = merge(base[key], value)
            merged[key] = {k: v for k, v in inner.items() if v is not None} if key in _FREE_KEYS else inner
        else:
            merged[key] = value
    return merged
