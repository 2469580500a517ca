"""FlywheelRound: one turn of both data flywheels, from a base model to a promoted (or honestly rejected) one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from flywheel_api.base import (
    INTEGER_PATTERN,
    PRESET_PATTERN,
    URL_PATTERN,
    ApiModel,
    DecimalString,
    Duration,
    Fraction,
    Message,
    ModelRef,
    Name,
    SourceRef,
    StatusModel,
    Timestamp,
)
from flywheel_api.common import AttemptStatus, ChildRef, ModelStatus, SecretKeyRef, StoreRef
from flywheel_api.conditions import Conditions
from flywheel_api.pool import PoolTemplate
from flywheel_api.rljob import Algorithm, CheckpointSpec, RetriesSpec


def _config(*rules: tuple[str, str]) -> ConfigDict:
    validations: list[Any] = [{"rule": rule, "message": message} for rule, message in rules]
    return ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        json_schema_extra={"x-kubernetes-validations": validations},
    )


class Role(StrEnum):
    """Who plays what. Roles that are not set fall back to Teacher."""

    POLICY = "Policy"
    TEACHER = "Teacher"
    SOLVER = "Solver"
    TOOL_SIMULATOR = "ToolSimulator"
    USER_SIMULATOR = "UserSimulator"
    JUDGE = "Judge"


class BaseSpec(ApiModel):
    """What the round trains from."""

    round: Name | None = Field(default=None, description="The promoted model of that round, in this namespace; waits for it.")
    model: ModelRef | None = None

    model_config = _config(("has(self.round) != has(self.model)", "set exactly one of base.round and base.model"))


class Sampling(ApiModel):
    """Sampling parameters of a role."""

    temperature: DecimalString = "1.0"
    top_p: DecimalString = "1.0"
    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = 4096


class Endpoint(ApiModel):
    """A role's model: any OpenAI-compatible URL, an existing RolloutPool, or a pool that the round makes (Policy only)."""

    role: Role
    url: Annotated[str, Field(pattern=URL_PATTERN, max_length=512)] | None = None
    pool_ref: Name | None = None
    pool: PoolTemplate | None = None
    model: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="Model name sent in requests.")
    api_key: SecretKeyRef | None = None
    sampling: Sampling = Sampling()
    concurrency: Annotated[int, Field(ge=1, le=4096)] = 64
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    timeout: Duration = "90s"

    model_config = _config(
        (
            "(has(self.url) ? 1 : 0) + (has(self.poolRef) ? 1 : 0) + (has(self.pool) ? 1 : 0) == 1",
            "set exactly one of url, poolRef and pool for each endpoint",
        ),
        ("!has(self.pool) || self.role == 'Policy'", "an inline pool is for role Policy; other roles take url or poolRef"),
        ("!has(self.url) || has(self.model)", "an endpoint with a url needs model: the name sent in requests"),
    )


class MiningSpec(ApiModel):
    """Failure mining. Sources leave these open; defaults are ours (method.md §2.2)."""

    samples: Annotated[int, Field(ge=1, le=256, description="Samples per problem.")] = 8
    temperature: DecimalString = "1.0"
    max_response_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = 8192
    max_problems: Annotated[int, Field(ge=1, le=10_000_000)] = 10000
    frontier_above: Fraction = Field(default="0", description="Pass rate above this and at most frontierUpTo: trained on directly.")
    frontier_up_to: Fraction = "0.5"


class SynthesisSpec(ApiModel):
    """Variants per mined problem, by operator."""

    structural: Annotated[int, Field(ge=0, le=64)] = 4
    persona: Annotated[int, Field(ge=0, le=64)] = 1

    model_config = _config(("self.structural + self.persona > 0", "ask for at least one variant: structural or persona"))


class VerificationSpec(ApiModel):
    """Consistency labelling: `agree` of `votes` independent solutions must give the same answer (the paper: 3 of 3)."""

    votes: Annotated[int, Field(ge=1, le=16)] = 3
    agree: Annotated[int, Field(ge=1, le=16)] = 3

    model_config = _config(("self.agree <= self.votes", "verification.agree must not exceed verification.votes"))


class DedupSpec(ApiModel):
    """Near-duplicate and contamination limits (method.md §2.5)."""

    minhash_threshold: Fraction = "0.8"
    decontamination_ngram: Annotated[int, Field(ge=3, le=64, description="Words.")] = 13


class ReasoningSpec(ApiModel):
    """The reasoning flywheel."""

    seeds: SourceRef
    mining: MiningSpec = MiningSpec()
    synthesis: SynthesisSpec = SynthesisSpec()
    verification: VerificationSpec = VerificationSpec()
    dedup: DedupSpec = DedupSpec()


class SeedMode(StrEnum):
    """Linear workflows first (the paper's round 0), or trees directly."""

    LINEAR = "Linear"
    TREE = "Tree"


class EnvironmentMode(StrEnum):
    """Who executes tools: the state machine, an LLM for tools without one, or only an LLM."""

    STATE = "State"
    HYBRID = "Hybrid"
    LLM = "LLM"


class Check(StrEnum):
    """How an acceptance check counts."""

    REQUIRED = "Required"
    ADVISORY = "Advisory"
    OFF = "Off"


class SolverSpec(ApiModel):
    """Solvability attempts by the Solver role."""

    attempts: Annotated[int, Field(ge=1, le=64)] = 3
    max_turns: Annotated[int, Field(ge=1, le=256)] = 15


class AcceptanceSpec(ApiModel):
    """What a task must pass to be trained on (method.md §3.8)."""

    branch_hit: Check = Check.REQUIRED
    database_diff: Check = Check.REQUIRED
    trap_absent: Check = Check.REQUIRED
    traceability: Check = Check.REQUIRED


class BandSpec(ApiModel):
    """Keep tasks whose measured pass rate of the policy lies in [low, high]; outside, a group has no variance under GRPO."""

    low: Fraction = "0"
    high: Fraction = "1"
    samples: Annotated[int, Field(ge=0, le=256, description="Rollouts per task; 0 does not measure.")] = 0


class AgenticSpec(ApiModel):
    """The agentic flywheel."""

    personas: SourceRef
    domains: Annotated[list[Name], Field(min_length=1, max_length=32)]
    seed_mode: SeedMode = SeedMode.LINEAR
    environment: EnvironmentMode = EnvironmentMode.STATE
    branches_per_tree: Annotated[int, Field(ge=1, le=64)] = 6
    legal_share: Fraction = "0.5"
    trap_share: Fraction = "0.5"
    max_tasks: Annotated[int, Field(ge=1, le=10_000_000)] = 40000
    solver: SolverSpec = SolverSpec()
    acceptance: AcceptanceSpec = AcceptanceSpec()
    difficulty: BandSpec = BandSpec()
    holdout_personas: Fraction = Field(default="0.2", description="Share of personas kept for evaluation only.")


class AlgorithmOverrides(ApiModel):
    """The fields of RLJob's `spec.algorithm`, all optional: what is set replaces the preset's value."""

    type: Algorithm | None = None
    group_size: Annotated[int, Field(ge=2, le=256)] | None = None
    prompts_per_step: Annotated[int, Field(ge=1, le=65536)] | None = None
    mini_batch_prompts: Annotated[int, Field(ge=1, le=65536)] | None = None
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    kl_coefficient: DecimalString | None = None
    learning_rate: DecimalString | None = None
    temperature: DecimalString | None = None
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    max_prompt_tokens: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    max_response_tokens: Annotated[int, Field(ge=1, le=1_048_576)] | None = None


class TrackTraining(ApiModel):
    """What a track's RLJob takes from the round beside the preset; every field overrides the preset's."""

    algorithm: AlgorithmOverrides = AlgorithmOverrides()
    checkpoint: CheckpointSpec | None = None
    retries: RetriesSpec | None = None
    overrides: Annotated[dict[str, Any], Field(max_length=256)] = Field(
        default_factory=dict, json_schema_extra={"additionalProperties": {"x-kubernetes-preserve-unknown-fields": True}}
    )


class TrainingSpec(ApiModel):
    """Reasoning first, then agentic from its checkpoint."""

    preset: Annotated[str, Field(pattern=PRESET_PATTERN, max_length=63)] = "agenticqwen-8b"
    nodes: Annotated[int, Field(ge=1, le=4096)] | None = None
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] | None = None
    reasoning: TrackTraining = TrackTraining()
    agentic: TrackTraining = TrackTraining()


class GateSpec(ApiModel):
    """Lower limits; a suite without a gate is only reported. Gains are paired differences on the same items."""

    min_score: DecimalString | None = None
    min_gain_over_base: DecimalString | None = None
    require_significance: Literal["Point", "Interval"] = Field(
        default="Point", description="Interval: the lower end of the confidence interval must pass; Point: the estimate must."
    )


class SuiteSpec(ApiModel):
    """A held-out suite."""

    name: Name
    items: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    repeats: Annotated[int, Field(ge=1, le=256)] = 4
    gate: GateSpec | None = None


class EvaluationSpec(ApiModel):
    """Base and candidate on the same held-out items."""

    suites: Annotated[
        list[SuiteSpec],
        Field(
            min_length=1,
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ]
    temperature: DecimalString = "0.8"
    confidence: Fraction = "0.95"


class TokenBudget(ApiModel):
    """Tokens (prompt and completion) that a role may use in the whole round."""

    role: Role
    limit: Annotated[str, Field(pattern=INTEGER_PATTERN, max_length=20)]


class BudgetSpec(ApiModel):
    """Hard stops that survive retries."""

    gpu_hours: DecimalString | None = None
    wall_clock: Duration = "48h"
    tokens: Annotated[
        list[TokenBudget],
        Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["role"]}),
    ] = Field(default_factory=list)


class FlywheelRoundSpec(ApiModel):
    """One round. No `reasoning` means no reasoning track; no `agentic` likewise."""

    campaign: Name
    base: BaseSpec
    store: StoreRef = StoreRef()
    endpoints: Annotated[
        list[Endpoint],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["role"]},
        ),
    ]
    reasoning: ReasoningSpec | None = None
    agentic: AgenticSpec | None = None
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec
    budget: BudgetSpec = BudgetSpec()
    suspend: bool = Field(default=False, description="Pause at the next stage boundary with GPUs freed.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0

    model_config = _config(
        ("has(self.reasoning) || has(self.agentic)", "a round needs a track: add spec.reasoning, spec.agentic or both"),
        (
            "self.endpoints.exists(e, e.role == 'Teacher')",
            "name a Teacher in spec.endpoints: it synthesises, and unset roles fall back to it",
        ),
        (
            "self.campaign == oldSelf.campaign && self.base == oldSelf.base && self.training == oldSelf.training "
            "&& self.evaluation == oldSelf.evaluation && self.endpoints == oldSelf.endpoints && self.store == oldSelf.store "
            "&& (has(self.reasoning) ? has(oldSelf.reasoning) && self.reasoning == oldSelf.reasoning : !has(oldSelf.reasoning)) "
            "&& (has(self.agentic) ? has(oldSelf.agentic) && self.agentic == oldSelf.agentic : !has(oldSelf.agentic)) "
            "&& self.seed == oldSelf.seed",
            "a round's inputs cannot be changed once applied (only budget and suspend can): apply a new round under another name",
        ),
    )


class StageState(StrEnum):
    """States of a stage."""

    PENDING = "Pending"
    RUNNING = "Running"
    WAITING = "Waiting"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"


class DropCount(StatusModel):
    """Items dropped for one reason."""

    reason: str
    count: str


class StageCounts(StatusModel):
    """Items of a stage, as decimal strings."""

    in_: str | None = Field(default=None, alias="in")
    out: str | None = None
    dropped: str | None = None


class RoleTokens(StatusModel):
    """Tokens used by a role."""

    role: str
    tokens: str


class StageStatus(StatusModel):
    """One stage, in the order of the pipeline."""

    name: str
    state: StageState = StageState.PENDING
    attempt: int = 0
    failures: int = 0
    started_at: Timestamp | None = None
    attempt_started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    not_before: Timestamp | None = Field(default=None, description="Back-off: the next attempt starts no earlier.")
    counts: StageCounts | None = None
    dropped: Annotated[list[DropCount], Field(max_length=8)] = Field(default_factory=list)
    tokens: Annotated[list[RoleTokens], Field(max_length=8)] = Field(default_factory=list)
    gpu_seconds: str | None = None
    child: ChildRef | None = None
    manifest: str | None = None
    progress: Annotated[str, Field(max_length=256)] | None = None
    progress_at: Timestamp | None = None


class ScoreStatus(StatusModel):
    """A suite's scores with confidence intervals, as decimal strings."""

    suite: str
    base: str | None = None
    base_interval: list[str] | None = None
    candidate: str | None = None
    candidate_interval: list[str] | None = None
    gain: str | None = None
    gain_interval: list[str] | None = None
    gate: str | None = Field(default=None, description="Passed, Failed or None.")


class UsageStatus(StatusModel):
    """Spent so far, across all attempts."""

    gpu_hours: str = "0"
    wall_clock: str = "0s"
    tokens: list[RoleTokens] = Field(default_factory=list)


class FlywheelRoundStatus(StatusModel):
    """What happened so far; under 32 KiB, details live in the store."""

    observed_generation: int = 0
    conditions: Conditions = Field(default_factory=list)
    stage: str | None = None
    progress: Message | None = None
    stages: Annotated[
        list[StageStatus],
        Field(
            max_length=32,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    attempts: Annotated[list[AttemptStatus], Field(max_length=16)] = Field(default_factory=list)
    usage: UsageStatus = UsageStatus()
    scores: Annotated[list[ScoreStatus], Field(max_length=32)] = Field(default_factory=list)
    score: str | None = Field(default=None, description="Printer column: `base → candidate` of the first suite.")
    verdict: str | None = Field(default=None, description="Promoted, Held or Failed.")
    base_model: ModelStatus | None = None
    model: ModelStatus | None = None
    report: str | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    spec_hash: str | None = None
    standin: bool | None = Field(default=None, description="True when a stand-in model served a role: scores are not comparable.")
