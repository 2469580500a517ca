"""Conditions in the Kubernetes convention, and the closed sets of types and reasons that our resources use.

kstatus reads `Ready`, `Reconciling` and `Stalled` with `observedGeneration`; the rest tell people what to do next.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from flywheel_api.base import StatusModel, Timestamp, format_time

MESSAGE_LIMIT = 1024


class ConditionType(StrEnum):
    """Condition types; every one that applies to a kind is written on the first visit."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PREFLIGHT = "Preflight"
    NODES_FIT = "NodesFit"
    BUDGET_AVAILABLE = "BudgetAvailable"
    STORAGE_READY = "StorageReady"
    ENDPOINTS_AVAILABLE = "EndpointsAvailable"
    PROMOTED = "Promoted"
    EXPORTED = "Exported"
    TRAINING_HEALTHY = "TrainingHealthy"
    TRACKED = "Tracked"


class Reason(StrEnum):
    """Reasons of conditions. docs/troubleshooting.md has one section for each that needs a person."""

    # progress
    STARTING = "Starting"
    RUNNING = "Running"
    WAITING = "Waiting"
    QUEUED = "Queued"
    CAPACITY = "WaitingForCapacity"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    NOT_STALLED = "NotStalled"
    PENDING = "Pending"
    AVAILABLE = "Available"
    # what preflight finds
    PASSED = "Passed"
    INVALID_SPEC = "InvalidSpec"
    STATUS_UNREADABLE = "StatusUnreadable"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_KEY_MISSING = "SecretKeyMissing"
    SECRET_KEY_INVALID = "SecretKeyInvalid"
    SECRET_NOT_ALLOWED = "SecretNotAllowed"
    STORE_UNREACHABLE = "StoreUnreachable"
    STORE_DENIED = "StoreDenied"
    STORE_FULL = "StoreFull"
    STORE_BUSY = "StoreBusy"
    STORE_REFUSED = "StoreRefused"
    STORE_NOT_CONDITIONAL = "StoreWithoutConditionalWrites"
    BUCKET_NOT_FOUND = "BucketNotFound"
    KUBERAY_NOT_INSTALLED = "KubeRayNotInstalled"
    BASE_ROUND_NOT_FOUND = "BaseRoundNotFound"
    BASE_ROUND_NOT_PROMOTED = "BaseRoundNotPromoted"
    MODEL_NOT_FOUND = "ModelNotFound"
    DATA_NOT_FOUND = "DataNotFound"
    VOLUME_NOT_FOUND = "VolumeNotFound"
    NO_NODE_FITS = "NoNodeFits"
    UNKNOWN_OVERRIDE = "UnknownOverride"
    DOES_NOT_FIT = "DoesNotFit"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    BUDGET_ZERO = "BudgetIsZero"
    # while running
    ENDPOINT_UNAVAILABLE = "EndpointUnavailable"
    NAME_CONFLICT = "NameConflict"
    FORBIDDEN = "Forbidden"
    POD_REFUSED = "PodRefused"
    API_REFUSES = "ApiRefuses"
    PODS_STUCK = "PodsStuck"
    MANIFEST_INVALID = "ManifestInvalid"
    RETRIES_EXHAUSTED = "RetriesExhausted"
    NO_PROGRESS = "NoProgressInRetries"
    SPEC_CHANGED = "SpecChangedAfterCompletion"
    COLLAPSE_SUSPECTED = "CollapseSuspected"
    EXPORT_FAILED = "ExportFailed"
    NOT_TRACKED = "NotTracked"
    # verdicts
    PROMOTED = "Promoted"
    HELD = "Held"


class Condition(StatusModel):
    """metav1.Condition."""

    type: Annotated[str, StringConstraints(max_length=316)] = Field(
        description="Ready, Reconciling, Stalled, or one of the kind's own."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int = Field(default=0, description="metadata.generation that this was decided for.")
    last_transition_time: Timestamp = Field(
        description="When status last changed; a new reason or message does not move it."
    )
    reason: Annotated[str, StringConstraints(max_length=1024, min_length=1)] = Field(
        description="One word; docs/troubleshooting.md has a section for each that needs a person."
    )
    message: Annotated[str, Field(max_length=32768)] = Field(default="", description="What is so and what to do next.")


Conditions = Annotated[
    list[Condition],
    Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]


def truncate(message: str, limit: int = MESSAGE_LIMIT) -> str:
    """Keeps the start of a message, where the next action stands; law 11 bounds every message."""
    return message if len(message) <= limit else message[: limit - 1] + "…"


def set_condition(
    conditions: Iterable[Condition],
    kind: ConditionType,
    status: bool | None,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Conditions with `kind` set; `lastTransitionTime` moves only when `status` does. None means Unknown."""
    text: Literal["True", "False", "Unknown"] = "Unknown" if status is None else "True" if status else "False"
    existing = tuple(conditions)
    old = find_condition(existing, kind)
    since = old.last_transition_time if old is not None and old.status == text else format_time(now)
    new = Condition(
        type=kind.value,
        status=text,
        reason=str(reason),
        message=truncate(message),
        observed_generation=generation,
        last_transition_time=since,
    )
    if old is None:
        return (*existing, new)
    return tuple(new if c.type == kind.value else c for c in existing)


def find_condition(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """The condition of that type, if it has been written."""
    return next((c for c in conditions if c.type == kind.value), None)
