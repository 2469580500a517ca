"""What may be said of the pods of a role: by the chart in `PodShape`, and by an object over it in `PodTemplate`.

A strategic subset of core/v1 PodSpec. Where Kubernetes asks for two entries that are nothing without each other (a
volume and its mount, a variable and its source) one stands here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from flywheel_api.base import (
    IMAGE_PATTERN,
    LABEL_VALUE_PATTERN,
    SECRET_KEY_PATTERN,
    ApiModel,
    Name,
    ObjectName,
    SecretName,
    ShortString,
    config_with_rules,
    is_none,
)
from flywheel_api.bounds import Quantity, label_key, quantity, scalar_text
from flywheel_api.pods.affinity import Affinity, AffinityParts
from flywheel_api.pods.volumes import OF_MODELS, Volume


def _above_limit(name: str) -> tuple[str, str]:
    both = f"has(self.requests) && has(self.limits) && '{name}' in self.requests && '{name}' in self.limits"
    values = [f"quantity(string(self.{where}['{name}']))" for where in ("requests", "limits")]
    return f"!({both}) || {values[0]}.compareTo({values[1]}) <= 0", f"requests.{name} must not exceed limits.{name}"


class Resources(ApiModel):
    """Requests and limits of the main container, as Kubernetes quantities."""

    # 7: servers before 1.33 take each quantity for 3 MB long, and refuse the CRD of a round with 8 for 4 endpoints
    requests: Annotated[dict[str, Quantity], Field(max_length=7)] = Field(
        default_factory=dict, description="What the scheduler sets aside."
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=7)] = Field(
        default_factory=dict, description="What the container may use at most."
    )

    model_config = config_with_rules(*map(_above_limit, ("cpu", "memory", "ephemeral-storage")))

    @model_validator(mode="after")
    def _of_a_container(self) -> Self:
        """What the API server refuses of a pod, and nobody of a template."""
        for where, sizes in (("requests", self.requests), ("limits", self.limits)):
            for name, size in sizes.items():
                if "/" not in name and not _RESOURCE.fullmatch(name):
                    raise ValueError(
                        f"{where}.{name} is no resource of a container: cpu, memory, ephemeral-storage, or "
                        "one with its domain such as nvidia.com/gpu"
                    )
                small = size.endswith(("m", "u", "n")) and quantity(size) < _SMALLEST  # servers write 0.1Gi so too
                if name in ("memory", "ephemeral-storage") and small:
                    raise ValueError(f"{where}.{name} {size} is a part of a byte: write {size[:-1]}Mi")
        return self


class Toleration(ApiModel):
    """A core/v1 toleration."""

    key: ShortString | None = Field(
        default=None, description="Taint key; with operator Exists and no key every taint is tolerated."
    )
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Exists or Equal (the default).")
    value: ShortString | None = Field(default=None, description="Taint value, with operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="NoSchedule, PreferNoSchedule or NoExecute; none means all."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="How long NoExecute is tolerated."
    )

    model_config = config_with_rules(
        (
            "has(self.key) && self.key != '' || has(self.operator) && self.operator == 'Exists'",
            "a toleration without key needs operator: Exists",
        ),
        (
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "a toleration with operator Exists has no value: leave it out, or use operator Equal",
        ),
        (
            "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
            "tolerationSeconds goes with effect: NoExecute",
        ),
    )


LabelKey = Annotated[str, AfterValidator(label_key)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE_PATTERN, max_length=63)]
Labels = dict[LabelKey, Annotated[LabelValue, BeforeValidator(scalar_text)]]
Annotations = dict[LabelKey, Annotated[str, Field(max_length=4096), BeforeValidator(scalar_text)]]

_SMALLEST = 2**20  # bytes
_RESOURCE = re.compile(r"cpu|memory|ephemeral-storage|hugepages-[0-9]+[KMG]i")
_OURS = ("flywheel.dev/", "ray.io/", "app.kubernetes.io/managed-by", "app.kubernetes.io/part-of")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"(?i)(^|_)(key|access_key_id|token|secret|password|passwd|credentials)$")
_OWN_ENV = re.compile(r"FLYWHEEL_.*|HOME")


def env_name(text: str) -> str:
    """The name of a variable that is not ours. Raises ValueError with what to write."""
    if _ENV_NAME.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no name of a variable: letters, digits and _, no digit first")
    if _OWN_ENV.fullmatch(text):
        raise ValueError(f"variable {text} is Flywheel's own: leave it out")
    return text


def _plain(env: dict[str, str]) -> dict[str, str]:
    """Specs are read by everybody who may look (law 9)."""
    for name, value in env.items():
        if value and _SECRET.search(name):
            raise ValueError(f"variable {name} looks like a secret: put its value into a Secret, named in secretEnv")
    return env


class TopologySpread(ApiModel):
    """A core/v1 topologySpreadConstraint over the pods of the same role of the same object."""

    topology_key: Annotated[str, Field(min_length=1, max_length=316)] = Field(
        description="Label of nodes whose values are spread over, such as kubernetes.io/hostname."
    )
    max_skew: Annotated[int, Field(ge=1, le=4096)] = Field(default=1, description="Largest difference in pods.")
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"] = Field(
        description="DoNotSchedule or ScheduleAnyway."
    )


class DnsOption(ApiModel):
    """An option of the resolver."""

    name: ShortString = Field(description="Name, such as ndots.")
    value: ShortString | None = Field(default=None, description="Value.")


class DnsConfig(ApiModel):
    """core/v1 PodDNSConfig: beside what dnsPolicy makes."""

    nameservers: Annotated[list[ShortString], Field(max_length=3)] = Field(
        default_factory=list, exclude_if=is_none, description="Addresses of name servers."
    )
    searches: Annotated[list[ShortString], Field(max_length=32)] = Field(
        default_factory=list, exclude_if=is_none, description="Domains that names are looked up in."
    )
    options: Annotated[list[DnsOption], Field(max_length=16)] = Field(
        default_factory=list, exclude_if=is_none, description="Options of the resolver."
    )


class SecretEnv(ApiModel):
    """A variable whose value the kubelet takes from a Secret of this namespace."""

    name: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(env_name)] = Field(
        description="Name of the variable, such as WANDB_API_KEY."
    )
    secret_name: SecretName = Field(description="Name of the Secret.")
    key: Annotated[str, Field(pattern=SECRET_KEY_PATTERN, max_length=253)] = Field(description="Key in that Secret.")


class Capabilities(ApiModel):
    """Linux capabilities of the main container, beside none."""

    add: Annotated[list[Annotated[str, Field(max_length=32)]], Field(min_length=1, max_length=8)] = Field(
        description="Names without CAP_, such as IPC_LOCK for RDMA."
    )


class SecurityContext(ApiModel):
    """What a pod may be beyond Pod Security `restricted`; its namespace has to allow it as well."""

    run_as_user: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="User of all containers; unset is the chart's runAsUser."
    )
    capabilities: Capabilities | None = Field(default=None, description="Capabilities of the main container.")

    model_config = config_with_rules(
        (
            "!has(self.capabilities) || has(self.runAsUser) && self.runAsUser == 0",
            "a process of another user than root gets no capabilities, whatever is added: set runAsUser to 0 as well",
        )
    )


def _keyed(key: str) -> JsonDict:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


class PodShape(ApiModel):
    """Where and how pods run."""

    labels: Annotated[Labels, Field(max_length=16)] = Field(
        default_factory=dict, exclude_if=is_none, description="Labels of the pods beside Flywheel's own."
    )
    annotations: Annotated[Annotations, Field(max_length=16)] = Field(
        default_factory=dict,
        exclude_if=is_none,
        description="Annotations of the pods, such as karpenter.sh/do-not-disrupt.",
    )
    node_selector: Annotated[Labels, Field(max_length=16)] = Field(
        default_factory=dict, description="Labels that a node must have."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(
        default_factory=list, description="Taints that the pods tolerate."
    )
    affinity: Affinity | None = Field(
        default=None, description="core/v1 Affinity: nodeAffinity, podAffinity, podAntiAffinity."
    )
    topology_spread_constraints: Annotated[list[TopologySpread], Field(max_length=4)] = Field(
        default_factory=list,
        exclude_if=is_none,
        json_schema_extra=_keyed("topologyKey"),
        description="How the pods of a role are spread over nodes.",
    )
    priority_class_name: Name | None = Field(default=None, description="PriorityClass of the pods.")
    scheduler_name: ObjectName | None = Field(default=None, description="Scheduler of the pods.")
    runtime_class_name: ObjectName | None = Field(default=None, description="RuntimeClass of the pods, such as nvidia.")
    host_network: bool | None = Field(
        default=None, description="Whether the pods use the node's network: one pod of a role a node then."
    )
    dns_policy: Literal["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] | None = Field(
        default=None, description="Unset is ClusterFirst, with hostNetwork ClusterFirstWithHostNet."
    )
    dns_config: DnsConfig | None = Field(default=None, description="Name servers, search domains and options.")
    service_account_name: ObjectName | None = Field(
        default=None, description="ServiceAccount of the pods, which may stand for a cloud's role; no token is mounted."
    )
    image_pull_secrets: Annotated[list[SecretName], Field(max_length=8)] = Field(
        default_factory=list, exclude_if=is_none, description="Secrets for pulling images, beside the chart's."
    )
    security_context: SecurityContext | None = Field(default=None, description="User and capabilities.")
    volumes: Annotated[list[Volume], Field(max_length=8)] = Field(
        default_factory=list,
        exclude_if=is_none,
        json_schema_extra=_keyed("name"),
        description="Volumes and where they are mounted.",
    )
    secret_env: Annotated[list[SecretEnv], Field(max_length=16)] = Field(
        default_factory=list,
        exclude_if=is_none,
        json_schema_extra=_keyed("name"),
        description="Variables whose values come from Secrets.",
    )
    secret_env_from: Annotated[list[SecretName], Field(max_length=8)] = Field(
        default_factory=list, exclude_if=is_none, description="Secrets all of whose keys become variables."
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        """As YAML reads a section without lines; a key that does not exist is refused, with null as well."""
        if not isinstance(data, dict):
            return data
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {key: value for key, value in data.items() if value is not None or key not in known}


class PodTemplate(PodShape):
    """What an object says of the pods that do its work, over the chart's values and within the chart's allow-list.

    Maps are merged by key and lists by name, tolerations and pull secrets are added; else the object's word counts.
    """

    image: Annotated[str, Field(pattern=IMAGE_PATTERN, max_length=512)] | None = Field(
        default=None, description="Image of all containers."
    )
    resources: Resources | None = Field(
        default=None, description="Resources of the main container, such as rdma/hca beside cpu and memory."
    )
    env: Annotated[
        dict[Annotated[str, AfterValidator(env_name)], Annotated[str, Field(max_length=4096)]],
        Field(max_length=32),
        AfterValidator(_plain),
    ] = Field(default_factory=dict, exclude_if=is_none, description="Variables of all containers, such as NCCL_IB_HCA.")

    def misplaced(self, heavy: bool) -> str | None:
        """What another field says, or nobody but us: here it would do nothing. `heavy` pods hold a model."""
        places = [v.name for v in self.volumes if v.name in OF_MODELS and not heavy]
        if places:
            return f"volumes {places[0]}: pods of CPU stages hold no model, so leave it out"
        said = self.resources or Resources()
        gpus = [name for name in (*said.requests, *said.limits) if name.endswith("/gpu")]
        if gpus:
            return f"resources {gpus[0]}: gpusPerNode and gpusPerReplica say how many GPUs, so leave it out"
        ours = [key for key in self.labels if key.startswith(_OURS)]
        return f"labels {ours[0]} is Flywheel's or KubeRay's own: leave it out" if ours else None


LikePodTemplate = Annotated[
    PodTemplate, WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
]
"""The same, for further roles: the CRDs do not repeat the schema, so that what is wrong is said by Preflight."""

_MAPS = ("labels", "annotations", "node_selector")
_ADDED = ("tolerations", "image_pull_secrets", "secret_env_from")
_BY_NAME = {"topology_spread_constraints": "topology_key", "volumes": "name", "secret_env": "name"}
_BY_PART = ("affinity", "dns_config", "security_context")


def laid_over(chart: PodShape, own: PodShape | None) -> PodShape:
    """The chart's shape with an object's over it: see PodTemplate."""
    if own is None:
        return chart
    found = {name: getattr(chart, name) for name in PodShape.model_fields}
    for name, below in found.items():
        above = getattr(own, name)
        if name in _MAPS:
            found[name] = below | above
        elif name in _ADDED:
            found[name] = [*below, *(entry for entry in above if entry not in below)]
        elif name in _BY_NAME:
            key = _BY_NAME[name]
            found[name] = list(({getattr(e, key): e for e in below} | {getattr(e, key): e for e in above}).values())
        elif name in _BY_PART and below is not None and above is not None:
            found[name] = below.model_copy(update={field: getattr(above, field) for field in above.model_fields_set})
        elif above is not None:
            found[name] = above
    return PodShape.model_construct(**found)


def away_from(affinity: AffinityParts | None, nodes: tuple[str, ...]) -> AffinityParts | None:
    """The affinity that keeps these nodes out as well: every alternative, as only one has to be met."""
    if not nodes:
        return affinity
    body = affinity.body() if affinity is not None else {}
    required = body.setdefault("nodeAffinity", {}).setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    # by the node's name, of which a requirement takes one value
    out = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    for term in required.setdefault("nodeSelectorTerms", [{}]):
        term["matchFields"] = [*term.get("matchFields", []), *out]
    return AffinityParts.model_validate(body)
