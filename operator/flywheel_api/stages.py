"""The pipeline of a round as data, and the configuration that every entry point in a pod receives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import Field

from flywheel_api.artifacts import Owner
from flywheel_api.base import StatusModel
from flywheel_api.rljob import RLJobSpec
from flywheel_api.round import FlywheelRoundSpec

STAGE_SCHEMA: Final = "flywheel.dev/stage/v1"
TRAIN_STAGE = "Train"  # the only stage of an RLJob of its own


class Stage(StrEnum):
    """Stages in the order that status lists them."""

    PREFLIGHT = "Preflight"
    PREPARE = "Prepare"
    SERVE_BASE = "ServeBase"
    EVALUATE_BASE = "EvaluateBase"
    MINE_REASONING = "MineReasoning"
    SYNTHESIZE_REASONING = "SynthesizeReasoning"
    VERIFY_REASONING = "VerifyReasoning"
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
    track: Literal["reasoning", "agentic"] | None = None


S = Stage
PIPELINE: tuple[StageDef, ...] = (
    StageDef(S.PREFLIGHT, Runs.OPERATOR),
    StageDef(S.PREPARE, Runs.JOB, after=(S.PREFLIGHT,)),
    StageDef(S.SERVE_BASE, Runs.POOL, after=(S.PREFLIGHT,)),
    StageDef(S.EVALUATE_BASE, Runs.JOB, after=(S.PREPARE,), inputs=(S.PREPARE,), pool=S.SERVE_BASE),
    StageDef(S.MINE_REASONING, Runs.JOB, (S.PREPARE,), (S.PREPARE,), S.SERVE_BASE, "reasoning"),
    StageDef(S.SYNTHESIZE_REASONING, Runs.JOB, (S.MINE_REASONING,), (S.PREPARE, S.MINE_REASONING), None, "reasoning"),
    StageDef(
        S.VERIFY_REASONING, Runs.JOB, (S.SYNTHESIZE_REASONING,), (S.PREPARE, S.SYNTHESIZE_REASONING), None, "reasoning"
    ),
    StageDef(S.SEED_AGENTIC, Runs.JOB, (S.PREPARE,), (S.PREPARE,), S.SERVE_BASE, "agentic"),
    StageDef(S.EXPAND_AGENTIC, Runs.JOB, (S.SEED_AGENTIC,), (S.PREPARE, S.SEED_AGENTIC), None, "agentic"),
    StageDef(S.INVERT_AGENTIC, Runs.JOB, (S.EXPAND_AGENTIC,), (S.PREPARE, S.EXPAND_AGENTIC), None, "agentic"),
    StageDef(S.SOLVE_AGENTIC, Runs.JOB, (S.INVERT_AGENTIC,), (S.PREPARE, S.INVERT_AGENTIC), S.SERVE_BASE, "agentic"),
    StageDef(
        S.PACKAGE,
        Runs.JOB,
        after=(S.MINE_REASONING, S.VERIFY_REASONING, S.SOLVE_AGENTIC),
        inputs=(S.PREPARE, S.MINE_REASONING, S.VERIFY_REASONING, S.SOLVE_AGENTIC),
    ),
    StageDef(S.TRAIN_REASONING, Runs.RLJOB, (S.PACKAGE, S.EVALUATE_BASE), (S.PACKAGE,), None, "reasoning"),
    StageDef(
        S.TRAIN_AGENTIC, Runs.RLJOB, (S.PACKAGE, S.EVALUATE_BASE, S.TRAIN_REASONING), (S.PACKAGE,), None, "agentic"
    ),
    StageDef(S.SERVE_CANDIDATE, Runs.POOL, after=(S.TRAIN_REASONING, S.TRAIN_AGENTIC)),
    StageDef(
        S.EVALUATE_CANDIDATE,
        Runs.JOB,
        after=(S.PREPARE, S.TRAIN_REASONING, S.TRAIN_AGENTIC),
        inputs=(S.PREPARE,),
        pool=S.SERVE_CANDIDATE,
    ),
    StageDef(S.GATE, Runs.JOB, (S.EVALUATE_CANDIDATE,), (S.PREPARE, S.EVALUATE_BASE, S.EVALUATE_CANDIDATE)),
    StageDef(S.REPORT, Runs.JOB, (S.GATE,), (S.GATE,)),
)
"""Edges name only stages; an edge to a stage of an absent track counts as met. A pool is deleted, and awaited gone,
once every stage that names it has succeeded; training starts only then, so that one model at a time needs memory."""


class ResolvedEndpoint(StatusModel):
    """A role's endpoint as a pod uses it. The key, if any, is in the environment variable `apiKeyEnv`."""

    role: str
    url: str
    model: str
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 4096
    concurrency: int = 64
    requests_per_minute: int | None = None
    timeout_seconds: float = 90.0
    api_key_env: str | None = None
    token_limit: int | None = Field(
        default=None, description="What the role may use in this stage, over all its attempts."
    )


class StageConfig(StatusModel):
    """What a CPU stage receives, as JSON in FLYWHEEL_STAGE_CONFIG. Holds no secret."""

    schema_: Literal["flywheel.dev/stage/v1"] = Field(default=STAGE_SCHEMA, alias="schema")
    stage: Stage
    owner: Owner
    attempt: int
    shards: int = 1
    spec: FlywheelRoundSpec
    inputs: dict[str, str] = Field(default_factory=dict, description="Stage name to manifest digest.")
    endpoints: list[ResolvedEndpoint] = Field(default_factory=list)
    base_model: str | None = Field(default=None, description="Digest of the base checkpoint.")
    candidate_model: str | None = Field(default=None, description="Digest of the checkpoint under evaluation.")
    champion: str | None = Field(
        default=None, description="Digest of the campaign's promoted verdict before this round, if any."
    )
    previous_rollouts: list[str] = Field(
        default_factory=list, description="Rollout datasets of the base round's training."
    )
    endpoint_patience_seconds: float = Field(
        default=120.0, description="How long to retry a dead endpoint before exit 75."
    )
    timeline: list[dict[str, Any]] = Field(default_factory=list, description="Report only: the round's stages so far.")


class TrainConfig(StatusModel):
    """What an RLJob's entry point receives, as JSON in FLYWHEEL_TRAIN_CONFIG. Holds no secret."""

    schema_: Literal["flywheel.dev/stage/v1"] = Field(default=STAGE_SCHEMA, alias="schema")
    owner: Owner
    attempt: int
    spec: RLJobSpec
    model: str = Field(description="Digest of the checkpoint manifest, or s3:// or hf:// as in the spec.")
    ray_version: str = ""


class PoolConfig(StatusModel):
    """What a pool's fetch and serve steps receive, as JSON in FLYWHEEL_POOL_CONFIG. Holds no secret."""

    schema_: Literal["flywheel.dev/stage/v1"] = Field(default=STAGE_SCHEMA, alias="schema")
    owner: Owner
    model: str
    directory: str = Field(description="Where the pod keeps the weights.")
    served_model_name: str
    replicas: int
    gpus_per_replica: int
    engine: dict[str, Any] = Field(default_factory=dict, description="vLLM AsyncEngineArgs.")


STAGE_CONFIG_ENV = "FLYWHEEL_STAGE_CONFIG"
TRAIN_CONFIG_ENV = "FLYWHEEL_TRAIN_CONFIG"
POOL_CONFIG_ENV = "FLYWHEEL_POOL_CONFIG"
API_KEY_ENV_PREFIX = "FLYWHEEL_API_KEY_"

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
STORE_REQUIRED_KEYS = ("endpoint", "bucket", "accessKey", "secretKey")
DEFAULT_PREFIX = "flywheel"
