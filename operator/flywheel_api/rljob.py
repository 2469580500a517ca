"""RLJob: one verl run on KubeRay. Usable without any round."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from flywheel_api.base import (
    ENTRY_POINT_PATTERN,
    ApiModel,
    DataRef,
    Duration,
    ModelRef,
    config_with_rules,
    is_none,
    unchanged,
)
from flywheel_api.bounds import (
    ClipHigh,
    ClipLow,
    DualClip,
    GradientClip,
    ImportanceLimit,
    KLWeight,
    LearningRate,
    PartialFraction,
    PositiveTemperature,
    WeightDecay,
)
from flywheel_api.common import (
    Domains,
    Reuse,
    ReuseField,
    StoreRef,
)
from flywheel_api.pods.template import LikePodTemplate, PodTemplate
from flywheel_api.tracking import TrackingSpec


class Algorithm(StrEnum):
    """RL algorithms, by their names in the literature."""

    GRPO = "GRPO"
    GSPO = "GSPO"
    DAPO = "DAPO"
    PPO = "PPO"


class RewardType(StrEnum):
    """How a trajectory is scored. Rubric and Judge are refused at admission: no trainer has them yet."""

    MATH = "Math"
    STATE_DIFF = "StateDiff"
    RUBRIC = "Rubric"
    JUDGE = "Judge"
    CUSTOM = "Custom"


class Schedule(StrEnum):
    """What becomes of the learning rate after its warm-up."""

    CONSTANT = "Constant"
    COSINE = "Cosine"


class AdvantageNormalisation(StrEnum):
    """What centred rewards are divided by: the group's standard deviation, the batch's, or nothing."""

    GROUP = "Group"
    BATCH = "Batch"
    NONE = "None"


class KLType(StrEnum):
    """How the KL to the starting model is estimated from samples."""

    LOW_VARIANCE = "LowVariance"
    K1 = "K1"
    K2 = "K2"


class RolloutCorrection(StrEnum):
    """How a difference between the sampler's probabilities and the trainer's is corrected.

    Auto is Token on GPUs and Off on CPU, where the sampler's own log-probs are trained with.
    """

    AUTO = "Auto"
    OFF = "Off"
    TOKEN = "Token"
    SEQUENCE = "Sequence"
    MASK = "Mask"


class Overlong(StrEnum):
    """What becomes of a trajectory that ran into its token limit: scored as it stands, or left out."""

    SCORE = "Score"
    MASK = "Mask"


class Publish(StrEnum):
    """Which checkpoint becomes the model: the best by validation, or the last one."""

    BEST = "Best"
    LAST = "Last"


class OnCollapse(StrEnum):
    """What is done when a training's curve looks like a collapse: told only, or stopped, its best checkpoint kept."""

    WARN = "Warn"
    STOP = "StopAndKeepBest"


class Clip(ApiModel):
    """PPO clipping: ratio in [1-low, 1+high]; `c` is the dual clip's bound for negative advantages."""

    low: ClipLow = Field(default="0.2", description="Lower bound: the ratio stays above 1 - low.")
    high: ClipHigh = Field(default="0.28", description="Upper bound: the ratio stays below 1 + high.")
    c: DualClip = Field(default="10", description="Dual clip: bound of the ratio where the advantage is negative.")


class AlgorithmSpec(ApiModel):
    """The algorithm and its sizes; defaults are those of the paper's 8B agentic run (arXiv 2604.21590)."""

    type: Algorithm = Field(default=Algorithm.GRPO, description="GRPO, GSPO, DAPO or PPO.")
    group_size: Annotated[int, Field(ge=2, le=256, description="Rollouts per prompt.")] = 16
    prompts_per_step: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=64, description="Prompts sampled per training step."
    )
    mini_batch_prompts: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="Prompts per optimiser update; default a quarter of promptsPerStep, at least 1."
    )
    micro_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None,
        description="Sequences per forward pass and GPU; default: verl's dynamic batching on GPUs, 2 on CPU.",
    )
    clip: Clip = Clip()
    kl_coefficient: KLWeight = Field(
        default="0", description="Weight of the KL loss to the starting model; 0 turns it off."
    )
    learning_rate: LearningRate = Field(default="1e-6", description="Peak learning rate.")
    warm_up_steps: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0, description="Updates over which the learning rate rises to its peak."
    )
    schedule: Schedule = Field(default=Schedule.CONSTANT, description="Constant, or Cosine down to 0.")
    weight_decay: WeightDecay = Field(default="0.01", description="AdamW's weight decay.")
    gradient_clip: GradientClip = Field(default="1.0", description="Norm that gradients are clipped to.")
    advantage_normalisation: AdvantageNormalisation = Field(
        default=AdvantageNormalisation.GROUP,
        description="Group: divided by the group's standard deviation; Batch: by the batch's; None: not divided.",
    )
    kl_type: KLType = Field(default=KLType.LOW_VARIANCE, description="LowVariance (k3), K1, or K2 (squared).")
    entropy_coefficient: KLWeight = Field(default="0", description="Weight of an entropy bonus; 0 turns it off.")
    rollout_correction: RolloutCorrection = Field(
        default=RolloutCorrection.AUTO,
        description="Weights between sampler and trainer, cut at rolloutCorrectionLimit: Token, Sequence; Mask leaves "
        "out tokens outside 1/limit to limit; Auto is Token on GPUs, Off on CPU.",
    )
    rollout_correction_limit: ImportanceLimit = Field(default="2.0", description="Where such weights are cut.")
    overlong: Overlong = Field(
        default=Overlong.SCORE, description="A trajectory at its token limit: Score as it stands, or Mask."
    )
    dynamic_sampling: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0,
        description="Groups without variance are sampled anew, up to so many times promptsPerStep a step; 0 is off, "
        "but 10 with type DAPO.",
    )
    temperature: PositiveTemperature = Field(default="1.0", description="Sampling temperature of rollouts.")
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="Passes over the training data.")
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Stop after this many steps even if epochs are left."
    )
    max_prompt_tokens: Annotated[int, Field(ge=16, le=1_048_576)] = Field(
        default=4096, description="Longer prompts are dropped before training and counted."
    )
    max_response_tokens: Annotated[int, Field(ge=1, le=1_048_576)] = Field(
        default=10000, description="Tokens of a rollout, over all its turns."
    )


class RewardSpec(ApiModel):
    """What scores a trajectory."""

    type: RewardType = Field(
        default=RewardType.STATE_DIFF,
        description="Math compares answers, StateDiff databases, Custom calls entryPoint. This version has no other.",
    )
    entry_point: Annotated[str, Field(pattern=ENTRY_POINT_PATTERN, max_length=253)] | None = Field(
        default=None, description="module:function in the image; only with type Custom."
    )

    format_bonus: PartialFraction = Field(
        default="0",
        description="Math: what a wrong answer in the right form earns. Groups that differ by it alone teach nothing.",
    )

    model_config = config_with_rules(
        ("self.type == 'Math' || double(self.formatBonus) == 0.0", "formatBonus goes with reward.type Math only"),
        (
            "!(self.type in ['Rubric', 'Judge'])",
            "reward types Rubric and Judge need a judging model, which this version lacks: use Math or StateDiff, "
            "or Custom with entryPoint",
        ),
    )


class AgentLoopSpec(ApiModel):
    """Multi-turn rollouts with tools; absent means single-turn."""

    domains: Domains = Field(description="Environments whose tools the policy may call.")
    max_turns: Annotated[int, Field(ge=1, le=256, description="Assistant turns; a domain may give fewer.")] = 15
    tool_response_limit: Annotated[int, Field(ge=16, le=1_048_576, description="Characters.")] = 4096


class DataSpec(ApiModel):
    """Training and validation data in verl's Parquet format."""

    train: Annotated[list[DataRef], Field(min_length=1, max_length=64)] = Field(
        description="Training sets, concatenated."
    )
    validation: Annotated[list[DataRef], Field(max_length=64)] = Field(
        default_factory=list, description="Validation sets, scored at checkpoints."
    )


class WarmUpSpec(ApiModel):
    """Supervised fine-tuning by verl's own trainer before RL: what a policy half knows it can be rewarded for."""

    data: Annotated[list[DataRef], Field(min_length=1, max_length=64)] = Field(
        description="Conversations in Parquet, column messages: role, content, and learn (unset: what the assistant "
        "says). Those longer than maxPromptTokens or maxResponseTokens are left out and counted."
    )
    epochs: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="Passes over the conversations.")
    conversations_per_step: Annotated[int, Field(ge=1, le=65536)] = Field(
        default=64, description="Conversations of an update; fewer where there are fewer, always as many on each GPU."
    )
    learning_rate: LearningRate = Field(
        default="1e-5", description="Peak learning rate, reached after a tenth of the steps."
    )


class CheckpointSpec(ApiModel):
    """When checkpoints are committed to the store, and how many stay. The last one is always kept."""

    every_steps: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=6, description="Steps between checkpoints.")
    keep_last: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=2, description="Newest checkpoints that stay in the store."
    )
    keep_best: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=1, description="Best checkpoints by validation reward that stay beside the newest."
    )


LoraLayer = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class LoraSpec(ApiModel):
    """Adapters of low rank beside frozen weights, merged into what the policy samples with and what is published."""

    rank: Annotated[int, Field(ge=1, le=512)] = Field(description="Rank of the adapters.")
    alpha: Annotated[int, Field(ge=1, le=8192)] | None = Field(
        default=None, description="Adapters count alpha / rank times; unset is twice the rank."
    )
    targets: Annotated[
        list[LoraLayer],
        Field(max_length=7, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list, exclude_if=is_none, description="Layers that get one; unset is all of these.")

    @property
    def numerator(self) -> int:
        """alpha, as it counts."""
        return self.alpha or 2 * self.rank

    @property
    def layers(self) -> list[str]:
        """Names of the layers that get an adapter, as every model of ours calls them."""
        return list(self.targets or get_args(LoraLayer))


class RetriesSpec(ApiModel):
    """Retries of failures of the program itself; preemption and lost infrastructure do not count."""

    limit: Annotated[int, Field(ge=0, le=100)] = Field(
        default=3, description="Failures of the program itself before the job fails."
    )


_ROLLOUTS = "(self.algorithm.type == 'PPO' ? 1 : self.algorithm.groupSize)"
_MINI = (
    "(has(self.algorithm.miniBatchPrompts) ? self.algorithm.miniBatchPrompts : "
    "self.algorithm.promptsPerStep < 4 ? 1 : self.algorithm.promptsPerStep / 4)"
)
_WORKERS = "(self.gpusPerNode == 0 ? 1 : self.nodes * self.gpusPerNode)"
_MICRO = (
    "(self.gpusPerNode > 0 ? (has(self.algorithm.microBatchSize) ? self.algorithm.microBatchSize : 1) : "
    "has(self.algorithm.microBatchSize) && (!has(self.agentLoop) || self.algorithm.microBatchSize < 2) "
    "? self.algorithm.microBatchSize : 2)"
)
_MINI_UNEVEN = (
    "samples of an update (algorithm.miniBatchPrompts times groupSize; miniBatchPrompts is a quarter of promptsPerStep "
    "by default, groupSize is 1 with PPO) must be a multiple of nodes times gpusPerNode: each GPU takes its share"
)
_STEP_UNEVEN = (
    "samples of a step (algorithm.promptsPerStep times groupSize; groupSize is 1 with PPO) must be a multiple of nodes "
    "times gpusPerNode where microBatchSize is set: each GPU takes its share"
)
_MICRO_UNEVEN = (
    "each GPU's samples of an update (algorithm.miniBatchPrompts times groupSize over nodes times gpusPerNode) must be "
    "a multiple of microBatchSize (on CPU 2 by default, and at most with an agentLoop)"
)
_TENSOR_UNEVEN = "gpusPerNode must be a multiple of rolloutTensorParallel: rollout servers share a node's GPUs evenly"
_ONE_CPU_NODE = "training on CPU (gpusPerNode 0) takes one node and rolloutTensorParallel 1"
HEAD_ON_CPU = "on CPU the Ray head trains: say what you want of its pod in podTemplate, and leave headTemplate out"
LORA_ON_CPU = (
    "lora is for GPUs: verl 0.9.1 hands merged weights to the sampler in bfloat16, and on CPU the sampler's own "
    "log-probs are trained with, in float32; leave lora out, or train on GPUs"
)
_SIZES: list[Any] = [  # `verl.rules` knows what overrides change, and what a round's preset comes to
    {"rule": f"{_MINI} * {_ROLLOUTS} % {_WORKERS} == 0", "message": _MINI_UNEVEN},
    {
        "rule": f"!has(self.algorithm.microBatchSize) || self.algorithm.promptsPerStep * {_ROLLOUTS} % {_WORKERS} == 0",
        "message": _STEP_UNEVEN,
    },
    {"rule": f"{_MINI} * {_ROLLOUTS} / {_WORKERS} % {_MICRO} == 0", "message": _MICRO_UNEVEN},
    {"rule": "self.gpusPerNode % self.rolloutTensorParallel == 0", "message": _TENSOR_UNEVEN},
    {"rule": "self.gpusPerNode > 0 || self.nodes == 1 && self.rolloutTensorParallel == 1", "message": _ONE_CPU_NODE},
]

_WARM_UP_UNEVEN = (
    "warmUp.conversationsPerStep must be at least nodes times gpusPerNode: each GPU takes its share of an update"
)
_WARM_UP_WHOLE = "warmUp trains whole weights and writes them for RL: leave out lora, or warmUp"
MAY_CHANGE = ("podTemplate", "headTemplate", "retries", "stallAfter", "startupTimeout", "wallClock", "tracking")
FIXED = (
    "model", "data", "warmUp", "store", "algorithm", "reward", "agentLoop", "nodes", "gpusPerNode",
    "rolloutTensorParallel", "checkpoint", "lora", "publish", "onCollapse", "seed", "reuse",
)  # fmt: skip


class RLJobSpec(ApiModel):
    """One reinforcement-learning run."""

    model: ModelRef
    data: DataSpec
    warm_up: WarmUpSpec | None = Field(
        default=None, description="Supervised fine-tuning before RL, which then starts from its model; absent is none."
    )
    store: StoreRef = StoreRef()
    algorithm: AlgorithmSpec = AlgorithmSpec()
    reward: RewardSpec = RewardSpec()
    agent_loop: AgentLoopSpec | None = Field(
        default=None, description="Multi-turn rollouts with tools; absent means single-turn."
    )
    nodes: Annotated[int, Field(ge=1, le=4096)] = Field(default=1, description="Ray nodes that train.")
    gpus_per_node: Annotated[int, Field(ge=0, le=64, description="0 trains on CPU.")] = 8
    rollout_tensor_parallel: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="GPUs that one rollout server shares."
    )
    checkpoint: CheckpointSpec = CheckpointSpec()
    lora: LoraSpec | None = Field(
        default=None, description="Train adapters and leave the weights as they are; absent trains all weights."
    )
    publish: Publish = Field(
        default=Publish.BEST,
        description="Best: the checkpoint of highest validation reward (of training's own where nothing is validated), "
        "unless the last is as good; Last: the last one, but the best where onCollapse has stopped the training.",
    )
    on_collapse: OnCollapse = Field(
        default=OnCollapse.STOP,
        description="What is done when the curve looks like a collapse (condition TrainingHealthy): Warn or "
        "StopAndKeepBest.",
    )
    retries: RetriesSpec = RetriesSpec()
    stall_after: Duration = Field(
        default="30m", description="An attempt without progress (a step, or bytes moved) for so long is retried."
    )
    startup_timeout: Duration = Field(
        default="30m", description="How long an attempt may take to get its pods running before it is retried."
    )
    wall_clock: Duration | None = Field(
        default=None, description="Over all attempts; the job then fails with cause Budget."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(default=0, description="Seed of data order and sampling.")
    overrides: Annotated[dict[str, Any], Field(max_length=256)] = Field(
        default_factory=dict,
        description="Any verl key, dotted, with a scalar or list value; unknown keys are refused before a GPU starts.",
        json_schema_extra={"additionalProperties": {"x-kubernetes-preserve-unknown-fields": True}},
    )
    pod_template: PodTemplate = PodTemplate()
    head_template: LikePodTemplate | None = Field(
        default=None,
        description="The fields of podTemplate for the Ray head beside GPUs, which trains nothing itself.",
    )
    tracking: TrackingSpec | None = Field(default=None, description="An experiment tracker that is told of each step.")
    reuse: ReuseField = Reuse.ALWAYS

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self.reward.type == 'Custom' ? has(self.reward.entryPoint) : !has(self.reward.entryPoint)",
                    "message": "reward.entryPoint goes with reward.type Custom only: set both or neither",
                },
                {
                    "rule": "!has(self.algorithm.miniBatchPrompts) "
                    "|| self.algorithm.miniBatchPrompts <= self.algorithm.promptsPerStep",
                    "message": "algorithm.miniBatchPrompts must not exceed algorithm.promptsPerStep",
                },
                *_SIZES,
                {
                    "rule": f"!has(self.warmUp) || self.warmUp.conversationsPerStep >= {_WORKERS}",
                    "message": _WARM_UP_UNEVEN,
                },
                {"rule": "!has(self.warmUp) || !has(self.lora)", "message": _WARM_UP_WHOLE},
                {
                    "rule": "self.gpusPerNode > 0 || self.algorithm.rolloutCorrection in ['Auto', 'Off']",
                    "message": "rolloutCorrection is for GPUs: on CPU the sampler's own log-probs are trained with, "
                    "so leave it Auto or Off",
                },
                {
                    "rule": "self.algorithm.type != 'PPO' || self.algorithm.dynamicSampling == 0",
                    "message": "dynamicSampling compares the rollouts of a prompt, and PPO has one: leave it 0",
                },
                {
                    "rule": "self.reward.type != 'StateDiff' || has(self.agentLoop)",
                    "message": "reward.type StateDiff scores tool environments: "
                    "add agentLoop.domains, or use reward.type Math",
                },
                {"rule": "!has(self.lora) || self.gpusPerNode > 0", "message": LORA_ON_CPU},
                {
                    "rule": "!has(self.headTemplate) || self.gpusPerNode > 0",
                    "message": HEAD_ON_CPU,
                },
                {
                    "rule": unchanged(FIXED, ("overrides",)),
                    "message": f"what an RLJob trains cannot be changed (only {', '.join(MAY_CHANGE[:-1])} and "
                    f"{MAY_CHANGE[-1]} can): apply a new one under another name",
                },
            ]
        },
    )

    @property
    def datasets(self) -> list[str]:
        """Everything that it reads beside the model."""
        return [*self.data.train, *self.data.validation, *(self.warm_up.data if self.warm_up else ())]

    def publishes_best(self, stopped: bool) -> bool:
        """Whether the best checkpoint becomes the model; the last is what the alarm is about that `stopped` it."""
        return self.publish is Publish.BEST or stopped
