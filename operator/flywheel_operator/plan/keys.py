"""Which keys an object sends, where to, and whether the owner of each Secret lets it.

Who may write a round or an RLJob need not be allowed to read Secrets, and admission cannot ask for their rights.
Without more, any Secret of the namespace would go to an address of their choice. So a Secret says by itself where it
may go, in an annotation: only who may write the Secret can write that (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flywheel_api.common import SecretKeyRef
from flywheel_api.hosts import ALLOWED_HOSTS, entries_of, host_of, may_go
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec
from flywheel_api.tracking import TrackingSpec
from flywheel_operator.plan.pool import endpoint_url

PUBLIC_HUB, WANDB_CLOUD = "https://huggingface.co", "https://api.wandb.ai"  # where no address is given


@dataclass(frozen=True)
class Key:
    """A key that pods of ours are given to send it to an address."""

    ref: SecretKeyRef
    what: str
    url: str


def of_round(spec: FlywheelRoundSpec, namespace: str) -> Iterator[Key]:
    """Keys of a round; those of its trainings are the RLJobs' own as well."""
    hub = spec.base.hub
    if hub is not None and hub.token is not None:
        yield Key(hub.token, "the token of base.hub", hub.endpoint or PUBLIC_HUB)
    for endpoint in spec.endpoints:
        if endpoint.api_key is not None:
            url = endpoint.url or endpoint_url(endpoint.pool_ref or "pool", namespace)
            yield Key(endpoint.api_key, f"the API key of role {endpoint.role.value}", url)
    yield from _of_tracker(spec.training.tracking)
    yield from of_export(spec)


def of_export(spec: FlywheelRoundSpec) -> Iterator[Key]:
    """The key that a round sends after its verdict."""
    hub = spec.export.hub if spec.export is not None else None
    if hub is not None:
        yield Key(hub.token, "the token of export.hub", hub.endpoint or PUBLIC_HUB)


def of_training(spec: RLJobSpec) -> Iterator[Key]:
    """Keys of an RLJob."""
    yield from _of_tracker(spec.tracking)


def _of_tracker(tracking: TrackingSpec | None) -> Iterator[Key]:
    if tracking is not None and tracking.api_key is not None:
        yield Key(tracking.api_key, "the key of the tracker", tracking.url or WANDB_CLOUD)


def refusal(key: Key, namespace: str, listed: str) -> str | None:
    """Why a key may not go where it would, and who can change that; `listed` is what its Secret's annotation says."""
    name, host, entries = key.ref.secret_name, host_of(key.url), entries_of(listed)
    if may_go(entries, key.url):
        return None
    says = f"may be sent to {', '.join(entries)[:128]}" if entries else "does not say where it may be sent"
    return (
        f"Secret {name!r} {says}, and {key.what} would go to {host}: who owns the Secret allows it by "
        f"`kubectl -n {namespace} annotate --overwrite secret {name} '{ALLOWED_HOSTS}={','.join([*entries, host])}'`"
    )
