"""Training presets: complete RLJob settings per track, so that a round names one word instead of forty numbers.

Numbers of `agenticqwen-*` are those of the paper's released scripts (arXiv 2604.21590; `run_reasoning.sh`,
`run_virtual_tool.sh`, `run_virtual_tool_30b.sh`); there is none for reasoning with 30B-A3B, so that track is ours.
`smollm2-135m-cpu` is measured on two CPU cores: it proves the
machinery and learns a little; it says nothing about the method's quality.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flywheel_api.common import DomainPin
from flywheel_api.overrides import PROMPTED
from flywheel_api.pool import PoolTemplate
from flywheel_api.request import template_arguments
from flywheel_api.results import Track
from flywheel_api.rljob import (
    AgentLoopSpec,
    Algorithm,
    AlgorithmSpec,
    CheckpointSpec,
    Clip,
    DataSpec,
    RetriesSpec,
    RewardSpec,
    RewardType,
    RLJobSpec,
    WarmUpSpec,
)
from flywheel_api.round import FlywheelRoundSpec, TrackTraining
from flywheel_api.round_status import ByRound
from flywheel_api.round_table import stated
from flywheel_api.stages import policy_of
from flywheel_api.turns import Turn, turn_of


class UnknownPreset(ValueError):
    """A preset name that nobody defined; the message lists the known ones."""


_PAPER = {"nodes": 1, "gpus_per_node": 8, "checkpoint": CheckpointSpec(every_steps=6), "stall_after": "45m"}
_PAPER_REASONING = AlgorithmSpec(epochs=3, max_prompt_tokens=2048, max_response_tokens=8192)
_PAPER_AGENTIC = AlgorithmSpec(epochs=1, max_prompt_tokens=4096, max_response_tokens=10000)
_SHARE = "actor_rollout_ref.rollout.gpu_memory_utilization"
# beside states that stay on the card while vLLM is awake, and in two nodes of 80 GB (`make estimate`, docs/recipes.md)
_MEMORY_8B = {"overrides": {_SHARE: 0.6}}
_MEMORY_30B = {"overrides": {_SHARE: 0.5, "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": 16384}}
CLIPS = {Algorithm.GSPO: Clip(low="0.0003", high="0.0004")}
"""Where an algorithm clips, if not as GRPO does: GSPO's ratio is of a whole sequence (arXiv 2507.18071, 5.1)."""
_GSPO = {"type": Algorithm.GSPO, "clip": CLIPS[Algorithm.GSPO]}
_TINY = {
    "nodes": 1,
    "gpus_per_node": 0,
    "checkpoint": CheckpointSpec(every_steps=2, keep_last=1, keep_best=0),
    "stall_after": "15m",
    "startup_timeout": "15m",
}

PRESETS: dict[str, dict[Track, dict[str, Any]]] = {
    "agenticqwen-8b": {
        Track.REASONING: {**_PAPER, **_MEMORY_8B, "algorithm": _PAPER_REASONING, "rollout_tensor_parallel": 2},
        Track.AGENTIC: {**_PAPER, **_MEMORY_8B, "algorithm": _PAPER_AGENTIC, "rollout_tensor_parallel": 2},
    },
    "agenticqwen-30b-a3b": {
        Track.REASONING: {
            **_PAPER,
            **_MEMORY_30B,
            "nodes": 2,
            "algorithm": _PAPER_REASONING.model_copy(update=_GSPO),
            "rollout_tensor_parallel": 8,
        },
        Track.AGENTIC: {
            **_PAPER,
            **_MEMORY_30B,
            "nodes": 2,
            "algorithm": _PAPER_AGENTIC.model_copy(update=_GSPO),
            "rollout_tensor_parallel": 8,
        },
    },
    "smollm2-135m-cpu": {
        Track.REASONING: {
            **_TINY,
            "algorithm": AlgorithmSpec(
                group_size=8,
                prompts_per_step=4,
                mini_batch_prompts=4,
                micro_batch_size=4,
                learning_rate="2e-5",
                warm_up_steps=2,
                epochs=100,
                max_steps=16,
                max_prompt_tokens=96,
                max_response_tokens=16,
            ),
        },
        Track.AGENTIC: {
            **_TINY,
            "algorithm": AlgorithmSpec(
                group_size=6,
                prompts_per_step=2,
                mini_batch_prompts=2,
                micro_batch_size=2,
                learning_rate="2e-5",
                warm_up_steps=2,
                temperature="0.8",
                epochs=100,
                max_steps=6,
                max_prompt_tokens=320,
                max_response_tokens=96,
            ),
        },
    },
}
WARM_UPS: dict[str, dict[str, Any]] = {
    "agenticqwen-8b": {"learning_rate": "1e-5", "conversations_per_step": 64},
    "agenticqwen-30b-a3b": {"learning_rate": "1e-5", "conversations_per_step": 64},
    "smollm2-135m-cpu": {"learning_rate": "2e-5", "conversations_per_step": 8, "epochs": 2},
}
"""What `training.warmUp: SFT` does with a preset. The paper has no such step; GPU numbers are usual ones and not
measured, the demo's are (docs/evidence/climb.md)."""


def training_spec(
    round_spec: FlywheelRoundSpec,
    track: Track,
    model: str,
    train: str,
    validation: str | None,
    domains: Sequence[DomainPin] = (),
    number: int = 1,
    warm_up: str | None = None,
) -> RLJobSpec:
    """The RLJob of a round's track.

    The preset, what it changes in a round of this `number` in its campaign, what the round says, and what its table
    says of this number, field by field.
    `model`, `train`, `validation` and `warm_up` are digests, `domains` the packages that Prepare pinned. Raises
    UnknownPreset.
    """
    preset = _preset(round_spec)[track]
    fields = {**preset, **_from_round(round_spec, track, preset, number)}
    agent_loop = None
    own: TrackTraining = getattr(round_spec.training, track)
    reward = RewardSpec(type=RewardType.MATH, format_bonus=own.format_bonus or preset.get("format_bonus", "0"))
    fields.pop("format_bonus", None)
    if track is Track.AGENTIC and round_spec.agentic is not None:
        pinned = [pin.ref for pin in domains] or round_spec.agentic.domains
        agent_loop = AgentLoopSpec(domains=pinned)
        reward = RewardSpec(type=RewardType.STATE_DIFF)
    if warm_up is not None:
        fields["warm_up"] = _warm_up(round_spec.training.preset, warm_up, fields["nodes"] * fields["gpus_per_node"])
    return RLJobSpec(
        model=model,
        data=DataSpec(train=[train], validation=[validation] if validation else []),
        store=round_spec.store,
        reward=reward,
        lora=round_spec.training.lora,
        publish=round_spec.training.publish,
        on_collapse=round_spec.training.on_collapse,
        agent_loop=agent_loop,
        seed=round_spec.seed,
        pod_template=round_spec.training.pod_template,
        head_template=round_spec.training.head_template,
        tracking=round_spec.training.tracking,
        reuse=round_spec.reuse,
        **fields,
    )


def _warm_up(preset: str, data: str, workers: int) -> WarmUpSpec:
    table = WARM_UPS[preset]
    return WarmUpSpec(data=[data], **table | {"conversations_per_step": max(workers, table["conversations_per_step"])})


def algorithm_of(round_spec: FlywheelRoundSpec, track: Track, number: int = 1) -> AlgorithmSpec:
    """The algorithm that a round trains a track with. Raises UnknownPreset.

    The preset's, with what it changes in a round of this number, what the round says and what its table does. Where the
    round says another type, clipping is that type's.
    """
    own: TrackTraining = getattr(round_spec.training, track)
    preset: AlgorithmSpec = _preset(round_spec)[track]["algorithm"]
    turn = turn_of(round_spec.training.preset, number)
    said = own.algorithm.model_dump(exclude_none=True)
    base = preset.model_dump() | dict(turn.algorithm)
    if said.get("type", preset.type) is not preset.type:
        base["clip"] = CLIPS.get(said["type"], Clip()).model_dump()
    clip = {"clip": base["clip"] | said.get("clip", {})}
    by_number = stated(round_spec.training.rounds, number).algorithm
    return AlgorithmSpec.model_validate(base | said | clip | by_number)


def _turn(round_spec: FlywheelRoundSpec, number: int) -> Turn:
    """The preset's band and replay. Later rounds share theirs: stages' keys hold base.round and whether it was held."""
    _preset(round_spec)
    return turn_of(round_spec.training.preset, 1 if round_spec.base.round is None else number)


def band(round_spec: FlywheelRoundSpec, number: int) -> tuple[str, str]:
    """Lowest and highest pass rate that a round of this number trains on. Raises UnknownPreset."""
    preset, table = _turn(round_spec, number), stated(round_spec.training.rounds, number)
    own = round_spec.reasoning.difficulty if round_spec.reasoning is not None else None
    low = table.low or (own and own.low) or preset.low
    high = table.high or (own and own.high) or preset.high
    return min(low, high, key=float), max(low, high, key=float)


def replay_share(round_spec: FlywheelRoundSpec, number: int) -> str:
    """Share of a round's problems that are of earlier rounds. Raises UnknownPreset."""
    own = round_spec.reasoning.replay_share if round_spec.reasoning is not None else None
    preset = _turn(round_spec, number).replay_share
    return stated(round_spec.training.rounds, number).replay_share or own or preset


def by_round(round_spec: FlywheelRoundSpec, number: int) -> ByRound:
    """A round's number and what its reasoning track does by it, for its status. Raises UnknownPreset."""
    if round_spec.reasoning is None:
        return ByRound(number=number)
    low, high = band(round_spec, number)
    return ByRound(number=number, low=low, high=high, replay_share=replay_share(round_spec, number))


def rollout_temperature(round_spec: FlywheelRoundSpec, track: Track) -> float:
    """The temperature of `algorithm_of`: what a stage samples at it is what training will see.

    It reads nothing else, so that another learning rate makes no stage start again. Raises UnknownPreset.
    """
    own: TrackTraining = getattr(round_spec.training, track)
    preset: AlgorithmSpec = _preset(round_spec)[track]["algorithm"]
    return float(own.algorithm.temperature or preset.temperature)


def steps_planned(round_spec: FlywheelRoundSpec, track: Track) -> tuple[int, int | None]:
    """Prompts of a step, and steps at most, of `algorithm_of`; reads nothing else of it. Raises UnknownPreset."""
    own: TrackTraining = getattr(round_spec.training, track)
    preset: AlgorithmSpec = _preset(round_spec)[track]["algorithm"]
    return own.algorithm.prompts_per_step or preset.prompts_per_step, own.algorithm.max_steps or preset.max_steps


def validates(round_spec: FlywheelRoundSpec, track: Track) -> bool:
    """Whether rows are held out for a track's training where the round does not say how many: on CPU none are.

    Another number of nodes makes no other data: nothing else of the round's shape is read. Raises UnknownPreset.
    """
    own = round_spec.training.gpus_per_node
    gpus: int = _preset(round_spec)[track]["gpus_per_node"] if own is None else own
    return gpus > 0


def pool_template(round_spec: FlywheelRoundSpec) -> PoolTemplate:
    """Shape of the round's pools: the Policy's, else one replica that fits the hardware of the training."""
    policy = policy_of(round_spec)
    if policy is not None and policy.pool is not None:
        return policy.pool
    own, preset = round_spec.training.gpus_per_node, PRESETS.get(round_spec.training.preset, {})
    trains_on = {track["gpus_per_node"] for track in preset.values()} if own is None else {own}
    return PoolTemplate(gpus_per_replica=0 if trains_on == {0} else 1)


def _preset(round_spec: FlywheelRoundSpec) -> dict[Track, dict[str, Any]]:
    name = round_spec.training.preset
    if name not in PRESETS:
        raise UnknownPreset(f"training.preset {name!r} is unknown; known presets: {', '.join(sorted(PRESETS))}")
    return PRESETS[name]


def _prompted(round_spec: FlywheelRoundSpec) -> dict[str, Any]:
    """The policy's prompt form in verl's words: it is trained on prompts as it is asked them."""
    arguments = template_arguments(round_spec)
    return {PROMPTED: arguments} if arguments else {}


def _from_round(round_spec: FlywheelRoundSpec, track: Track, preset: dict[str, Any], number: int) -> dict[str, Any]:
    """What the round overrides of its preset."""
    training = round_spec.training
    own: TrackTraining = getattr(training, track)
    fields: dict[str, Any] = {
        "algorithm": algorithm_of(round_spec, track, number),
        "overrides": {**preset.get("overrides", {}), **own.overrides, **_prompted(round_spec)},
    }
    if own.checkpoint is not None:
        fields["checkpoint"] = own.checkpoint
    fields["retries"] = own.retries or RetriesSpec()
    if own.stall_after is not None:
        fields["stall_after"] = own.stall_after
    if own.startup_timeout is not None:
        fields["startup_timeout"] = own.startup_timeout
    if training.nodes is not None:
        fields["nodes"] = training.nodes
    if training.gpus_per_node is not None:
        fields["gpus_per_node"] = training.gpus_per_node
        # as much of the preset's as divides the node
        fields["rollout_tensor_parallel"] = math.gcd(preset.get("rollout_tensor_parallel", 1), training.gpus_per_node)
        if training.gpus_per_node == 0:
            fields["rollout_tensor_parallel"] = 1
    return fields
