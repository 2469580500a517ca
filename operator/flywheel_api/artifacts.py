"""What lies in the store and where: keys, manifests, progress and failure records.

Layout below the store's prefix (every key is a function of facts, never of time):

    blobs/sha256/<2 hex>/<hex>                            content-addressed file
    manifests/sha256/<hex>.json                           any manifest by its digest
    results/<namespace>/<content key>/manifest.json       the commit of a stage or training: written last, create-only
    results/<namespace>/<content key>/items/<hex>.json    journal of finished items, shared by all who make the same
    results/<namespace>/<content key>/checkpoints/step-<8 digits>/manifest.json   a training checkpoint, create-only
    results/<namespace>/<content key>/steps/step-<8 digits>.json   a training step: its point of the curve, its samples
    results/<namespace>/<content key>/tensorboard/        TensorBoard's event files of that training
    runs/<owner uid>/<stage>/a<attempt>/claim-<Ray cluster>.json   create-only: one incarnation per cluster (law 10)
    runs/<owner uid>/<stage>/a<attempt>/progress.json     overwritten while the attempt runs
    runs/<owner uid>/<stage>/a<attempt>/fetch.json        the same while pods fetch the model, before the program runs
    runs/<owner uid>/<stage>/a<attempt>/failure.json      why the attempt ended, if it failed
    runs/<owner uid>/<stage>/a<attempt>/log/<shard>-<5 digits>.log   what its processes printed, in pieces
    damaged/sha256/<hex>                                  a reader found other bytes: the next writer writes it anew
    references/sha256/<hex>/<namespace>/<content key>-<owner uid>   that training needs the blob, others may too
    campaigns/<namespace>/<campaign>/promotions/<round uid>.json          a promotion, create-only
    reports/<namespace>/<round name>-<round uid>/report.html

A result lies where its content says (`content.content_key`), not where its round does: another round whose stage is
made of the same finds it there.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from flywheel_api.base import StatusModel, Timestamp
from flywheel_api.canonical import canonical_json, digest_of, hex_of
from flywheel_api.causes import Cause
from flywheel_api.names import kebab
from flywheel_api.results import CurvePoint, EndpointFinding, ModelResult, Result, TrainingResult

MANIFEST_SCHEMA: Final = "flywheel.dev/manifest/v2"
PROGRESS_SCHEMA: Final = "flywheel.dev/progress/v1"
FAILURE_SCHEMA: Final = "flywheel.dev/failure/v1"
STEP_SCHEMA: Final = "flywheel.dev/step/v1"
STANDIN_NOTICE = "scripted stand-in; scores are not comparable to the paper"


class Owner(StatusModel):
    """The object that an attempt belongs to."""

    kind: str = Field(description="FlywheelRound, RolloutPool or RLJob.")
    namespace: str = Field(description="Its namespace.")
    name: str = Field(description="Its name.")
    uid: str = Field(description="Its uid: another object of the same name has another one.")


def _inside(path: str) -> str:
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError("leads out of its folder")
    return path


class FileEntry(StatusModel):
    """A file of a manifest: `path` relative to the manifest's root, content under `blob_key(sha256)`."""

    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-/]*$", max_length=512), AfterValidator(_inside)] = (
        Field(description="Path below the manifest's root, without `..`.")
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="Digest of the content, in hex.")
    size: Annotated[int, Field(ge=0)] = Field(description="Bytes.")
    records: int | None = Field(default=None, description="Records, for files of records.")
    record_schema: str | None = Field(default=None, description="Record type and version, e.g. reasoning-problem/v2.")


class Dropped(StatusModel):
    """Items dropped for a reason."""

    reason: str = Field(description="Why.")
    count: int = Field(description="How many.")


class Counts(StatusModel):
    """Items of a stage: in = out + sum of dropped."""

    in_: int = Field(default=0, alias="in", description="Items that came in.")
    out: int = Field(default=0, description="Items that were kept.")
    dropped: list[Dropped] = Field(default_factory=list, description="Items that were dropped, by reason.")


class RoleUsage(StatusModel):
    """Calls and tokens of a role."""

    role: str = Field(description="Role that was asked.")
    calls: int = Field(default=0, description="Requests that were answered.")
    prompt_tokens: int = Field(default=0, description="Tokens sent.")
    completion_tokens: int = Field(default=0, description="Tokens received.")
    estimated_tokens: int = Field(
        default=0, description="Tokens among these that are counted from characters: the server did not say."
    )
    unconfirmed_tokens: int = Field(
        default=0,
        description="Tokens that broken tries may have cost at most; they count for the budget.",
    )
    seconds: float = Field(default=0.0, description="Seconds of waiting for answers, summed over requests.")


class ServedBy(StatusModel):
    """Who answered for a role: as the answers say, and as the endpoint declares in GET /v1/models."""

    role: str = Field(description="Role that was asked.")
    model: str = Field(description="Name of the served model: the one that the answers name, or else the asked one.")
    fingerprint: str | None = Field(
        default=None, description="The answers' `system_fingerprint`; beyond 16 different ones, `(others)`."
    )
    answers: int = Field(default=0, description="Answers under that name, with that fingerprint and these weights.")
    owned_by: str | None = Field(default=None, description="Who serves it, as the server says.")
    standin: bool = Field(default=False, description="True when a scripted stand-in answered.")
    notice: str | None = Field(default=None, description="What the server says about itself.")
    weights: str | None = Field(default=None, description="Digest of the served checkpoint, when it is one of ours.")
    weights_assumed: bool = Field(
        default=False, description="True where the server did not say that digest: the operator has it serve those."
    )
    root: str | None = Field(default=None, description="Where the server has its weights from, as it says.")


class Usage(StatusModel):
    """What the owner spent on a stage, over its attempts."""

    seconds: float = Field(default=0.0, description="Seconds of the last attempt's process.")
    roles: list[RoleUsage] = Field(default_factory=list, description="Calls and tokens by role.")
    taken_over: list[RoleUsage] = Field(
        default_factory=list, description="What others had spent on finished items that were taken over."
    )


class Manifest(StatusModel):
    """The commit of an attempt. Its digest is the sha256 of its canonical JSON, which is what the store holds."""

    schema_: Literal["flywheel.dev/manifest/v2"] = Field(
        default=MANIFEST_SCHEMA, alias="schema", description="Kind and version."
    )
    owner: Owner = Field(description="The object whose attempt made it.")
    stage: str = Field(description="Stage that made it.")
    attempt: int = Field(description="Attempt that made it.")
    content_key: str = Field(default="", description="Digest of what it was made of; see `content`.")
    made_of: dict[str, str] = Field(default_factory=dict, description="The parts of that: name to digest or word.")
    inputs: dict[str, str] = Field(default_factory=dict, description="Name to digest of the manifests that were read.")
    files: list[FileEntry] = Field(default_factory=list, description="The files, by path.")
    counts: Counts = Field(default=Counts(), description="Items in, out and dropped by reason.")
    usage: Usage = Field(default=Usage(), description="What its owner spent on it.")
    metrics: dict[str, float] = Field(default_factory=dict, description="Numbers to plot, by name.")
    result: Result = Field(description="What was made.")
    served_by: list[ServedBy] = Field(default_factory=list, description="Who answered, by role.")
    standin: bool = Field(default=False, description="True when a stand-in served any role here or in any input.")
    notice: str | None = Field(default=None, description="What a reader must know about the result.")
    code_version: str = Field(default="", description="Release and source digest of the code.")
    image: str = Field(default="", description="Image of the pod that made it.")
    created_at: Timestamp = Field(description="When it was made.")

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, value: Any) -> Any:
        """Models that release 0.1 committed stay usable; its other manifests belong to rounds that are over."""
        return _from_v1(value) if isinstance(value, dict) and value.get("schema") == _SCHEMA_V1 else value

    @property
    def kind(self) -> str:
        """Kind of the result."""
        return self.result.kind

    @property
    def step(self) -> int | None:
        """Training step of a model or checkpoint, if it has one."""
        return getattr(self.result, "step", None)

    def file(self, path: str) -> FileEntry | None:
        """The file of that path, if there is one."""
        return next((f for f in self.files if f.path == path), None)

    def canonical(self) -> bytes:
        """Canonical bytes: what is stored and hashed."""
        return canonical_json(self.dump())

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical bytes."""
        return digest_of(self.canonical())


_SCHEMA_V1 = "flywheel.dev/manifest/v1"


def _from_v1(old: dict[str, Any]) -> dict[str, Any]:
    """A model's manifest of release 0.1 in today's form. Raises ValueError for any other of its manifests."""
    if old.get("kind") != "Checkpoint":
        raise ValueError(f"a {old.get('kind')} manifest of release 0.1 cannot be read: make it again with a new round")
    details: dict[str, Any] = old.get("details") or {}
    result: ModelResult | TrainingResult
    if old.get("step") is None:
        result = ModelResult(source=str(details.get("source", "")), licence=str(details.get("licence", "")))
    else:
        result = TrainingResult(step=int(old["step"]), algorithm=str(details.get("algorithm", "")))
    dropped = ("kind", "details", "step", "configDigest", "schema")
    return {k: v for k, v in old.items() if k not in dropped} | {"result": result.dump()}


class Progress(StatusModel):
    """Where a running attempt stands: the one object that is read while it runs."""

    schema_: Literal["flywheel.dev/progress/v1"] = Field(
        default=PROGRESS_SCHEMA, alias="schema", description="Kind and version."
    )
    done: int = Field(default=0, description="Items or steps that are done.")
    total: int | None = Field(default=None, description="Items or steps in all, once known.")
    items: int = Field(default=0, description="Finished items in the stage's journal, over its phases and attempts.")
    text: str = Field(default="", description="What the attempt is doing, for people.")
    waiting_for: str | None = Field(default=None, description="The endpoint that it waits for, for people.")
    step: int | None = Field(default=None, description="Training step.")
    reward: float | None = Field(default=None, description="Mean reward of that step.")
    tokens_per_second: float | None = Field(default=None, description="Tokens per second, as the attempt measures it.")
    tokens: dict[str, int] = Field(
        default_factory=dict, description="Prompt and completion tokens by role that the owner spent on the stage."
    )
    eta_seconds: float | None = Field(default=None, description="Seconds that are left, estimated.")
    checkpoint_step: int | None = Field(default=None, description="Step of the last committed checkpoint.")
    checkpoint_digest: str | None = Field(default=None, description="Digest of its manifest.")
    resumed_from_step: int | None = Field(default=None, description="Step that the attempt resumed from.")
    unhealthy: str | None = Field(default=None, description="What of the training's curve looks like a collapse.")
    tracked: str | None = Field(default=None, description="Where the tracker has its run of this training.")
    untracked: str | None = Field(default=None, description="Why the tracker was not told of the last step.")
    report: str | None = Field(default=None, description="Where it has drawn the page of its round so far.")
    manifest: str | None = Field(default=None, description="Digest of the commit, once it stands.")
    endpoints: list[EndpointFinding] = Field(
        default_factory=list, description="What handshakes found for a result that stood already."
    )
    moved_bytes: int = Field(default=0, description="Bytes of files moved so far, to the store, from it or on disk.")
    updated_at: Timestamp = Field(description="Moves only with real progress (law 8).")
    heartbeat_at: Timestamp = Field(description="Moves as long as the process lives.")


class Failure(StatusModel):
    """Why an attempt ended without a commit."""

    schema_: Literal["flywheel.dev/failure/v1"] = Field(
        default=FAILURE_SCHEMA, alias="schema", description="Kind and version."
    )
    cause: Cause = Field(description="Cause class.")
    reason: str = Field(description="CamelCase word for programs.")
    message: str = Field(description="What happened and what to do, for people.")
    node: str | None = Field(
        default=None,
        description="Where hardware failed: the address of the pod, in place of which the operator puts its node.",
    )
    at: Timestamp = Field(description="When it ended.")


class StepRecord(StatusModel):
    """A training step, written when it is made; checkpoints carry the whole curve."""

    schema_: Literal["flywheel.dev/step/v1"] = Field(
        default=STEP_SCHEMA, alias="schema", description="Kind and version."
    )
    owner: Owner = Field(description="The RLJob that made the step.")
    attempt: int = Field(description="Its attempt.")
    point: CurvePoint = Field(description="What is known of the step.")
    samples: FileEntry | None = Field(default=None, description="The step's trajectories, where they were recorded.")


class Claim(StatusModel):
    """Who runs an attempt. Create-only: the second incarnation of an attempt finds it and stops (law 10)."""

    pod: str = Field(description="Name of the pod.")
    incarnation: str = Field(description="Host, process and a random part.")
    at: Timestamp = Field(description="When it was claimed.")


class Promotion(StatusModel):
    """A promoted model of a campaign: what later rounds start from, whatever became of the round's object."""

    round: Owner = Field(description="The round that promoted it.")
    campaign: str = Field(description="Campaign of the round.")
    model_digest: str = Field(description="Digest of the promoted checkpoint.")
    model_step: int | None = Field(default=None, description="Its training step.")
    verdict_digest: str = Field(description="Digest of a manifest of the verdict.")
    number: int | None = Field(default=None, description="The round's number in its campaign.")
    rollouts: list[str] = Field(default_factory=list, description="Rollout data sets of the round's trainings.")
    suites: list[str] = Field(
        default_factory=list, description="Names of the suites that it was judged on; unknown where empty."
    )
    at: Timestamp = Field(description="When it was promoted.")


def blob_key(sha256_hex: str) -> str:
    """Key of a content-addressed file."""
    return f"blobs/sha256/{sha256_hex[:2]}/{sha256_hex}"


def damaged_key(sha256_hex: str) -> str:
    """Says that a blob reads as other bytes than its name's."""
    return f"damaged/sha256/{sha256_hex}"


def manifest_digest_key(digest: str) -> str:
    """Key of a manifest by digest."""
    return f"manifests/sha256/{hex_of(digest)}.json"


def runs_prefix(owner_uid: str, stage: str) -> str:
    """Prefix of what all attempts of a stage write about themselves."""
    return f"runs/{owner_uid}/{kebab(stage)}/"


def attempt_prefix(owner_uid: str, stage: str, attempt: int) -> str:
    """Prefix of what one attempt writes about itself."""
    return f"{runs_prefix(owner_uid, stage)}a{attempt}"


def progress_key(owner_uid: str, stage: str, attempt: int) -> str:
    """Progress of an attempt."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/progress.json"


def fetch_key(owner_uid: str, stage: str, attempt: int) -> str:
    """Progress of the pods that fetch what an attempt starts from; whichever pod writes last."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/fetch.json"


def failure_key(owner_uid: str, stage: str, attempt: int) -> str:
    """Cause of a failed attempt."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/failure.json"


def log_prefix(owner_uid: str, stage: str, attempt: int) -> str:
    """Prefix of what an attempt's processes printed."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/log/"


def log_key(owner_uid: str, stage: str, attempt: int, shard: int, number: int) -> str:
    """A piece of that log."""
    return f"{log_prefix(owner_uid, stage, attempt)}{shard}-{number:05d}.log"


def ledger_prefix(owner_uid: str, role: str) -> str:
    """Where the leases of a role's token budget are written, one entry after the other."""
    return f"runs/{owner_uid}/budget/{kebab(role)}/"


def claim_key(owner_uid: str, stage: str, attempt: int, cluster: str) -> str:
    """Claim of an attempt on a Ray cluster: one that a queue took away is made anew under another name."""
    return f"{attempt_prefix(owner_uid, stage, attempt)}/claim-{cluster}.json"


def result_prefix(namespace: str, content_key: str) -> str:
    """Prefix of everything that is made of one content."""
    return f"results/{namespace}/{hex_of(content_key)}"


def manifest_key(namespace: str, content_key: str) -> str:
    """The commit of a stage or training."""
    return f"{result_prefix(namespace, content_key)}/manifest.json"


def items_prefix(namespace: str, content_key: str) -> str:
    """Prefix of the journal of finished items."""
    return f"{result_prefix(namespace, content_key)}/items/"


def item_key(namespace: str, content_key: str, item: str) -> str:
    """An entry of that journal; `item` is any string, hashed so that it is a safe key."""
    return f"{items_prefix(namespace, content_key)}{hashlib.sha256(item.encode()).hexdigest()}.json"


def checkpoints_prefix(namespace: str, content_key: str) -> str:
    """Prefix of a training's checkpoints, shared by all attempts and all RLJobs of that content."""
    return f"{result_prefix(namespace, content_key)}/checkpoints"


def checkpoint_key(namespace: str, content_key: str, step: int) -> str:
    """The commit of a training checkpoint."""
    return f"{checkpoints_prefix(namespace, content_key)}/step-{step:08d}/manifest.json"


def steps_prefix(namespace: str, content_key: str) -> str:
    """Prefix of the records of a training's steps, shared like its checkpoints."""
    return f"{result_prefix(namespace, content_key)}/steps/"


def step_key(namespace: str, content_key: str, step: int) -> str:
    """The record of a training step; whoever makes the step anew writes it anew."""
    return f"{steps_prefix(namespace, content_key)}step-{step:08d}.json"


def board_prefix(namespace: str, content_key: str) -> str:
    """Prefix of TensorBoard's files of a training: its log directory."""
    return f"{result_prefix(namespace, content_key)}/tensorboard/"


def references_prefix(sha256_hex: str) -> str:
    """Prefix of the trainings whose kept checkpoints need a blob; empty means that retention may delete it."""
    return f"references/sha256/{sha256_hex}/"


def reference_key(sha256_hex: str, namespace: str, content_key: str, owner_uid: str) -> str:
    """Says that a training needs a blob, from before it looks for it. Equal trainings of two owners need it each."""
    return f"{references_prefix(sha256_hex)}{namespace}/{hex_of(content_key)}-{owner_uid}"


def promotions_prefix(namespace: str, campaign: str | None = None) -> str:
    """Prefix of the promotions of a campaign, or of all campaigns of a namespace."""
    return f"campaigns/{namespace}/" if campaign is None else f"campaigns/{namespace}/{campaign}/promotions/"


def promotion_key(namespace: str, campaign: str, round_uid: str) -> str:
    """A promotion of a campaign."""
    return f"{promotions_prefix(namespace, campaign)}{round_uid}.json"


def report_key(owner: Owner) -> str:
    """A round's report."""
    return f"reports/{owner.namespace}/{owner.name}-{owner.uid}/report.html"
