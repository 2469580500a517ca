"""core/v1 Affinity as a model: the CRDs take any object there, whose schema would be larger than a kind's own.

What is misspelt or incomplete is refused in Preflight, before a pod that nobody can place.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from flywheel_api.base import ApiModel, ShortString

_REQUIRED, _PREFERRED = (f"{how}DuringSchedulingIgnoredDuringExecution" for how in ("required", "preferred"))
Weight = Annotated[int, Field(ge=1, le=100, description="How much it counts, 1 to 100.")]


class NodeRequirement(ApiModel):
    """A label or a field of a node."""

    key: ShortString = Field(description="The label, or metadata.name.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = Field(description="How it is compared.")
    values: list[str] = Field(default_factory=list, description="With what.")


class LabelRequirement(ApiModel):
    """A label of pods or namespaces."""

    key: ShortString = Field(description="The label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How it is compared.")
    values: list[str] = Field(default_factory=list, description="With what.")


class NodeTerm(ApiModel):
    """Nodes that meet all of these."""

    match_expressions: list[NodeRequirement] = Field(default_factory=list, description="Of their labels.")
    match_fields: list[NodeRequirement] = Field(default_factory=list, description="Of their fields.")


class NodeTerms(ApiModel):
    """Nodes that meet one of these."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1)] = Field(description="The alternatives.")


class PreferredNodes(ApiModel):
    """Nodes that count for more."""

    weight: Weight
    preference: NodeTerm


class NodeAffinity(ApiModel):
    """Which nodes."""

    required: NodeTerms | None = Field(default=None, alias=_REQUIRED)
    preferred: list[PreferredNodes] = Field(default_factory=list, alias=_PREFERRED, description="Which rather.")


class LabelSelector(ApiModel):
    """Pods or namespaces by label."""

    match_labels: dict[str, str] = Field(default_factory=dict, description="With these values.")
    match_expressions: list[LabelRequirement] = Field(default_factory=list, description="That meet these.")


class PodTerm(ApiModel):
    """Near, or away from, these pods."""

    topology_key: ShortString = Field(description="Label of nodes whose value says what is near.")
    label_selector: LabelSelector | None = None
    namespaces: list[str] = Field(default_factory=list, description="Where the pods are; none is the same namespace.")
    namespace_selector: LabelSelector | None = None


class PreferredPods(ApiModel):
    """Places that count for more."""

    weight: Weight
    pod_affinity_term: PodTerm


class PodAffinity(ApiModel):
    """Near which pods, or away from which."""

    required: list[PodTerm] = Field(default_factory=list, alias=_REQUIRED, description="All of these.")
    preferred: list[PreferredPods] = Field(default_factory=list, alias=_PREFERRED, description="Rather these.")


class AffinityParts(ApiModel):
    """core/v1 Affinity."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None

    def body(self) -> dict[str, Any]:
        """As Kubernetes takes it: without what nobody wrote."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


Affinity = Annotated[AffinityParts, WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
