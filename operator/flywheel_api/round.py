"""FlywheelRound: one turn of both data flywheels, from a base model to a promoted (or honestly rejected) one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from flywheel_api.base import (
    INTEGER_PATTERN,
    PRESET_PATTERN,
    ApiModel,
    Duration,
    EndpointUrl,
    HeaderValue,
    Name,
    config_with_rules,
    unchanged,
)
from flywheel_api.bounds import (
    ClipHigh,
    ClipLow,
    DualClip,
    Fraction,
    GradientClip,
    Hours,
    ImportanceLimit,
    KLWeight,
    LearningRate,
    PartialFraction,
    PositiveFraction,
    PositiveTemperature,
    Temperature,
    WeightDecay,
)
from flywheel_api.common import Dialect, Reuse, ReuseField, Role, SecretKeyRef, StoreRef
from flywheel_api.pods.template import LikePodTemplate, PodTemplate
from flywheel_api.pool import PoolTemplate
from flywheel_api.results import Track
from flywheel_api.rljob import (
    AdvantageNormalisation,
    Algorithm,
    CheckpointSpec,
    KLType,
    LoraSpec,
    OnCollapse,
    Overlong,
    Publish,
    RetriesSpec,
    RolloutCorrection,
    Schedule,
)
from flywheel_api.round_base import BaseSpec, HubSpec
from flywheel_api.round_evaluation import BUILTIN_SUITES, HELDOUT, EvaluationSpec, GateSpec, RegressionSpec, SuiteSpec
from flywheel_api.round_export import ClaimTarget, ExportSpec
from flywheel_api.round_status import (
    DropCount,
    EndpointStatus,
    FlywheelRoundStatus,
    RoleTokens,
    ScoreStatus,
    StageCounts,
    StageState,
    StageStatus,
    UsageStatus,
)
from flywheel_api.round_table import BandLimits, RoundValues
from flywheel_api.round_tracks import (
    AcceptanceSpec,
    AgenticSpec,
    BandSpec,
    Check,
    DedupSpec,
    EnvironmentMode,
    MiningSpec,
    PersonaFields,
    ProblemFields,
    ReasoningSpec,
    SeedMode,
    SolverSpec,
    SynthesisSpec,
    VerificationSpec,
)
from flywheel_api.tracking import TrackingSpec

# the parts of a round that live in modules of their own are part of this one's face
__all__ = [
    "AcceptanceSpec",
    "AgenticSpec",
    "AlgorithmOverrides",
    "BandLimits",
    "BandSpec",
    "BaseSpec",
    "BudgetSpec",
    "Check",
    "ClaimTarget",
    "DedupSpec",
    "DropCount",
    "Endpoint",
    "EndpointStatus",
    "EnvironmentMode",
    "EvaluationSpec",
    "ExportSpec",
    "FlywheelRoundSpec",
    "FlywheelRoundStatus",
    "GateSpec",
    "HubSpec",
    "MiningSpec",
    "PersonaFields",
    "ProblemFields",
    "ReasoningSpec",
    "RegressionSpec",
    "Role",
    "RoleTokens",
    "RoundValues",
    "Sampling",
    "ScoreStatus",
    "SeedMode",
    "SolverSpec",
    "StageCounts",
    "StageState",
    "StageStatus",
    "SuiteSpec",
    "SynthesisSpec",
    "TokenBudget",
    "TrackTraining",
    "TrainingSpec",
    "UsageStatus",
    "VerificationSpec",
    "WarmUp",
]


_PLAYED = (
    "!(self.role in ['ToolSimulator', 'Judge'])",
    "nothing calls the roles ToolSimulator and Judge in this version: leave them out; "
    "the roles are Policy, Teacher, Solver and UserSimulator",
)


class Sampling(ApiModel):
    """Sampling parameters of a role."""

    temperature: Temperature = Field(default="1.0", description="Sampling temperature.")
    top_p: PositiveFraction = Field(default="1.0", description="Nucleus sampling.")
    max_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = Field(default=4096, description="Tokens of one completion.")


class Endpoint(ApiModel):
    """A role's model: an OpenAI-compatible URL, an existing RolloutPool, or a pool of the round's own (Policy only)."""

    role: Role = Field(description="Policy, Teacher, Solver or UserSimulator; this version has these four.")
    url: EndpointUrl | None = Field(
        default=None, description="Base URL of an OpenAI-compatible API, such as https://models.internal/v1."
    )
    pool_ref: Name | None = Field(default=None, description="Name of a RolloutPool in this namespace.")
    pool: PoolTemplate | None = Field(
        default=None, description="Shape of a pool that the round makes, and deletes when it no longer needs it."
    )
    model: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="Model name sent in requests."
    )
    api_key: SecretKeyRef | None = Field(default=None, description="Where the API key is; sent as a bearer token.")
    sampling: Sampling = Sampling()
    concurrency: Annotated[int, Field(ge=1, le=4096)] = Field(
        default=64, description="Requests in flight at once, over all pods of a stage."
    )
    requests_per_minute: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Upper bound of the request rate, over all pods of a stage; unset is none."
    )
    timeout: Duration | None = Field(
        default=None,
        description="Time-out of one request, which then gets twice the time; unset is 90 s, or a second for each 25 "
        "of sampling.maxTokens (Policy: of reasoning.mining.maxResponseTokens as well) where that is more.",
    )
    extra_body: Annotated[dict[str, Any], Field(max_length=64)] | None = Field(
        default=None,
        description="What each request says besides, as a JSON object: {top_k: 20, stop: [END]}. Keys that Flywheel "
        "writes are refused. Policy takes chat_template_kwargs alone, which mining, training and evaluation share.",
    )
    headers: Annotated[dict[str, HeaderValue], Field(max_length=16)] = Field(
        default_factory=dict, description="Headers of each request. None may hold a key: that is apiKey's."
    )
    dialect: Dialect = Field(
        default=Dialect.AUTO,
        description="How tool results are written: Text as role tool, UserTurns as user turns, Tools as OpenAI's tool "
        "calls with ids; Auto takes the first of these that the server accepts.",
    )

    model_config = config_with_rules(
        (
            "(has(self.url) ? 1 : 0) + (has(self.poolRef) ? 1 : 0) + (has(self.pool) ? 1 : 0) == 1",
            "set exactly one of url, poolRef and pool for each endpoint",
        ),
        (
            "!has(self.pool) || self.role == 'Policy'",
            "an inline pool is for role Policy; other roles take url or poolRef",
        ),
        (
            "self.role != 'Policy' || !has(self.sampling) || !has(self.sampling.topP) "
            "|| double(self.sampling.topP) == 1.0",
            "a policy is trained on samples at topP 1, and measured on the same: leave sampling.topP out for role "
            "Policy",
        ),
        ("!has(self.url) || has(self.model)", "an endpoint with a url needs model: the name sent in requests"),
        _PLAYED,
        (
            f"{unchanged(('sampling', 'model', 'dialect', 'poolRef', 'pool.engine', 'extraBody'))} "
            "&& has(self.url) == has(oldSelf.url) && has(self.pool) == has(oldSelf.pool)",
            "an endpoint's model, sampling, dialect, extraBody, poolRef and engine cannot be changed once applied: "
            "apply a new round under another name",
        ),
    )


class ClipOverrides(ApiModel):
    """The fields of RLJob's `spec.algorithm.clip`, all optional: what is not set is the algorithm's."""

    low: ClipLow | None = Field(default=None, description="Lower bound: the ratio stays above 1 - low.")
    high: ClipHigh | None = Field(default=None, description="Upper bound: the ratio stays below 1 + high.")
    c: DualClip | None = Field(
        default=None, description="Dual clip: bound of the ratio where the advantage is negative."
    )


class AlgorithmOverrides(ApiModel):
    """The fields of RLJob's `spec.algorithm`, all optional: what is set replaces the preset's value."""

    type: Algorithm | None = Field(default=None, description="GRPO, GSPO, DAPO or PPO.")
    group_size: Annotated[int, Field(ge=2, le=256)] | None = Field(default=None, description="Rollouts per prompt.")
    prompts_per_step: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="Prompts sampled per training step."
    )
    mini_batch_prompts: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="Prompts per optimiser update."
    )
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None, description="Sequences per forward pass and GPU."
    )
    clip: ClipOverrides | None = Field(
        default=None, description="Where ratios are clipped; unset is the preset's, or that of another type."
    )
    kl_coefficient: KLWeight | None = Field(default=None, description="Weight of the KL loss to the starting model.")
    learning_rate: LearningRate | None = Field(default=None, description="Peak learning rate.")
    warm_up_steps: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="Updates over which the learning rate rises to its peak."
    )
    schedule: Schedule | None = Field(default=None, description="Constant, or Cosine down to 0.")
    weight_decay: WeightDecay | None = Field(default=None, description="AdamW's weight decay.")
    gradient_clip: GradientClip | None = Field(default=None, description="Norm that gradients are clipped to.")
    advantage_normalisation: AdvantageNormalisation | None = Field(
        default=None, description="Group, Batch or None: by whose standard deviation advantages are divided."
    )
    kl_type: KLType | None = Field(default=None, description="LowVariance, K1 or K2.")
    entropy_coefficient: KLWeight | None = Field(default=None, description="Weight of an entropy bonus.")
    rollout_correction: RolloutCorrection | None = Field(
        default=None, description="Auto, Off, Token, Sequence or Mask: between sampler and trainer."
    )
    rollout_correction_limit: ImportanceLimit | None = Field(default=None, description="Where such weights are cut.")
    overlong: Overlong | None = Field(default=None, description="Score or Mask: a trajectory at its token limit.")
    dynamic_sampling: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Groups without variance are sampled anew, up to so many times promptsPerStep."
    )
    temperature: PositiveTemperature | None = Field(default=None, description="Sampling temperature of rollouts.")
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="Passes over the training data."
    )
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Stop after this many steps."
    )
    max_prompt_tokens: Annotated[int, Field(ge=16, le=1_048_576)] | None = Field(
        default=None, description="Longer prompts are dropped before training and counted."
    )
    max_response_tokens: Annotated[int, Field(ge=1, le=1_048_576)] | None = Field(
        default=None, description="Tokens of a rollout, over all its turns."
    )


class TrackTraining(ApiModel):
    """What a track's RLJob takes from the round beside the preset; every field overrides the preset's."""

    algorithm: AlgorithmOverrides = Field(
        default=AlgorithmOverrides(), description="Fields of the algorithm that differ from the preset."
    )
    format_bonus: PartialFraction | None = Field(
        default=None, description="What a wrong answer in the right form earns; the reasoning track's only."
    )
    checkpoint: CheckpointSpec | None = Field(
        default=None, description="Replaces the preset's checkpoint policy as a whole."
    )
    retries: RetriesSpec | None = Field(default=None, description="Replaces the default of 3 retries.")
    stall_after: Duration | None = Field(
        default=None,
        description="An attempt that moves no step and no bytes for so long is retried; unset takes the preset's.",
    )
    startup_timeout: Duration | None = Field(
        default=None,
        description="How long an attempt may take to get its pods running; unset takes the preset's.",
    )
    overrides: Annotated[dict[str, Any], Field(max_length=256)] = Field(
        default_factory=dict,
        json_schema_extra={"additionalProperties": {"x-kubernetes-preserve-unknown-fields": True}},
        description="Any verl key, dotted; unknown keys are refused before a GPU starts.",
    )


FIXED_IN_TRAINING = (
    "preset", "nodes", "gpusPerNode", "informativeFloor", "lora", "publish", "onCollapse", "warmUp",
    "rounds", "validationRows",
)  # fmt: skip
FIXED_IN_A_TRACK = ("algorithm", "checkpoint", "formatBonus")


class WarmUp(StrEnum):
    """What comes before RL: nothing, or supervised fine-tuning on what the solver showed in this round."""

    OFF = "Off"
    SFT = "SFT"


class TrainingSpec(ApiModel):
    """Reasoning first, then agentic from its checkpoint."""

    preset: Annotated[str, Field(pattern=PRESET_PATTERN, max_length=63)] = Field(
        default="agenticqwen-8b", description="A complete recipe; docs/reference/presets.md lists them."
    )
    nodes: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None, description="Ray nodes that train; unset takes the preset's."
    )
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] | None = Field(
        default=None,
        description="GPUs of each node, 0 trains on CPU; unset takes the preset's. The round's own pool, unless role "
        "Policy says its shape, serves on the same: on CPU, or on one GPU.",
    )
    warm_up: WarmUp = Field(
        default=WarmUp.OFF,
        description="SFT: before RL, each track is fine-tuned on the solver's verified solutions of this round "
        "(problems that the policy does not always solve; accepted attempts at tasks). The paper's recipe has none.",
    )
    reasoning: TrackTraining = Field(
        default=TrackTraining(), description="The reasoning track's training, where it differs from the preset."
    )
    agentic: TrackTraining = Field(
        default=TrackTraining(), description="The agentic track's training, where it differs from the preset."
    )
    rounds: Annotated[
        list[RoundValues],
        Field(
            max_length=16, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["from"]}
        ),
    ] = Field(
        default_factory=list,
        description="What changes by the round's number in its campaign, in ascending order. It goes before the fields "
        "that it names, which hold before the first entry, and before the preset's own table.",
    )
    lora: LoraSpec | None = Field(
        default=None, description="Train adapters and leave the weights as they are; absent trains all weights."
    )
    publish: Publish = Field(
        default=Publish.BEST,
        description="Which checkpoint of a training becomes its model: Best, or Last where no alarm has stopped it.",
    )
    validation_rows: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        default=None,
        description="Rows of each track that are held out and answered at checkpoints, as far as no family gives more "
        "than three tenths of itself; unset is a tenth on GPUs, none on CPU.",
    )
    on_collapse: OnCollapse = Field(
        default=OnCollapse.STOP, description="When a curve looks like a collapse: Warn or StopAndKeepBest."
    )
    informative_floor: Fraction = Field(
        default="0.2",
        description="Share of groups, over a whole training, that must have carried an advantage; below it the round "
        "is held: a few lucky samples decided the model.",
    )
    tracking: TrackingSpec | None = Field(
        default=None, description="An experiment tracker that is told of each step of both trainings."
    )
    pod_template: PodTemplate = PodTemplate()
    head_template: LikePodTemplate | None = Field(
        default=None,
        description="The fields of podTemplate for the Ray head beside GPUs, which trains nothing itself.",
    )

    model_config = config_with_rules(
        (
            "self.warmUp == 'Off' || !has(self.lora)",
            "warmUp trains whole weights and writes them for RL: leave out lora, or warmUp",
        ),
        (
            "!has(self.agentic) || !has(self.agentic.formatBonus)",
            "formatBonus is for answers of the reasoning track: leave it out of training.agentic",
        ),
        (
            "!has(self.rounds) || self.rounds.map(r, r.from).isSorted()",
            "write training.rounds in ascending order of from",
        ),
        (
            unchanged(
                (*FIXED_IN_TRAINING, *(f"{t.value}.{name}" for t in Track for name in FIXED_IN_A_TRACK)),
                [f"{t.value}.overrides" for t in Track],
            ),
            "what is trained cannot be changed once applied (podTemplate, headTemplate, tracking, and a track's "
            "retries, stallAfter and startupTimeout can): apply a new round under another name",
        ),
    )


class TokenBudget(ApiModel):
    """Tokens (prompt and completion) that a role may use in the whole round."""

    role: Role = Field(description="Whose tokens: Policy, Teacher, Solver or UserSimulator.")
    limit: Annotated[str, Field(pattern=INTEGER_PATTERN, max_length=20)] = Field(description="Tokens, as a string.")

    model_config = config_with_rules(_PLAYED)


class BudgetSpec(ApiModel):
    """Hard stops that survive retries."""

    gpu_hours: Hours | None = Field(
        default=None, description="GPU-hours over all stages and attempts; unset is unlimited."
    )
    wall_clock: Duration = Field(default="48h", description="Time from the passed preflight to the end.")
    tokens: Annotated[
        list[TokenBudget],
        Field(
            max_length=8, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["role"]}
        ),
    ] = Field(default_factory=list, description="Limits by role; roles without one are unlimited.")


_INPUTS = (
    *("campaign", "base.round", "base.onHeld", "base.model", "store", "reasoning", "agentic", "evaluation", "seed"),
    *("reuse", "export"),
)
_MAY_CHANGE = (
    "only budget, suspend, base.hub, jobTemplate, training's podTemplate, headTemplate, tracking, retries, stallAfter "
    "and startupTimeout, and an endpoint's url, apiKey, headers, timeout, concurrency, requestsPerMinute and the shape "
    "of its pool can"
)


class FlywheelRoundSpec(ApiModel):
    """One round. No `reasoning` means no reasoning track; no `agentic` likewise."""

    campaign: Name = Field(
        description="The campaign it belongs to: a line of rounds, each from the last one's promoted model."
    )
    base: BaseSpec
    store: StoreRef = StoreRef()
    endpoints: Annotated[
        list[Endpoint],
        Field(
            min_length=1,
            max_length=4,  # the roles that are played; what an older API server thinks rules cost grows with it
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["role"]},
        ),
    ] = Field(description="Who plays each role; roles that are not listed fall back to Teacher.")
    reasoning: ReasoningSpec | None = Field(
        default=None, description="The reasoning flywheel; absent turns the track off."
    )
    agentic: AgenticSpec | None = Field(default=None, description="The agentic flywheel; absent turns the track off.")
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec
    export: ExportSpec | None = Field(
        default=None, description="Where the model goes once it is promoted; unset leaves it in the store."
    )
    budget: BudgetSpec = BudgetSpec()
    job_template: LikePodTemplate | None = Field(
        default=None,
        description="The fields of training.podTemplate for pods of the CPU stages; a change is for the next attempt.",
    )
    suspend: bool = Field(default=False, description="Pause at the next stage boundary with GPUs freed.")
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(default=0, description="Seed of every random choice.")
    reuse: ReuseField = Reuse.ALWAYS

    model_config = config_with_rules(
        (
            f"self.evaluation.suites.all(s, has(s.source) || s.name in {list(BUILTIN_SUITES)} || has(self.agentic) "
            f"&& self.agentic.domains.exists(d, d.name + '{HELDOUT}' == s.name))",
            f"a suite without source is {', '.join(BUILTIN_SUITES)} or <name>{HELDOUT} of a domain of "
            "spec.agentic.domains: name one of them, or give the suite its source",
        ),
        ("has(self.reasoning) || has(self.agentic)", "a round needs a track: add spec.reasoning, spec.agentic or both"),
        (
            "self.endpoints.exists(e, e.role == 'Teacher')",
            "name a Teacher in spec.endpoints: it synthesises, and unset roles fall back to it",
        ),
        (
            unchanged(_INPUTS),
            f"a round's inputs cannot be changed once applied ({_MAY_CHANGE}): apply a new round under another name",
        ),
        (
            "self.endpoints.size() == oldSelf.endpoints.size() "
            "&& self.endpoints.all(e, oldSelf.endpoints.exists(o, o.role == e.role))",
            f"who plays which role cannot be changed once applied ({_MAY_CHANGE}): "
            "apply a new round under another name",
        ),
    )
