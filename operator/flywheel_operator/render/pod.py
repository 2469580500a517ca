"""A pod of ours: one that Pod Security `restricted` accepts, then what the chart and the object say of its role."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from flywheel_api.bounds import quantity
from flywheel_api.pods.template import PodShape, PodTemplate, Resources, away_from, laid_over
from flywheel_api.pods.volumes import OF_MODELS, Volume
from flywheel_api.stages import CACHE_ENV
from flywheel_operator.model import Object
from flywheel_operator.render.common import from_secret, plain_env
from flywheel_operator.settings import OperatorConfig, Sizes

CACHE = "/cache"
CACHED = {CACHE_ENV: CACHE, "HF_HOME": f"{CACHE}/huggingface", "VLLM_CACHE_ROOT": f"{CACHE}/vllm"}
"""Models of ours, of a hub, and what vLLM has compiled."""


@dataclass(frozen=True)
class Heavy:
    """Room for a model: sizes of /dev/shm and of the folder of weights (None: no limit)."""

    shm: str
    model: str | None


@dataclass(frozen=True)
class PodRole:
    """What is said of a role's pods: `shape` and `env` are the chart's word with the object's over it.

    `home` is where its processes live; `heavy` is for pods that hold a model.
    """

    shape: PodShape
    env: dict[str, str]
    home: str
    heavy: Heavy | None = None

    @classmethod
    def of(
        cls, chart: PodShape, env: dict[str, str], template: PodTemplate | None, home: str, heavy: Heavy | None = None
    ) -> PodRole:
        """`chart` and `env` are the chart's."""
        return cls(laid_over(chart, template), env | (template.env if template is not None else {}), home, heavy)

    def environment(self, ours: dict[str, str], *more: Object) -> Object:
        """`env` and `envFrom` of a container; ours win."""
        secret = [from_secret(entry.name, entry) for entry in self.shape.secret_env]
        found: Object = {"env": [*plain_env((CACHED if self._caches else {}) | self.env | ours), *secret, *more]}
        if self.shape.secret_env_from:
            found["envFrom"] = [{"secretRef": {"name": name}} for name in self.shape.secret_env_from]
        return found

    @property
    def _caches(self) -> bool:
        return self.heavy is not None and any(volume.name == "cache" for volume in self.shape.volumes)

    def mounts(self) -> list[Object]:
        """Where `volumes` are seen, in every container."""
        own = {volume.name: volume for volume in self.shape.volumes}
        places = {"tmp": "/tmp", "home": self.home} | ({"models": "/models", "shm": "/dev/shm"} if self.heavy else {})
        places |= {"cache": CACHE} if self._caches else {}
        further = {v.name: v.mount_path for v in own.values() if v.mount_path is not None}
        return [_mount(name, path, own.get(name)) for name, path in (places | further).items()]

    def volumes(self) -> list[Object]:
        """The writable places of a pod with a read-only root, and what was asked for."""
        places: dict[str, Object] = {"tmp": {"emptyDir": {}}, "home": {"emptyDir": {}}}
        if self.heavy:
            places["models"] = {"emptyDir": {"sizeLimit": self.heavy.model} if self.heavy.model else {}}
            places["shm"] = {"emptyDir": {"medium": "Memory", "sizeLimit": self.heavy.shm}}
        own = {v.name: _source(v) for v in self.shape.volumes if self.heavy or v.name not in OF_MODELS}
        return [{"name": name, **source} for name, source in (places | own).items()]

    def security(self) -> Object:
        """The main container's half of `restricted`, with the capabilities that root was given."""
        said = self.shape.security_context
        if said is None or said.capabilities is None:
            return CONTAINER_SECURITY
        return CONTAINER_SECURITY | {"capabilities": {"drop": ["ALL"], "add": said.capabilities.add}}


CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _mount(name: str, path: str, own: Volume | None) -> Object:
    found: Object = {"name": name, "mountPath": path}
    if own is not None and own.sub_path is not None:
        found["subPath"] = own.sub_path
    if own is not None and own.read_only:
        found["readOnly"] = True
    return found


def _source(volume: Volume) -> Object:
    """The volume as core/v1 has it."""
    if volume.ephemeral is not None:
        claim = volume.ephemeral.dump()
        storage = {"requests": {"storage": claim.pop("size")}}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": storage, **claim}
        return {"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}
    if volume.empty_dir is not None:
        return {"emptyDir": volume.empty_dir.dump()}
    if volume.host_path is not None:
        return {"hostPath": {"path": volume.host_path, "type": "Directory"}}
    if volume.persistent_volume_claim is not None:
        return {"persistentVolumeClaim": {"claimName": volume.persistent_volume_claim}}
    if volume.config_map is not None:
        return {"configMap": {"name": volume.config_map}}
    return {"secret": {"secretName": volume.secret}}


def pod_metadata(shape: PodShape, marks: dict[str, str]) -> Object:
    """Metadata of a pod template: the labels and annotations that were asked for; ours win."""
    found: Object = {"labels": {**shape.labels, **marks}}
    return found | ({"annotations": dict(shape.annotations)} if shape.annotations else {})


def _pod_security(config: OperatorConfig, shape: PodShape) -> Object:
    """The pod's half of `restricted`."""
    said = shape.security_context
    user = said.run_as_user if said is not None and said.run_as_user is not None else config.run_as_user
    return {
        "runAsNonRoot": user != 0,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def sizes(own: Sizes, template: PodTemplate | None, extra: dict[str, str] | None = None) -> Object:
    """Requests and limits: the chart's, then the object's own, then what the shape dictates (GPUs).

    Kubernetes refuses a request above its limit: where one comes from the chart and the other from the object, the
    object's counts for both. Of devices, whose names have a slash, it wants the limit.
    """
    asked = template.resources if template is not None and template.resources is not None else Resources()
    requests, limits = own.requests | asked.requests, own.limits | asked.limits
    for name in requests.keys() & limits.keys():
        if quantity(requests[name]) > quantity(limits[name]):
            if name in asked.requests:
                limits[name] = requests[name]
            else:
                requests[name] = limits[name]
    for device in [name for name in (*requests, *limits) if "/" in name]:
        limits[device] = requests[device] = asked.limits.get(device) or requests.get(device) or limits[device]
    found = {"requests": requests | (extra or {}), "limits": limits | (extra or {})}
    return {key: value for key, value in found.items() if value}


def pod_spec(
    config: OperatorConfig,
    role: PodRole,
    marks: dict[str, str],
    containers: Iterable[Object],
    init_containers: Iterable[Object] = (),
    avoid: tuple[str, ...] = (),
) -> Object:
    """A pod of ours, without a service account token. `marks` are the labels of its role; `avoid` names nodes."""
    shape = role.shape
    affinity = away_from(shape.affinity, avoid)
    spread = {"labelSelector": {"matchLabels": marks}}
    said: dict[str, Any] = {
        "initContainers": list(init_containers),
        "imagePullSecrets": [
            {"name": name} for name in dict.fromkeys([*config.image_pull_secrets, *shape.image_pull_secrets])
        ],
        "serviceAccountName": shape.service_account_name or config.service_account_name,
        "nodeSelector": shape.node_selector,
        "tolerations": [t.dump() for t in shape.tolerations],
        "affinity": affinity.body() if affinity is not None else None,
        "topologySpreadConstraints": [t.dump() | spread for t in shape.topology_spread_constraints],
        "priorityClassName": shape.priority_class_name,
        "schedulerName": shape.scheduler_name,
        "runtimeClassName": shape.runtime_class_name,
        "hostNetwork": shape.host_network,
        "dnsPolicy": shape.dns_policy or ("ClusterFirstWithHostNet" if shape.host_network else None),
        "dnsConfig": shape.dns_config.dump() if shape.dns_config is not None else None,
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(config, shape),
        "containers": list(containers),
        "volumes": role.volumes(),
        **{name: value for name, value in said.items() if value},
    }
