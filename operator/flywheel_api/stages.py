"""The pipeline of a round as data, and the configuration that every entry point in a pod receives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from flywheel_api.artifacts import Owner
from flywheel_api.base import StatusModel
from flywheel_api.common import AttemptStatus, Dialect
from flywheel_api.results import Track
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import Endpoint, FlywheelRoundSpec, Role
from flywheel_api.round_status import StageStatus

STAGE_SCHEMA: Final = "flywheel.dev/stage/v2"
TRAIN_STAGE = "Train"  # the only stage of an RLJob of its own
WARM_UP_STAGE = "WarmUp"  # what comes before it in the same attempt, committed by itself


class Stage(StrEnum):
    """Stages in the order that status lists them."""

    PREFLIGHT = "Preflight"
    PREPARE = "Prepare"
    IMPORT_MODEL = "ImportModel"
    SERVE_BASE = "ServeBase"
    EVALUATE_BASE = "EvaluateBase"
    MINE_REASONING = "MineReasoning"
    SYNTHESIZE_REASONING = "SynthesizeReasoning"
    VERIFY_REASONING = "VerifyReasoning"
    MEASURE_REASONING = "MeasureReasoning"
    SEED_AGENTIC = "SeedAgentic"
    EXPAND_AGENTIC = "ExpandAgentic"
    INVERT_AGENTIC = "InvertAgentic"
    SOLVE_AGENTIC = "SolveAgentic"
    PACKAGE = "Package"
    TRAIN_REASONING = "TrainReasoning"
    TRAIN_AGENTIC = "TrainAgentic"
    SERVE_CANDIDATE = "ServeCandidate"
    EVALUATE_CANDIDATE = "EvaluateCandidate"
    GATE = "Gate"
    EXPORT = "Export"
    REPORT = "Report"


class Runs(StrEnum):
    """What carries a stage out."""

    OPERATOR = "Operator"
    JOB = "Job"
    POOL = "RolloutPool"
    RLJOB = "RLJob"


@dataclass(frozen=True)
class StageDef:
    """A stage: what it runs as, what must have succeeded before, and whose endpoint it needs.

    `inputs` name the stages whose manifests it reads (all are in `after`); `pool` is the serving stage that must be up
    while it runs; `track` ties it to a track that can be absent.
    """

    stage: Stage
    runs: Runs
    after: tuple[Stage, ...] = ()
    inputs: tuple[Stage, ...] = ()
    pool: Stage | None = None
    track: Track | None = None


S, T = Stage, Track
PIPELINE: tuple[StageDef, ...] = (
    StageDef(S.PREFLIGHT, Runs.OPERATOR),
    StageDef(S.PREPARE, Runs.JOB, after=(S.PREFLIGHT,)),
    StageDef(S.IMPORT_MODEL, Runs.JOB, after=(S.PREPARE,)),  # nothing large is moved for a round that cannot begin
    # no GPU before a handshake has said that the roles work
    StageDef(S.SERVE_BASE, Runs.POOL, after=(S.PREPARE, S.IMPORT_MODEL)),
    StageDef(S.EVALUATE_BASE, Runs.JOB, (S.PREPARE, S.IMPORT_MODEL), (S.PREPARE,), S.SERVE_BASE),
    StageDef(S.MINE_REASONING, Runs.JOB, (S.PREPARE, S.IMPORT_MODEL), (S.PREPARE,), S.SERVE_BASE, T.REASONING),
    StageDef(S.SYNTHESIZE_REASONING, Runs.JOB, (S.MINE_REASONING,), (S.PREPARE, S.MINE_REASONING), None, T.REASONING),
    StageDef(
        S.VERIFY_REASONING,
        Runs.JOB,
        (S.SYNTHESIZE_REASONING,),
        (S.PREPARE, S.SYNTHESIZE_REASONING),
        None,
        T.REASONING,
    ),
    StageDef(
        S.MEASURE_REASONING,
        Runs.JOB,
        (S.VERIFY_REASONING,),
        (S.PREPARE, S.MINE_REASONING, S.VERIFY_REASONING),
        S.SERVE_BASE,
        T.REASONING,
    ),
    StageDef(S.SEED_AGENTIC, Runs.JOB, (S.PREPARE, S.IMPORT_MODEL), (S.PREPARE,), S.SERVE_BASE, T.AGENTIC),
    StageDef(S.EXPAND_AGENTIC, Runs.JOB, (S.SEED_AGENTIC,), (S.PREPARE, S.SEED_AGENTIC), None, T.AGENTIC),
    StageDef(
        S.INVERT_AGENTIC, Runs.JOB, (S.EXPAND_AGENTIC,), (S.PREPARE, S.SEED_AGENTIC, S.EXPAND_AGENTIC), None, T.AGENTIC
    ),
    StageDef(
        S.SOLVE_AGENTIC,
        Runs.JOB,
        (S.INVERT_AGENTIC,),
        (S.PREPARE, S.SEED_AGENTIC, S.INVERT_AGENTIC),
        S.SERVE_BASE,
        T.AGENTIC,
    ),
    StageDef(
        S.PACKAGE,
        Runs.JOB,
        after=(S.MEASURE_REASONING, S.SOLVE_AGENTIC),
        inputs=(S.VERIFY_REASONING, S.MEASURE_REASONING, S.SOLVE_AGENTIC),
    ),
    StageDef(S.TRAIN_REASONING, Runs.RLJOB, (S.PACKAGE, S.EVALUATE_BASE), (S.PACKAGE,), None, T.REASONING),
    StageDef(
        S.TRAIN_AGENTIC, Runs.RLJOB, (S.PACKAGE, S.EVALUATE_BASE, S.TRAIN_REASONING), (S.PACKAGE,), None, T.AGENTIC
    ),
    StageDef(S.SERVE_CANDIDATE, Runs.POOL, after=(S.TRAIN_REASONING, S.TRAIN_AGENTIC)),
    StageDef(
        S.EVALUATE_CANDIDATE,
        Runs.JOB,
        after=(S.PREPARE, S.TRAIN_REASONING, S.TRAIN_AGENTIC),
        inputs=(S.PREPARE,),
        pool=S.SERVE_CANDIDATE,
    ),
    StageDef(
        S.GATE,
        Runs.JOB,
        after=(S.EVALUATE_CANDIDATE,),
        inputs=(S.PREPARE, S.EVALUATE_BASE, S.TRAIN_REASONING, S.TRAIN_AGENTIC, S.EVALUATE_CANDIDATE),
    ),
    StageDef(S.EXPORT, Runs.JOB, (S.GATE,), (S.GATE,)),
    StageDef(S.REPORT, Runs.JOB, (S.GATE,), (S.GATE,)),
)
"""Edges name only stages; an edge to a stage of an absent track counts as met. A pool is deleted, and awaited gone,
once every stage that names it has succeeded; training starts only then, so that one model at a time needs memory."""


def serves_base(spec: FlywheelRoundSpec) -> bool:
    """Whether the round makes a pool for the base model; not so when the Policy is a URL or an existing pool."""
    policy = policy_of(spec)
    return policy is None or (policy.url is None and policy.pool_ref is None)


def policy_of(spec: FlywheelRoundSpec) -> Endpoint | None:
    """Who plays the policy, where the round says it; unset, it is a pool of the round's own."""
    return next((e for e in spec.endpoints if e.role is Role.POLICY), None)


class ResolvedEndpoint(StatusModel):
    """A role's endpoint as a pod uses it. The key, if any, is in the environment variable `apiKeyEnv`."""

    role: Role = Field(description="Who is played.")
    url: str = Field(description="Base URL of the OpenAI-compatible API.")
    model: str = Field(description="Model name sent in requests.")
    temperature: float = Field(default=1.0, description="Sampling temperature.")
    top_p: float = Field(default=1.0, description="Nucleus sampling.")
    written: dict[str, Any] = Field(
        default_factory=dict,
        description="What else each request says: of sampling, as a pool's policy is trained, and extraBody.",
    )
    headers: dict[str, str] = Field(default_factory=dict, description="Headers of each request.")
    max_tokens: int = Field(default=4096, description="Tokens of one completion.")
    concurrency: int = Field(default=64, description="Requests in flight at once, over all shards.")
    requests_per_minute: int | None = Field(
        default=None, description="Upper bound of the request rate, over all shards."
    )
    timeout_seconds: float = Field(default=90.0, description="Time-out of one request.")
    api_key_env: str | None = Field(default=None, description="Environment variable with the API key.")
    dialect: Dialect = Field(default=Dialect.AUTO, description="How tool results are written.")
    token_limit: int | None = Field(
        default=None, description="What the role may use in the round, over all stages, shards and attempts."
    )


ContentKey = Annotated[str, Field(description="Digest of what the result is made of: where it is committed.")]


class StageConfig(StatusModel):
    """What a CPU stage receives, as JSON in FLYWHEEL_STAGE_CONFIG, and a training for its page. Holds no secret."""

    schema_: Literal["flywheel.dev/stage/v2"] = Field(
        default=STAGE_SCHEMA, alias="schema", description="Kind and version."
    )
    stage: Stage = Field(description="Which stage to run.")
    owner: Owner = Field(description="The round.")
    attempt: int = Field(description="Number of the attempt, from 1.")
    shards: int = Field(default=1, description="Pods that share the items.")
    content_key: ContentKey
    made_of: dict[str, str] = Field(default_factory=dict, description="The parts behind contentKey.")
    spec: FlywheelRoundSpec = Field(description="The round's spec.")
    inputs: dict[str, str] = Field(default_factory=dict, description="Stage name to manifest digest.")
    endpoints: list[ResolvedEndpoint] = Field(default_factory=list, description="Who plays each role.")
    base_model: str | None = Field(default=None, description="Digest of the base checkpoint.")
    candidate_model: str | None = Field(default=None, description="Digest of the checkpoint under evaluation.")
    champion: str | None = Field(
        default=None, description="Digest of the campaign's promoted verdict before this round, if any."
    )
    earlier: list[str] = Field(
        default_factory=list, description="Promoted verdicts of the campaign's earlier rounds, oldest first."
    )
    number: int = Field(default=1, description="The round's number in its campaign.")
    previous_rollouts: list[str] = Field(
        default_factory=list, description="Rollout datasets of the base round's training."
    )
    previous_held: bool = Field(
        default=False, description="The base round was held: the base model is what it began with, before its training."
    )
    endpoint_patience_seconds: float = Field(
        default=120.0, description="How long to retry a dead endpoint before exit 75."
    )
    timeline: list[StageStatus] = Field(default_factory=list, description="The round's stages so far, for its page.")
    attempts: list[AttemptStatus] = Field(default_factory=list, description="Attempts that failed, for its page.")
    failed: str | None = Field(default=None, description="Report only: why the round ends without a verdict.")


class TrainConfig(StatusModel):
    """What an RLJob's entry point receives, as JSON in FLYWHEEL_TRAIN_CONFIG. Holds no secret."""

    schema_: Literal["flywheel.dev/stage/v2"] = Field(
        default=STAGE_SCHEMA, alias="schema", description="Kind and version."
    )
    owner: Owner = Field(description="The RLJob.")
    attempt: int = Field(description="Number of the attempt, from 1.")
    content_key: ContentKey
    made_of: dict[str, str] = Field(default_factory=dict, description="The parts behind contentKey.")
    spec: RLJobSpec = Field(description="The RLJob's spec.")
    model: str = Field(description="Digest of the checkpoint manifest, or s3:// or hf:// as in the spec.")
    ray_version: str = Field(default="", description="Ray of the image, for the RayCluster.")
    grace_seconds: float = Field(default=30.0, description="From the request to stop to the end of the pods.")


class PoolConfig(StatusModel):
    """What a pool's fetch and serve steps receive, as JSON in FLYWHEEL_POOL_CONFIG. Holds no secret."""

    schema_: Literal["flywheel.dev/stage/v2"] = Field(
        default=STAGE_SCHEMA, alias="schema", description="Kind and version."
    )
    owner: Owner = Field(description="The RolloutPool.")
    model: str = Field(description="Digest of the checkpoint manifest, or s3:// or hf:// as in the spec.")
    directory: str = Field(description="Where the pod keeps the weights.")
    served_model_name: str = Field(description="Model name that clients send.")
    replicas: int = Field(description="Servers of the model.")
    gpus_per_replica: int = Field(description="0 serves on CPU.")
    engine: dict[str, Any] = Field(default_factory=dict, description="vLLM AsyncEngineArgs.")


STAGE_CONFIG_ENV = "FLYWHEEL_STAGE_CONFIG"
TRAIN_CONFIG_ENV = "FLYWHEEL_TRAIN_CONFIG"
POOL_CONFIG_ENV = "FLYWHEEL_POOL_CONFIG"
IMAGE_ENV = "FLYWHEEL_IMAGE"  # a pod cannot see its own image; manifests record it
CACHE_ENV = "FLYWHEEL_MODEL_CACHE"  # a volume of models that several pods share; absent without one
MODEL_DIR_ENV = "FLYWHEEL_MODEL_DIR"  # where an init container put the weights
EXPORT_DIR = "/export"  # where the volume of spec.export.claim is mounted
ROLLOUTS_ENV = "FLYWHEEL_ROLLOUTS"  # where the agent loops record trajectories
FORMAT_BONUS_ENV = "FLYWHEEL_FORMAT_BONUS"  # what the reward gives for form alone; groups that differ by it are flat
OVERLONG_ENV = "FLYWHEEL_OVERLONG"  # Mask or Score: what becomes of a trajectory that ran into its token limit
SIGNALS_ENV = "FLYWHEEL_SIGNALS"  # the mark by which the driver knows what verl's processes tell it
API_KEY_ENV_PREFIX = "FLYWHEEL_API_KEY_"
HUB_TOKEN_ENV = "HF_TOKEN"  # the name by which every tool of the hub knows it

STORE_ENV = {
    "endpoint": "FLYWHEEL_S3_ENDPOINT",
    "bucket": "FLYWHEEL_S3_BUCKET",
    "accessKey": "FLYWHEEL_S3_ACCESS_KEY",
    "secretKey": "FLYWHEEL_S3_SECRET_KEY",
    "region": "FLYWHEEL_S3_REGION",
    "prefix": "FLYWHEEL_S3_PREFIX",
    "secure": "FLYWHEEL_S3_SECURE",
    "caBundle": "FLYWHEEL_S3_CA_BUNDLE",
}
"""Key of the store Secret to environment variable; the first four are required, the rest optional."""
STORE_REQUIRED_KEYS = ("endpoint", "bucket")
STORE_KEY_PAIR = ("accessKey", "secretKey")  # both, or none where pods have an identity of their own
DEFAULT_PREFIX = "flywheel"
