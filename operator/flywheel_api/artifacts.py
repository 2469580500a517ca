"""What lies in the store and where: keys, manifests, progress and failure records.

Layout below the store's prefix (every key is a function of facts, never of time):

    blobs/sha256/<2 hex>/<hex>                         content-addressed file
    manifests/sha256/<hex>.json                        any manifest by its digest
    runs/<owner uid>/<stage>/a<attempt>/manifest.json  the commit of a stage attempt: written last, create-only
    runs/<owner uid>/<stage>/a<attempt>/claim.json     create-only: one incarnation per attempt (law 10)
    runs/<owner uid>/<stage>/a<attempt>/progress.json  overwritten while the attempt runs
    runs/<owner uid>/<stage>/a<attempt>/failure.json   why the attempt ended, if it failed
    runs/<owner uid>/<stage>/items/<sha256 of key>.json  finished items, shared by all attempts of the stage
    runs/<owner uid>/<stage>/checkpoints/step-<8 digits>/manifest.json  a training checkpoint's commit, create-only
    references/sha256/<hex>/<run uid>                  that run's kept checkpoints need the blob, which others may share
    campaigns/<namespace>/<campaign>/promotions/<round uid>.json        a promotion, create-only
    reports/<namespace>/<round name>-<round uid>/report.html
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from flywheel_api.base import StatusModel, Timestamp
from flywheel_api.causes import Cause
from flywheel_api.names import kebab

MANIFEST_SCHEMA: Final = "flywheel.dev/manifest/v1"
PROGRESS_SCHEMA: Final = "flywheel.dev/progress/v1"
FAILURE_SCHEMA: Final = "flywheel.dev/failure/v1"
STANDIN_NOTICE = "scripted stand-in; scores are not comparable to the paper"


class ManifestKind(StrEnum):
    """What a manifest commits."""

    DATASET = "Dataset"
    CHECKPOINT = "Checkpoint"
    TRAINING_STATE = "TrainingState"
    EVALUATION = "Evaluation"
    VERDICT = "Verdict"
    REPORT = "Report"


class Owner(StatusModel):
    """The object that an attempt belongs to."""

    kind: str
    namespace: str
    name: str
    uid: str


class FileEntry(StatusModel):
    """A file of a manifest: `path` relative to the manifest's root, content under `blob_key(sha256)`."""

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-/]*$", max_length=512)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    records: int | None = None
    record_schema: str | None = Field(default=None, description="Record type and version, e.g. reasoning-problem/v1.")


class Dropped(StatusModel):
    """Items dropped for a reason."""

    reason: str
    count: int


class Counts(StatusModel):
    """Items of a stage: in = out + sum of dropped."""

    in_: int = Field(default=0, alias="in")
    out: int = 0
    dropped: list[Dropped] = Field(default_factory=list)


class RoleUsage(StatusModel):
    """Calls and tokens of a role."""

    role: str
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


class ServedBy(StatusModel):
    """Who answered for a role, as the endpoint itself declares it in GET /v1/models."""

    role: str
    model: str
    owned_by: str | None = None
    standin: bool = False
    notice: str | None = None
    weights: str | None = Field(default=None, description="Digest of the served checkpoint, when it is one of ours.")


class Usage(StatusModel):
    """What an attempt spent."""

    seconds: float = 0.0
    roles: list[RoleUsage] = Field(default_factory=list)


class Manifest(StatusModel):
    """The commit of an attempt. Its digest is the sha256 of its canonical JSON, which is what the store holds."""

    schema_: Literal["flywheel.dev/manifest/v1"] = Field(default=MANIFEST_SCHEMA, alias="schema")
    kind: ManifestKind
    owner: Owner
    stage: str
    attempt: int
    inputs: dict[str, str] = Field(default_factory=dict, description="Name to digest of the manifests that were read.")
    config_digest: str = Field(description="sha256 of the canonical stage config.")
    files: list[FileEntry] = Field(default_factory=list)
    counts: Counts = Counts()
    usage: Usage = Usage()
    metrics: dict[str, float] = Field(default_factory=dict)
    details: dict[str, Any] = Field(
        default_factory=dict, description="Small structured results; see the stage's module."
    )
    served_by: list[ServedBy] = Field(default_factory=list)
    standin: bool = Field(default=False, description="True when a stand-in served any role here or in any input.")
    notice: str | None = None
    step: int | None = None
    code_version: str = ""
    image: str = ""
    created_at: Timestamp

    def canonical(self) -> bytes:
        """Canonical bytes: what is stored and hashed."""
        return canonical_json(self.dump())

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical bytes."""
        return digest_of(self.canonical())


class Progress(StatusModel):
    """Where a running attempt stands. The operator reads it; `updatedAt` moves only with real progress (law 8)."""

    schema_: Literal["flywheel.dev/progress/v1"] = Field(default=PROGRESS_SCHEMA, alias="schema")
    done: int = 0
    total: int | None = None
    text: str = ""
    waiting_for: str | None = None
    step: int | None = None
    reward: float | None = None
    tokens_per_second: float | None = None
    tokens: dict[str, int] = Field(
        default_factory=dict, description="Prompt and completion tokens by role, over all attempts of the stage."
    )
    eta_seconds: float | None = None
    checkpoint_step: int | None = None
    checkpoint_digest: str | None = None
    resumed_from_step: int | None = None
    updated_at: Timestamp
    heartbeat_at: Timestamp


class Failure(StatusModel):
    """Why an attempt ended without a commit."""

    schema_: Literal["flywheel.dev/failure/v1"] = Field(default=FAILURE_SCHEMA, alias="schema")
    cause: Cause
    reason: str
    message: str
    at: Timestamp


class Claim(StatusModel):
    """Who runs an attempt. Create-only: the second incarnation of an attempt finds it and stops (law 10)."""

    pod: str
    incarnation: str
    at: Timestamp


class Promotion(StatusModel):
    """A promoted model of a campaign."""

    round: Owner
    campaign: str
    model_digest: str
    verdict_digest: str
    at: Timestamp


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, UTF-8: one value has one form, so that digests can be compared."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: bytes) -> str:
    """`sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hex_of(digest: str) -> str:
    """The hex part of `sha256:<hex>`. Raises ValueError for anything else."""
    head, _, tail = digest.partition(":")
    if head != "sha256" or len(tail) != 64 or not all(c in "0123456789abcdef" for c in tail):
        raise ValueError(f"{digest!r} is not a sha256 digest")
    return tail


def blob_key(sha256_hex: str) -> str:
    """Key of a content-addressed file."""
    return f"blobs/sha256/{sha256_hex[:2]}/{sha256_hex}"


def manifest_digest_key(digest: str) -> str:
    """Key of a manifest by digest."""
    return f"manifests/sha256/{hex_of(digest)}.json"


def stage_prefix(owner_uid: str, stage: str) -> str:
    """Prefix of everything that a stage of an owner writes."""
    return f"runs/{owner_uid}/{kebab(stage)}"


def attempt_prefix(owner_uid: str, stage: str, attempt: int) -> str:
    """Prefix of one attempt."""
    return f"{stage_prefix(owner_uid, stage)}/a{attempt}"


def manifest_key(owner_uid: str, stage: str, attempt: int) -> str:
    """The commit of an attempt."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/manifest.json"


def progress_key(owner_uid: str, stage: str, attempt: int) -> str:
    """Progress of an attempt."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/progress.json"


def failure_key(owner_uid: str, stage: str, attempt: int) -> str:
    """Cause of a failed attempt."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/failure.json"


def claim_key(owner_uid: str, stage: str, attempt: int) -> str:
    """Claim of an attempt."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/claim.json"


def item_key(owner_uid: str, stage: str, item: str) -> str:
    """A finished item; `item` is any string, hashed so that it is a safe key."""
    return f"{stage_prefix(owner_uid, stage)}/items/{hashlib.sha256(item.encode()).hexdigest()}.json"


def checkpoints_prefix(owner_uid: str, stage: str) -> str:
    """Prefix of a run's training checkpoints, shared by all its attempts."""
    return f"{stage_prefix(owner_uid, stage)}/checkpoints"


def checkpoint_key(owner_uid: str, stage: str, step: int) -> str:
    """The commit of a training checkpoint."""
    return f"{checkpoints_prefix(owner_uid, stage)}/step-{step:08d}/manifest.json"


def references_prefix(sha256_hex: str) -> str:
    """Prefix of the runs whose kept checkpoints need a blob; empty means that retention may delete it."""
    return f"references/sha256/{sha256_hex}/"


def reference_key(sha256_hex: str, run_uid: str) -> str:
    """Says that a run's kept checkpoint needs a blob."""
    return references_prefix(sha256_hex) + run_uid


def promotion_key(namespace: str, campaign: str, round_uid: str) -> str:
    """A promotion of a campaign."""
    return f"campaigns/{namespace}/{campaign}/promotions/{round_uid}.json"


def report_key(owner: Owner) -> str:
    """A round's report."""
    return f"reports/{owner.namespace}/{owner.name}-{owner.uid}/report.html"
