"""The configuration file: one YAML file, rendered by the chart from its values, read once at start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from flywheel_operator.settings import OperatorConfig

CONFIG_ENV = "FLYWHEEL_CONFIG"
POD_IP_ENV = "POD_IP"
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
        return OperatorConfig.model_validate(_defaults(os.environ.get(POD_IP_ENV, "")))
    try:
        data = yaml.safe_load(file.read_text()) or {}
        return OperatorConfig.model_validate(merge(_defaults(os.environ.get(POD_IP_ENV, "")), data))
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        raise ConfigError(f"{file} is not a valid operator configuration: {error}") from error


# maps whose keys are the user's: merged by key, and null removes a key, so that a default variable can be unset
_FREE_KEYS = frozenset(
    {"requests", "limits", "env", "headRayStartParams", "workerRayStartParams", "overrides", "nodeSelector", "labels"}
    | {"annotations", "commonLabels", "commonAnnotations"}
)


def merge(base: dict[str, Any], over: dict[str, Any], free: bool = False) -> dict[str, Any]:
    """`over` laid on `base`, key by key. Null, as YAML reads a section without lines, leaves the default.

    `free`: the keys are the user's, and null removes one. Raises TypeError when `over` is no mapping.
    """
    if not isinstance(over, dict):
        raise TypeError("the configuration must be a mapping")
    merged = dict(base)
    for key, value in over.items():
        if value is None and free:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = merge(base[key], value, key in _FREE_KEYS)
        elif value is not None or key not in base:  # a key that does not exist is refused, with null as well
            merged[key] = value
    return merged


def _defaults(pod_ip: str) -> dict[str, Any]:
    """The defaults where pods have addresses like `pod_ip`: Ray listens on one family, and IPv6 is asked for."""
    found = OperatorConfig().model_dump(by_alias=True)
    if ":" in pod_ip:
        shapes = (found[flavour][part] for flavour in ("cpu", "gpu") for part in ("trainer", "rollout"))
        for shape in shapes:
            shape["headRayStartParams"]["dashboard-host"] = "::"
    return found
