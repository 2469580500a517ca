"""What only a look at the cluster and the store can tell, before anything that costs money starts."""

from __future__ import annotations

from flywheel_api.common import PodTemplate
from flywheel_api.conditions import Reason
from flywheel_api.overrides import check_overrides
from flywheel_api.rljob import RLJobSpec
from flywheel_operator.observe.artifacts import resolve_model
from flywheel_operator.plan.types import Problem
from flywheel_operator.ports.kinds import RAY_API, KubeApi
from flywheel_operator.ports.objects import ObjectStore
from flywheel_operator.settings import AllowList


async def kuberay(kube: KubeApi) -> Problem | None:
    """KubeRay's resources must be there."""
    if await kube.served(RAY_API):
        return None
    return Problem(
        Reason.KUBERAY_NOT_INSTALLED,
        "this cluster has no KubeRay (ray.io/v1): install the KubeRay operator, 1.6 or newer; "
        "then this goes on by itself",
    )


async def model(store: ObjectStore, ref: str) -> tuple[str | None, Problem | None]:
    """Digest of a model reference, or what is missing."""
    digest = await resolve_model(store, ref)
    if digest is not None:
        return digest, None
    if ref.startswith("s3://"):
        key = f"{ref.rstrip('/')}/manifest.json"
        text = f"there is no {key}: import the model first (`python -m flywheel_jobs import-model`)"
    else:
        text = f"no manifest {ref} in the store {store.settings.uri('manifests/')}: name a committed checkpoint"
    return None, Problem(Reason.MODEL_NOT_FOUND, text)


async def data(store: ObjectStore, spec: RLJobSpec) -> Problem | None:
    """Every dataset manifest of an RLJob must be there. Plain files (s3://) are left to the job: they may be large."""
    for ref in (*spec.data.train, *spec.data.validation):
        if ref.startswith("sha256:") and await resolve_model(store, ref) is None:
            return Problem(
                Reason.DATA_NOT_FOUND, f"dataset {ref} is not in the store: name a committed dataset in spec.data"
            )
    return None


def overrides(spec: RLJobSpec) -> Problem | None:
    """verl's keys, so that a misspelt one costs no GPU start."""
    wrong = check_overrides(spec.overrides)
    return Problem(Reason.UNKNOWN_OVERRIDE, "; ".join(wrong[:3])) if wrong else None


def pod_template(template: PodTemplate, allowed: AllowList) -> Problem | None:
    """The allow-list of the chart: what a person who may create our objects may change of their pods."""
    refused = [
        ("image", template.image is not None and not _image_allowed(template.image, allowed)),
        ("resources", template.resources is not None and not allowed.resources),
        ("nodeSelector", bool(template.node_selector) and not allowed.node_selector),
        ("tolerations", bool(template.tolerations) and not allowed.tolerations),
        ("priorityClassName", template.priority_class_name not in (None, *allowed.priority_class_names)),
    ]
    wrong = [name for name, refuse in refused if refuse]
    if not wrong:
        return None
    return Problem(
        Reason.INVALID_SPEC,
        f"podTemplate.{wrong[0]} is not allowed here: remove it, or ask the cluster's owner to allow it in the chart's "
        "value podTemplate",
    )


def _image_allowed(image: str, allowed: AllowList) -> bool:
    return allowed.image and (not allowed.image_prefixes or image.startswith(tuple(allowed.image_prefixes)))
