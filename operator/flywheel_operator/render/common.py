"""What every object of ours carries, owner and labels, and how a container learns where the store is and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flywheel_api import API_VERSION
from flywheel_api.base import StatusModel
from flywheel_api.common import SecretKeyRef, StoreRef
from flywheel_api.names import (
    LABEL_ATTEMPT,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_OWNER_KIND,
    LABEL_OWNER_NAME,
    LABEL_OWNER_UID,
    LABEL_PART_OF,
    LABEL_STAGE,
    MANAGED_BY,
    kebab,
)
from flywheel_api.pods.template import SecretEnv
from flywheel_api.stages import STORE_ENV, STORE_REQUIRED_KEYS
from flywheel_operator.model import Meta, Object
from flywheel_operator.settings import OperatorConfig

MODEL_DIR = "/models/model"


def labels(meta: Meta, kind: str, component: str, stage: str = "", attempt: int = 0) -> dict[str, str]:
    """Labels of names.py; never a user's own labels (GitOps tools track by those)."""
    found = {
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_PART_OF: "flywheel",
        LABEL_COMPONENT: component,
        LABEL_OWNER_KIND: kind,
        LABEL_OWNER_NAME: meta.name[:63],
        LABEL_OWNER_UID: meta.uid,
    }
    if stage:
        found[LABEL_STAGE] = kebab(stage)
    if attempt:
        found[LABEL_ATTEMPT] = str(attempt)
    return found


def metadata(meta: Meta, kind: str, name: str, marks: dict[str, str]) -> Object:
    """Metadata of a child: the garbage collector removes it with its owner."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": name, "namespace": meta.namespace, "labels": marks, "ownerReferences": [owner]}


def marked(render: Callable[..., Object], config: OperatorConfig, *facts: Any) -> Object:
    """A child as `render` makes it, with the chart's common labels and annotations beneath its own and its pods'."""
    body = render(config, *facts)
    spec = body["spec"]
    cluster = spec.get("rayClusterSpec") or spec.get("rayClusterConfig") or {}
    groups = [cluster[key] for key in ("headGroupSpec",) if key in cluster] + cluster.get("workerGroupSpecs", [])
    jobs = [spec] if body["kind"] == "Job" else []
    for place in (body, *(group["template"] for group in (*jobs, *groups))):
        own = place["metadata"]
        for key, common in (("labels", config.common_labels), ("annotations", config.common_annotations)):
            if common:
                own[key] = common | own.get(key, {})
    return body


def store_env(store: StoreRef) -> list[Object]:
    """The store's keys as environment variables, straight from the Secret: no value passes through the operator."""
    env: list[Object] = []
    for key, variable in STORE_ENV.items():
        ref: Object = {"name": store.secret_name, "key": key}
        if key not in STORE_REQUIRED_KEYS:
            ref["optional"] = True
        env.append({"name": variable, "valueFrom": {"secretKeyRef": ref}})
    return env


def from_secret(variable: str, ref: SecretKeyRef | SecretEnv) -> Object:
    """A variable from a key of a Secret: no value passes through the operator."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": ref.secret_name, "key": ref.key}}}


def plain_env(values: dict[str, str]) -> list[Object]:
    """Environment variables in a stable order."""
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def config_env(name: str, config: StatusModel) -> Object:
    """A config as JSON in one variable. Configs hold no secret (law 9)."""
    return {"name": name, "value": literal(config_text(config))}


def literal(text: str) -> str:
    """A variable's value or a command's word that stays as it is: Kubernetes puts any variable in for `$(NAME)`.

    A Secret's, too, which would then be in what the pod says of it (law 9).
    """
    return text.replace("$", "$$")


def config_text(config: StatusModel) -> str:
    """A config as JSON on one line."""
    return json.dumps(config.dump(), sort_keys=True, separators=(",", ":"))
