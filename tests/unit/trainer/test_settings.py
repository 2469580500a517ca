"""The spec as verl overrides: tables of what each setting must become, and every key checked against verl's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flywheel_api.common import DomainRef
from flywheel_api.records.prompt import AGENT_NAME
from flywheel_api.rljob import (
    AgentLoopSpec,
    Algorithm,
    AlgorithmSpec,
    CheckpointSpec,
    Clip,
    DataSpec,
    RewardSpec,
    RewardType,
    RLJobSpec,
)
from flywheel_api.stages import FORMAT_BONUS_ENV, OVERLONG_ENV, ROLLOUTS_ENV, SIGNALS_ENV
from flywheel_api.verl.settings import (
    BRAKES_PLUGIN,
    CPU_PLUGIN,
    SINGLE_TURN_AGENT,
    RunPaths,
    settings,
    worker_environment,
)
from flywheel_api.verl_keys import KEYS
from flywheel_jobs.trainer.workspace import agent_loops_file

DIGEST = "sha256:" + "a" * 64
PATHS = RunPaths(
    "/models/policy", ("/d/train.parquet",), ("/d/val.parquet",), "/w/checkpoints", "/w/rollouts", "/p/l.yaml"
)
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"


def spec(algorithm: dict[str, Any] | None = None, **fields: Any) -> RLJobSpec:
    defaults: dict[str, Any] = {
        "model": DIGEST,
        "data": DataSpec(train=[DIGEST]),
        "reward": RewardSpec(type=RewardType.MATH),
    }
    return RLJobSpec(**{**defaults, **fields, "algorithm": AlgorithmSpec(**(algorithm or {}))})


def overrides(s: RLJobSpec, **kwargs: Any) -> dict[str, Any]:
    return settings(s, PATHS, "job", "team", **kwargs)


@pytest.mark.parametrize(
    ("kind", "estimator", "loss", "aggregation", "samples", "critic"),
    [
        (Algorithm.GRPO, "flywheel_grpo", "vanilla", "token-mean", 16, False),
        (Algorithm.GSPO, "flywheel_grpo", "gspo", "seq-mean-token-mean", 16, False),
        (Algorithm.DAPO, "flywheel_grpo", "vanilla", "token-mean", 16, False),
        (Algorithm.PPO, "gae", "vanilla", "token-mean", 1, True),
    ],
)
def test_algorithms(kind: Algorithm, estimator: str, loss: str, aggregation: str, samples: str, critic: str) -> None:
    got = overrides(spec({"type": kind}))
    assert got["algorithm.adv_estimator"] == estimator
    assert got[f"{ACTOR}.policy_loss.loss_mode"] == loss
    assert got[f"{ACTOR}.loss_agg_mode"] == aggregation
    assert got[f"{ROLLOUT}.n"] == samples
    assert got["critic.enable"] == critic
    assert (got.get("algorithm.filter_groups.enable") is True) is (kind is Algorithm.DAPO)


def test_the_papers_numbers_are_the_defaults() -> None:
    got = overrides(spec())
    expected = {
        f"{ACTOR}.clip_ratio_low": 0.2,
        f"{ACTOR}.clip_ratio_high": 0.28,
        f"{ACTOR}.clip_ratio_c": 10.0,
        f"{ACTOR}.optim.lr": 1e-06,
        "data.train_batch_size": 64,
        f"{ACTOR}.ppo_mini_batch_size": 16,
        f"{ROLLOUT}.n": 16,
        "trainer.save_freq": 6,
        "trainer.n_gpus_per_node": 8,
        f"{ACTOR}.entropy_coeff": 0,
    }
    assert {k: got[k] for k in expected} == expected


OPTIM, CORRECTION, FILTER = f"{ACTOR}.optim", "algorithm.rollout_correction", "algorithm.filter_groups"


@pytest.mark.parametrize(
    ("algorithm", "told"),
    [
        ({"warm_up_steps": 4}, {f"{OPTIM}.lr_warmup_steps": 4}),
        ({"schedule": "Cosine"}, {f"{OPTIM}.lr_scheduler_type": "cosine"}),
        ({}, {f"{OPTIM}.lr_scheduler_type": "constant", f"{OPTIM}.weight_decay": 0.01, f"{OPTIM}.clip_grad": 1.0}),
        ({"weight_decay": "0", "gradient_clip": "0.5"}, {f"{OPTIM}.weight_decay": 0.0, f"{OPTIM}.clip_grad": 0.5}),
        ({"advantage_normalisation": "None"}, {"algorithm.norm_adv_by_std_in_grpo": False}),
        ({"advantage_normalisation": "Batch"}, {"algorithm.adv_estimator": "flywheel_grpo_batch"}),
        ({"type": "PPO", "advantage_normalisation": "Batch"}, {"algorithm.adv_estimator": "gae"}),
        ({"kl_coefficient": "0.01", "kl_type": "K2"}, {f"{ACTOR}.kl_loss_type": "k2", f"{ACTOR}.kl_loss_coef": 0.01}),
        ({"kl_coefficient": "0.01"}, {f"{ACTOR}.kl_loss_type": "low_var_kl"}),
        ({"entropy_coefficient": "0.001"}, {f"{ACTOR}.entropy_coeff": 0.001, f"{ACTOR}.calculate_entropy": True}),
        ({}, {f"{CORRECTION}.rollout_is": "token", f"{CORRECTION}.rollout_is_threshold": 2.0}),
        ({"rollout_correction": "Sequence", "rollout_correction_limit": "5"}, {
            f"{CORRECTION}.rollout_is": "sequence", f"{CORRECTION}.rollout_is_threshold": 5.0}),
        ({"rollout_correction": "Mask"}, {f"{CORRECTION}.rollout_is_threshold": "0.5_2"}),
        ({"dynamic_sampling": 3}, {
            f"{FILTER}.enable": True, f"{FILTER}.metric": "reward", f"{FILTER}.max_num_gen_batches": 3}),
        ({"type": "DAPO"}, {f"{FILTER}.max_num_gen_batches": 10}),
    ],
)  # fmt: skip
def test_each_brake_is_verls_own_key(algorithm: dict[str, Any], told: dict[str, Any]) -> None:
    got = overrides(spec(algorithm))
    assert {key: got[key] for key in told} == told and set(told) <= set(KEYS.keys)


def test_brakes_that_are_off_are_not_told() -> None:
    off = overrides(spec({"rollout_correction": "Off"}))
    assert not [key for key in off if key.startswith((CORRECTION, FILTER))]
    on_cpu = overrides(spec(gpus_per_node=0))
    assert f"{CORRECTION}.rollout_is" not in on_cpu and on_cpu[f"{CORRECTION}.bypass_mode"] is True
    assert on_cpu[f"{ACTOR}.calculate_entropy"] is True


def test_form_is_paid_for_and_seen_through_by_one_number() -> None:
    paid = spec(
        {"dynamic_sampling": 2, "overlong": "Mask"}, reward=RewardSpec(format_bonus="0.1", type=RewardType.MATH)
    )
    assert overrides(paid)[f"{FILTER}.metric"] == "correct", "a group that differs by form only is sampled anew"
    told = worker_environment(paid, "/r")
    assert (told[FORMAT_BONUS_ENV], told[OVERLONG_ENV]) == ("0.1", "Mask")
    plain = worker_environment(spec(), "/r")
    assert (plain[FORMAT_BONUS_ENV], plain[OVERLONG_ENV]) == ("0", "Score")
    for flavour in (0, 8):
        assert BRAKES_PLUGIN in worker_environment(spec(gpus_per_node=flavour), "/r")["VERL_USE_EXTERNAL_MODULES"]


def test_the_image_says_what_computes() -> None:
    """The GPU flavour's shape on an image for CPUs: its platform is a plug-in, which ours must not push out."""
    told = worker_environment(spec(gpus_per_node=1), "/r", plugins=CPU_PLUGIN)
    assert told["VERL_USE_EXTERNAL_MODULES"] == f"{CPU_PLUGIN},{BRAKES_PLUGIN}"
    key = "ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES"
    assert settings(spec(gpus_per_node=1), PATHS, "o", "p", plugins=CPU_PLUGIN)[key] == f"{CPU_PLUGIN},{BRAKES_PLUGIN}"
    twice = worker_environment(spec(gpus_per_node=0), "/r", plugins=f"{CPU_PLUGIN},own.plugin")
    assert twice["VERL_USE_EXTERNAL_MODULES"] == f"{CPU_PLUGIN},own.plugin,{BRAKES_PLUGIN}"


def test_storage_units_fit_the_ray_nodes() -> None:
    """They are pinned to all nodes in turn, a CPU each; verl's 8 beside 8 GPUs' bundles leave too few."""
    key = "transfer_queue.backend.SimpleStorage.num_data_storage_units"
    assert [overrides(spec(gpus_per_node=8, nodes=nodes))[key] for nodes in (1, 2, 16)] == [2, 4, 32]


@pytest.mark.parametrize("gpus", [0, 8])
def test_no_process_is_started_for_nothing(gpus: int) -> None:
    """Seen on a GPU: eight that read prompts ended every good run with a traceback, eight more scored nothing."""
    got = overrides(spec(gpus_per_node=gpus))
    assert (got["data.dataloader_num_workers"], got["reward.num_workers"]) == (0, 1)


def test_kl_zero_builds_no_reference_model() -> None:
    off, on = overrides(spec()), overrides(spec({"kl_coefficient": "0.001"}))
    assert off[f"{ACTOR}.use_kl_loss"] is False
    assert off["algorithm.use_kl_in_reward"] is False
    assert f"{ACTOR}.kl_loss_coef" not in off
    assert (on[f"{ACTOR}.use_kl_loss"], on[f"{ACTOR}.kl_loss_coef"]) == (True, 0.001)


def test_a_reference_model_gets_its_micro_batch() -> None:
    key = "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu"
    kl = {"kl_coefficient": "0.001"}
    assert overrides(spec(kl, gpus_per_node=0))[key] == 2
    assert overrides(spec(kl | {"micro_batch_size": 4}))[key] == 4
    assert key not in overrides(spec(kl)), "dynamic batching needs none, and verl refuses both"
    assert key not in overrides(spec(gpus_per_node=0))


def test_gspo_clip() -> None:
    got = overrides(spec({"type": Algorithm.GSPO, "clip": Clip(low="0.0003", high="0.0004")}))
    assert (got[f"{ACTOR}.clip_ratio_low"], got[f"{ACTOR}.clip_ratio_high"]) == (0.0003, 0.0004)


def test_cpu_flavour_has_the_measured_settings() -> None:
    got = overrides(spec({"micro_batch_size": 4}, gpus_per_node=0))
    assert got["trainer.device"] == "cpu"
    assert got["trainer.n_gpus_per_node"] == 1, "one logical slot"
    assert got["transfer_queue.backend.SimpleStorage.num_data_storage_units"] == 1
    assert got[f"{ACTOR}.strategy"] == "fsdp2"
    assert got[f"{ACTOR}.fsdp_config.model_dtype"] == "fp32"
    assert got[f"{ROLLOUT}.enforce_eager"] is True
    assert got[f"{ROLLOUT}.free_cache_engine"] is False
    assert got[f"{ROLLOUT}.engine_kwargs.vllm.kv_cache_memory_bytes"] == 536870912
    assert got[f"{ACTOR}.ppo_micro_batch_size_per_gpu"] == 4
    assert "ray_kwargs.ray_init.num_cpus" not in got, "a RayJob joins a running cluster, where Ray refuses it"


def test_multi_turn_on_cpu_never_exceeds_micro_batch_2() -> None:
    got = overrides(
        spec({"micro_batch_size": 6}, gpus_per_node=0, agent_loop=AgentLoopSpec(domains=[DomainRef(name="booking")]))
    )
    assert got[f"{ACTOR}.ppo_micro_batch_size_per_gpu"] == 2


def test_gpu_flavour_batches_dynamically_unless_told() -> None:
    dynamic, fixed = overrides(spec()), overrides(spec({"micro_batch_size": 4}))
    assert dynamic[f"{ACTOR}.use_dynamic_bsz"] is True
    assert int(dynamic[f"{ACTOR}.ppo_max_token_len_per_gpu"]) >= 4096 + 10000
    assert fixed[f"{ACTOR}.ppo_micro_batch_size_per_gpu"] == 4
    assert f"{ACTOR}.use_dynamic_bsz" not in fixed


def test_cluster_shape_and_checkpoints() -> None:
    s = spec(nodes=2, gpus_per_node=8, rollout_tensor_parallel=8, checkpoint=CheckpointSpec(every_steps=3), seed=7)
    got = overrides(s, total_steps=40)
    assert (got["trainer.nnodes"], got[f"{ROLLOUT}.tensor_model_parallel_size"]) == (2, 8)
    assert (got["trainer.save_freq"], got["trainer.total_training_steps"]) == (3, 40)
    assert (got["trainer.resume_mode"], got["trainer.default_local_dir"]) == ("auto", "/w/checkpoints")
    assert got["data.seed"] == got[f"{ROLLOUT}.seed"] == 7


def test_agent_loop() -> None:
    loop = AgentLoopSpec(domains=[DomainRef(name="booking")], max_turns=15, tool_response_limit=4096)
    got = overrides(spec(reward=RewardSpec(type=RewardType.STATE_DIFF), agent_loop=loop))
    assert got[f"{ROLLOUT}.multi_turn.enable"] is True
    assert got[f"{ROLLOUT}.multi_turn.max_assistant_turns"] == 15
    assert got[f"{ROLLOUT}.agent.default_agent_loop"] == AGENT_NAME
    assert got["reward.custom_reward_function.name"] == "score_state"
    assert overrides(spec())[f"{ROLLOUT}.agent.default_agent_loop"] == "flywheel_single_turn_agent"


def test_the_loops_that_are_named_are_registered() -> None:
    registered = Path(agent_loops_file()).read_text()
    assert [line.split()[-1] for line in registered.splitlines() if line.startswith("- name:")] == [
        AGENT_NAME,
        SINGLE_TURN_AGENT,
    ]


def test_custom_reward() -> None:
    got = overrides(spec(reward=RewardSpec(type=RewardType.CUSTOM, entry_point="team.rewards:score")))
    assert got["reward.custom_reward_function.path"] == "pkg://team.rewards"
    assert got["reward.custom_reward_function.name"] == "score"


def test_users_overrides_win_and_keep_their_values() -> None:
    said = {
        f"{ROLLOUT}.gpu_memory_utilization": 0.9,
        f"++{ROLLOUT}.enable_sleep_mode": True,
        "+data.apply_chat_template_kwargs": {"1": 2, "true": "x", "a:b": None, "": []},
        "trainer.project_name": "C:\\dir\\ \\d+\\.\\d+ \"two\nlines\" 'q' a=b,c",
    }
    told = json.loads(json.dumps(overrides(spec(overrides=said))))
    assert {key.lstrip("+"): value for key, value in said.items()}.items() <= told.items()


@pytest.mark.parametrize(
    ("said", "loggers"),
    [(["wandb"], ["console", "wandb"]), (["wandb", "console"], ["console", "wandb"]), ("mlflow", ["console", "mlflow"]),
     ([], ["console"]), (None, ["console"])],
)  # fmt: skip
def test_console_is_always_among_the_loggers(said: Any, loggers: list[str]) -> None:
    assert overrides(spec(overrides={"trainer.logger": said}))["trainer.logger"] == loggers


def test_what_the_driver_lives_on_comes_last() -> None:
    """A map may carry it inside: whatever is above, our values are set after."""
    told = list(overrides(spec(overrides={"ray_kwargs.ray_init.runtime_env": {"env_vars": {"A": "b"}}}), mark="m"))
    above = told.index("ray_kwargs.ray_init.runtime_env")
    for key in (ROLLOUTS_ENV, SIGNALS_ENV):
        assert told.index(f"ray_kwargs.ray_init.runtime_env.env_vars.{key}") > above
    assert told.index("ray_kwargs.ray_init.log_to_driver") > above


@pytest.mark.parametrize("gpus", [0, 8])
@pytest.mark.parametrize("kind", list(Algorithm))
@pytest.mark.parametrize("agentic", [False, True])
@pytest.mark.parametrize("micro", [None, 4])
def test_every_key_is_verls(gpus: int, kind: Algorithm, agentic: bool, micro: int | None) -> None:
    loop = AgentLoopSpec(domains=[DomainRef(name="booking")]) if agentic else None
    s = spec({"type": kind, "micro_batch_size": micro, "kl_coefficient": "0.01"}, gpus_per_node=gpus, agent_loop=loop)
    known = KEYS
    unknown = [k for k in overrides(s) if k not in known.keys and k not in known.addable and not known.is_open(k)]
    assert unknown == []
