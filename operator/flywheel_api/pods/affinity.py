"""core/v1 Affinity as a model: the CRDs take any object there, whose schema would be larger than a kind's own.

What is misspelt or incomplete is refused in Preflight, before a pod that nobody can place.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from flywheel_api.base import ApiModel, ShortString

Weight = Annotated[int, Field(ge=1, le=100)]


class _Requirement(ApiModel):
    key: ShortString
    values: list[str] = Field(default_factory=list)


class NodeRequirement(_Requirement):
    """A label or a field of a node."""

    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]


class LabelRequirement(_Requirement):
    """A label of pods or namespaces."""

    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]


class NodeTerm(ApiModel):
    """Nodes that meet all of these."""

    match_expressions: list[NodeRequirement] = Field(default_factory=list)
    match_fields: list[NodeRequirement] = Field(default_factory=list)


class NodeTerms(ApiModel):
    """Nodes that meet one of these."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1)]


class PreferredNodes(ApiModel):
    """Nodes that count for more."""

    weight: Weight
    preference: NodeTerm


class NodeAffinity(ApiModel):
    """Which nodes."""

    required: NodeTerms | None = Field(default=None, alias="requiredDuringSchedulingIgnoredDuringExecution")
    preferred: list[PreferredNodes] = Field(
        default_factory=list, alias="preferredDuringSchedulingIgnoredDuringExecution"
    )


class LabelSelector(ApiModel):
    """Pods or namespaces by label."""

    match_labels: dict[str, str] = Field(default_factory=dict)
    match_expressions: list[LabelRequirement] = Field(default_factory=list)


class PodTerm(ApiModel):
    """Near, or away from, these pods."""

    topology_key: ShortString
    label_selector: LabelSelector | None = None
    namespaces: list[str] = Field(default_factory=list)
    namespace_selector: LabelSelector | None = None


class PreferredPods(ApiModel):
    """Places that count for more."""

    weight: Weight
    pod_affinity_term: PodTerm


class PodAffinity(ApiModel):
    """Near which pods, or away from which."""

    required: list[PodTerm] = Field(default_factory=list, alias="requiredDuringSchedulingIgnoredDuringExecution")
    preferred: list[PreferredPods] = Field(
        default_factory=list, alias="preferredDuringSchedulingIgnoredDuringExecution"
    )


class AffinityParts(ApiModel):
    """core/v1 Affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None

    def body(self) -> dict[str, Any]:
        """As Kubernetes takes it: without what nobody wrote."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


Affinity = Annotated[AffinityParts, WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
