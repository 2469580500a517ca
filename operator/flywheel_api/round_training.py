"""What a FlywheelRound says of its trainings: the preset, and where each track's training differs from it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from flywheel_api.base import PRESET_PATTERN, ApiModel, Duration, config_with_rules, unchanged
from flywheel_api.bounds import (
    ClipHigh,
    ClipLow,
    DualClip,
    Fraction,
    GradientClip,
    ImportanceLimit,
    KLWeight,
    LearningRate,
    PartialFraction,
    PositiveTemperature,
    WeightDecay,
)
from flywheel_api.pods.template import LikePodTemplate, PodTemplate
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
from flywheel_api.round_table import RoundValues
from flywheel_api.tracking import TrackingSpec


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
