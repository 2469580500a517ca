"""What every object and pod of ours carries: owner, labels, and a pod that Pod Security `restricted` accepts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from flywheel_api import API_VERSION
from flywheel_api.base import StatusModel
from flywheel_api.bounds import quantity
from flywheel_api.common import PodTemplate, Resources, StoreRef
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
from flywheel_api.stages import STORE_ENV, STORE_REQUIRED_KEYS
from flywheel_operator.model import Meta, Object
from flywheel_operator.settings import OperatorConfig, PodDefaults, Sizes

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


def pod_metadata(defaults: PodDefaults, marks: dict[str, str]) -> Object:
    """Metadata of a pod template: the chart's labels and annotations; ours win."""
    found: Object = {"labels": {**defaults.labels, **marks}}
    return found | ({"annotations": dict(defaults.annotations)} if defaults.annotations else {})


def store_env(store: StoreRef) -> list[Object]:
    """The store's keys as environment variables, straight from the Secret: no value passes through the operator."""
    env: list[Object] = []
    for key, variable in STORE_ENV.items():
        ref: Object = {"name": store.secret_name, "key": key}
        if key not in STORE_REQUIRED_KEYS:
            ref["optional"] = True
        env.append({"name": variable, "valueFrom": {"secretKeyRef": ref}})
    return env


def plain_env(values: dict[str, str]) -> list[Object]:
    """Environment variables in a stable order."""
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def config_env(name: str, config: StatusModel) -> Object:
    """A config as JSON in one variable. Configs hold no secret (law 9)."""
    return {"name": name, "value": json.dumps(config.dump(), sort_keys=True, separators=(",", ":"))}


CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_security(config: OperatorConfig) -> Object:
    """The pod's half of `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": config.run_as_user,
        "runAsGroup": config.run_as_user,
        "fsGroup": config.run_as_user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def sizes(own: Sizes, template: PodTemplate | None, extra: dict[str, str] | None = None) -> Object:
    """Requests and limits: the chart's, then the object's own, then what the shape dictates (GPUs).

    Kubernetes refuses a request above its limit: where one comes from the chart and the other from the object, the
    object's counts for both.
    """
    asked = template.resources if template is not None and template.resources is not None else Resources()
    requests, limits = own.requests | asked.requests, own.limits | asked.limits
    for name in requests.keys() & limits.keys():
        if quantity(requests[name]) > quantity(limits[name]):
            if name in asked.requests:
                limits[name] = requests[name]
            else:
                requests[name] = limits[name]
    found = {"requests": requests | (extra or {}), "limits": limits | (extra or {})}
    return {key: value for key, value in found.items() if value}


def volumes(shm_size: str | None, model_size: str | None = None) -> list[Object]:
    """The writable places of a pod with a read-only root."""
    model: Object = {"sizeLimit": model_size} if model_size else {}
    found: list[Object] = [{"name": "tmp", "emptyDir": {}}, {"name": "home", "emptyDir": {}}]
    if shm_size:
        found.append({"name": "models", "emptyDir": model})
        found.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shm_size}})
    return found


def mounts(home: str, heavy: bool) -> list[Object]:
    """Where `volumes` are seen."""
    found = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "home", "mountPath": home}]
    if heavy:
        found += [{"name": "models", "mountPath": "/models"}, {"name": "shm", "mountPath": "/dev/shm"}]
    return found


def pod_spec(
    config: OperatorConfig,
    defaults: PodDefaults,
    template: PodTemplate | None,
    containers: Iterable[Object],
    init_containers: Iterable[Object],
    volume_list: list[Object],
) -> Object:
    """A pod of ours: restricted, without a service account token, where the chart and the object want it."""
    spec: Object = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(config),
        "containers": list(containers),
        "volumes": volume_list,
    }
    inits = list(init_containers)
    if inits:
        spec["initContainers"] = inits
    if config.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in config.image_pull_secrets]
    if config.service_account_name:
        spec["serviceAccountName"] = config.service_account_name
    selector = defaults.node_selector | (template.node_selector if template else {})
    if selector:
        spec["nodeSelector"] = selector
    tolerations = [t.dump() for t in [*defaults.tolerations, *(template.tolerations if template else [])]]
    if tolerations:
        spec["tolerations"] = tolerations
    priority = (template.priority_class_name if template else None) or defaults.priority_class_name
    if priority:
        spec["priorityClassName"] = priority
    if defaults.runtime_class_name:
        spec["runtimeClassName"] = defaults.runtime_class_name
    return spec
