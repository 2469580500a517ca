"""An RLJob's spec as verl's settings, by dotted key. Pure: no verl, no files, no clock.

From general to particular, the last one wins: sizes and algorithm, flavour (CPU or GPU), reward and agent loop, run
paths, the user's own `overrides`, and last what the driver lives on. Values are handed over as they are, in a file:
no grammar of a command line can change them. Written for verl 0.9.1 (V1 trainer, sync mode).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flywheel_api.overrides import bare
from flywheel_api.records.prompt import AGENT_NAME
from flywheel_api.rljob import AdvantageNormalisation, Algorithm, KLType, RewardType, RLJobSpec, RolloutCorrection
from flywheel_api.sampling import TRAINING
from flywheel_api.stages import FORMAT_BONUS_ENV, OVERLONG_ENV, ROLLOUTS_ENV, SIGNALS_ENV
from flywheel_api.verl.hardware import critic, hardware, is_cpu, packed, reference, round_up

SINGLE_TURN_AGENT = "flywheel_single_turn_agent"
ADVANTAGE, ADVANTAGE_BY_BATCH = "flywheel_grpo", "flywheel_grpo_batch"
CHECKPOINT_HOOK = "flywheel_jobs.trainer.verl_hooks.CheckpointHook"
CPU_PLUGIN = "flywheel_jobs.trainer.cpu_platform"
BRAKES_PLUGIN = "flywheel_jobs.trainer.verl_brakes"
ENVIRONMENT = "ray_kwargs.ray_init.runtime_env.env_vars"
PLUGINS_ENV = "VERL_USE_EXTERNAL_MODULES"
REWARD_MODULE = "pkg://flywheel_jobs.trainer.reward"


@dataclass(frozen=True)
class RunPaths:
    """Where a run keeps its files on every node: absolute paths."""

    model: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    checkpoints: str
    rollouts: str
    agent_loops: str


def settings(
    spec: RLJobSpec,
    paths: RunPaths,
    owner: str,
    project: str,
    total_steps: int | None = None,
    mark: str = "",
    plugins: str = "",
) -> dict[str, Any]:
    """All settings by verl's dotted keys, in the order in which they count.

    `owner` and `project` name the run in verl's own logs; `total_steps` None leaves it at `algorithm.maxSteps`; `mark`
    is the word by which the driver knows the lines of this attempt; `plugins` are the image's own, as the variable
    PLUGINS_ENV names them.
    """
    parts: tuple[Mapping[str, Any], ...] = (
        _data(spec, paths),
        _algorithm(spec),
        _actor(spec),
        _lora(spec),
        reference(spec),
        critic(spec, paths.model),
        _rollout(spec, paths),
        hardware(spec),
        _reward(spec),
        _agent_loop(spec, paths),
        _trainer(spec, paths, owner, project, total_steps),
        {bare(key): value for key, value in spec.overrides.items()},
    )
    told: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            told.pop(key, None)  # a later part takes the place of an earlier one
            told[key] = value
    return told | _the_drivers(told.get("trainer.logger"), worker_environment(spec, paths.rollouts, mark, plugins))


def _the_drivers(loggers: Any, environment: Mapping[str, str]) -> dict[str, Any]:
    """What the driver lives on, last: no override takes it away, whatever map it comes in."""
    named = [loggers] if isinstance(loggers, str) else list(loggers or [])
    return {
        "trainer.logger": ["console", *(name for name in named if name != "console")],
        "ray_kwargs.ray_init.log_to_driver": True,
        **{f"{ENVIRONMENT}.{name}": value for name, value in environment.items()},
    }


def worker_environment(spec: RLJobSpec, rollouts: str, mark: str = "", plugins: str = "") -> dict[str, str]:
    """Variables that every verl process needs, whatever the image says. `rollouts`: where trajectories are recorded.

    What computes is the image's to say: its plug-ins stay, so that the GPU flavour's shape runs on any of them.
    """
    ours = [CPU_PLUGIN, BRAKES_PLUGIN] if is_cpu(spec) else [BRAKES_PLUGIN]
    common = {
        ROLLOUTS_ENV: rollouts,
        SIGNALS_ENV: mark,
        FORMAT_BONUS_ENV: spec.reward.format_bonus,
        OVERLONG_ENV: spec.algorithm.overlong.value,
        "VLLM_NO_USAGE_STATS": "1",
        PLUGINS_ENV: ",".join(dict.fromkeys([*filter(None, plugins.split(",")), *ours])),
    }
    if not is_cpu(spec):
        return common
    return common | {
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",  # the name under which verl registers its FSDP engine
        "TORCH_COMPILE_DISABLE": "1",  # the image has no C++ compiler, and vLLM's sampler is compiled even when eager
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_WAIT_POLICY": "passive",
    }


def _data(spec: RLJobSpec, paths: RunPaths) -> dict[str, Any]:
    a = spec.algorithm
    return {
        "data.train_files": list(paths.train),
        "data.val_files": list(paths.validation or paths.train),  # verl refuses an empty one; unused with test_freq -1
        "data.train_batch_size": a.prompts_per_step,
        "data.max_prompt_length": a.max_prompt_tokens,
        "data.max_response_length": a.max_response_tokens,
        "data.filter_overlong_prompts": True,
        "data.return_raw_chat": True,
        "data.shuffle": True,
        "data.seed": spec.seed,
        # prompts are in memory; processes that are killed at the end look like a crash in the log of a good run
        "data.dataloader_num_workers": 0,
    }


def _algorithm(spec: RLJobSpec) -> dict[str, Any]:
    """Estimator, policy loss, clipping and KL.

    Values as in the paper's scripts and verl's own recipes of GSPO and DAPO.
    """
    a = spec.algorithm
    actor = "actor_rollout_ref.actor"
    kl = float(a.kl_coefficient)
    by_batch = a.advantage_normalisation is AdvantageNormalisation.BATCH
    ours = ADVANTAGE_BY_BATCH if by_batch else ADVANTAGE
    out: dict[str, Any] = {
        "algorithm.adv_estimator": "gae" if a.type is Algorithm.PPO else ours,
        "algorithm.norm_adv_by_std_in_grpo": a.advantage_normalisation is AdvantageNormalisation.GROUP,
        "algorithm.use_kl_in_reward": False,
        f"{actor}.use_kl_loss": kl > 0,  # with coefficient 0 a reference model would be built and run for nothing
        f"{actor}.clip_ratio": float(a.clip.low),
        f"{actor}.clip_ratio_low": float(a.clip.low),
        f"{actor}.clip_ratio_high": float(a.clip.high),
        f"{actor}.clip_ratio_c": float(a.clip.c),
        f"{actor}.policy_loss.loss_mode": "gspo" if a.type is Algorithm.GSPO else "vanilla",
        f"{actor}.loss_agg_mode": "seq-mean-token-mean" if a.type is Algorithm.GSPO else "token-mean",
        f"{actor}.entropy_coeff": float(a.entropy_coefficient),
        f"{actor}.calculate_entropy": True,  # else nobody sees it where old log-probs are not computed anew
    }
    if kl > 0:
        out |= {f"{actor}.kl_loss_coef": kl, f"{actor}.kl_loss_type": _KL[a.kl_type]}
    return out | _dynamic_sampling(spec) | _correction(spec)


_KL = {KLType.LOW_VARIANCE: "low_var_kl", KLType.K1: "k1", KLType.K2: "k2"}
DAPO_LIMIT = 10


def _dynamic_sampling(spec: RLJobSpec) -> dict[str, Any]:
    """Groups without variance are sampled anew. verl's own limit is ignored by its V1 trainer: `sampler` holds it."""
    most = spec.algorithm.dynamic_sampling or (DAPO_LIMIT if spec.algorithm.type is Algorithm.DAPO else 0)
    if not most:
        return {}
    by_form = spec.reward.type is RewardType.MATH and float(spec.reward.format_bonus) > 0
    return {
        "algorithm.filter_groups.enable": True,
        "algorithm.filter_groups.metric": "correct" if by_form else "reward",
        "algorithm.filter_groups.max_num_gen_batches": most,
    }


def _correction(spec: RLJobSpec) -> dict[str, Any]:
    """Weights for what sampler and trainer make of the same tokens; on CPU the sampler's log-probs are the old ones."""
    a, key = spec.algorithm, "algorithm.rollout_correction"
    kind = a.rollout_correction
    if is_cpu(spec) or kind is RolloutCorrection.OFF:
        return {}
    limit = float(a.rollout_correction_limit)
    return {
        f"{key}.rollout_is": "sequence" if kind is RolloutCorrection.SEQUENCE else "token",
        f"{key}.rollout_is_threshold": f"{1 / limit:.6g}_{limit:.6g}" if kind is RolloutCorrection.MASK else limit,
    }


def _actor(spec: RLJobSpec) -> dict[str, Any]:
    a = spec.algorithm
    actor = "actor_rollout_ref.actor"
    return {
        f"{actor}.strategy": "fsdp2",
        f"{actor}.optim.lr": float(a.learning_rate),
        f"{actor}.optim.lr_warmup_steps": a.warm_up_steps,
        f"{actor}.optim.lr_scheduler_type": a.schedule.value.lower(),
        f"{actor}.optim.weight_decay": float(a.weight_decay),
        f"{actor}.optim.clip_grad": float(a.gradient_clip),
        f"{actor}.ppo_mini_batch_size": a.mini_batch_prompts or max(1, a.prompts_per_step // 4),
        f"{actor}.fsdp_config.seed": spec.seed,
        f"{actor}.data_loader_seed": spec.seed,
        "actor_rollout_ref.model.use_remove_padding": packed(spec),
        "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
    }


def _lora(spec: RLJobSpec) -> dict[str, Any]:
    """Adapters, merged before each hand-over: what samples is what is published, and what a pool of it serves."""
    if spec.lora is None:
        return {}
    model = "actor_rollout_ref.model"
    return {
        f"{model}.lora_rank": spec.lora.rank,
        f"{model}.lora_alpha": spec.lora.numerator,
        f"{model}.target_modules": spec.lora.layers,
        f"{model}.lora.merge": True,
    }


def _rollout(spec: RLJobSpec, paths: RunPaths) -> dict[str, Any]:
    a = spec.algorithm
    rollout = "actor_rollout_ref.rollout"
    return {
        "actor_rollout_ref.model.path": paths.model,
        f"{rollout}.name": "vllm",
        f"{rollout}.n": 1 if a.type is Algorithm.PPO else a.group_size,
        f"{rollout}.temperature": float(a.temperature),
        **{f"{rollout}.{name}": value for name, value in TRAINING.items()},
        f"{rollout}.tensor_model_parallel_size": spec.rollout_tensor_parallel,
        f"{rollout}.max_model_len": round_up(a.max_prompt_tokens + a.max_response_tokens, 64),
        f"{rollout}.calculate_log_probs": True,
        f"{rollout}.seed": spec.seed,
    }


def _reward(spec: RLJobSpec) -> dict[str, Any]:
    module, function = REWARD_MODULE, "score_state" if spec.reward.type is RewardType.STATE_DIFF else "compute_score"
    if spec.reward.type is RewardType.CUSTOM:
        entry, _, name = (spec.reward.entry_point or "").partition(":")
        module, function = f"pkg://{entry}", name
    return {
        "reward.custom_reward_function.path": module,
        "reward.custom_reward_function.name": function,
        "reward.num_workers": 1,  # the agent loops score in place: verl's own are idle, and there must be one
    }


def _agent_loop(spec: RLJobSpec, paths: RunPaths) -> dict[str, Any]:
    """Both loops are ours: they score in place, so that an outage can mask a trajectory."""
    agent = "actor_rollout_ref.rollout.agent"
    out: dict[str, Any] = {
        f"{agent}.agent_loop_config_path": paths.agent_loops,
        f"{agent}.default_agent_loop": SINGLE_TURN_AGENT if spec.agent_loop is None else AGENT_NAME,
    }
    if spec.agent_loop is None:
        return out
    turns = "actor_rollout_ref.rollout.multi_turn"
    return out | {
        f"{turns}.enable": True,
        f"{turns}.format": "hermes",
        f"{turns}.max_assistant_turns": spec.agent_loop.max_turns,
        f"{turns}.max_user_turns": spec.agent_loop.max_turns,
        f"{turns}.max_parallel_calls": 1,
        f"{turns}.max_tool_response_length": spec.agent_loop.tool_response_limit,
    }


def _trainer(spec: RLJobSpec, paths: RunPaths, owner: str, project: str, total_steps: int | None) -> dict[str, Any]:
    """Length, cadence and paths. verl validates where there is something to: one greedy answer to each row."""
    return {
        "trainer.nnodes": spec.nodes,
        "trainer.n_gpus_per_node": max(1, spec.gpus_per_node),
        "trainer.total_epochs": spec.algorithm.epochs,
        "trainer.total_training_steps": total_steps if total_steps is not None else spec.algorithm.max_steps,
        "trainer.save_freq": spec.checkpoint.every_steps,
        "trainer.test_freq": spec.checkpoint.every_steps if paths.validation else -1,
        "trainer.val_before_train": False,
        "trainer.resume_mode": "auto",
        "trainer.default_local_dir": paths.checkpoints,
        "trainer.checkpoint_callback_class": CHECKPOINT_HOOK,
        "trainer.project_name": project,
        "trainer.experiment_name": owner,
    }
