"""What pods name and find, or do not find, in their namespace: claims and Secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from flywheel_api.base import secret_value
from flywheel_api.common import SecretKeyRef
from flywheel_api.conditions import Reason
from flywheel_api.pods.template import PodTemplate
from flywheel_operator.model import Object, Problem
from flywheel_operator.observe.events import Words
from flywheel_operator.ports.errors import Forbidden
from flywheel_operator.ports.kinds import CLAIMS, SECRETS, KubeApi

_UNBOUND = frozenset({"FailedBinding", "ProvisioningFailed"})
"""Words of the volume controllers; another is that it waits for its first pod."""


async def pods_find(
    kube: KubeApi, words: Words, namespace: str, templates: Mapping[str, PodTemplate | None]
) -> Problem | None:
    """The first thing that pods of these templates would not find, before a GPU waits for it."""
    for field, template in templates.items():
        for volume in template.volumes if template is not None else ():
            name = volume.persistent_volume_claim
            problem = await claim(kube, words, namespace, name) if name is not None else None
            if problem is not None:
                return Problem(problem.reason, f"{field}.volumes {volume.name}: {problem.message}")
        for env in template.secret_env if template is not None else ():
            ref = SecretKeyRef(secret_name=env.secret_name, key=env.key)
            problem = await secret(kube, namespace, ref, f"the variable {env.name} of {field}")
            if problem is not None:
                return problem
    return None


async def claim(kube: KubeApi, words: Words, namespace: str, name: str) -> Problem | None:
    """Whether a volume that a pod will mount is there. One that waits for its first pod is bound by that."""
    try:
        found = await kube.get(CLAIMS, namespace, name)
    except Forbidden:
        return None  # the pod says so where it cannot be mounted
    if found is None:
        text = f"PersistentVolumeClaim {name!r} does not exist in namespace {namespace!r}: create it"
        return Problem(Reason.VOLUME_NOT_FOUND, text)
    phase = (found.get("status") or {}).get("phase")
    if phase == "Lost":
        text = f"PersistentVolumeClaim {name!r} has lost its volume: make it anew, or name another one"
        return Problem(Reason.VOLUME_NOT_FOUND, text)
    if phase != "Bound":
        said = await words.newest(kube, namespace, found["metadata"]["uid"])
        if said.get("reason") in _UNBOUND:
            text = f"PersistentVolumeClaim {name!r} is not bound: {said.get('message', '')}"
            return Problem(Reason.VOLUME_NOT_FOUND, text)
    return None


async def secret(kube: KubeApi, namespace: str, ref: SecretKeyRef, what: str) -> Problem | None:
    """Whether what a pod will be given in a variable is there and is a text."""
    try:
        return secret_problem(await kube.get(SECRETS, namespace, ref.secret_name), ref, what)
    except Forbidden:
        return None  # the pod reads it itself; the operator need not


def secret_problem(found: Object | None, ref: SecretKeyRef, what: str) -> Problem | None:
    """What is wrong with a Secret that is to hold a key."""
    if found is None:
        text = f"Secret {ref.secret_name!r}, {what}, does not exist: create it"
        return Problem(Reason.SECRET_NOT_FOUND, text)
    if ref.key not in (found.get("data") or {}):
        text = f"Secret {ref.secret_name!r} has no key {ref.key!r} ({what.removeprefix('the ')}): add it"
        return Problem(Reason.SECRET_KEY_MISSING, text)
    try:
        secret_value(base64.b64decode(found["data"][ref.key], validate=True).decode())
    except ValueError as error:
        wrong = "is not base64 of UTF-8 text" if isinstance(error, UnicodeDecodeError | binascii.Error) else error
        text = f"{ref.key} of Secret {ref.secret_name!r} ({what.removeprefix('the ')}) {wrong}"
        return Problem(Reason.SECRET_KEY_INVALID, text)
    return None
