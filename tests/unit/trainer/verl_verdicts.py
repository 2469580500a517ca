"""What the real verl says of many specs: asked in the ML environment, kept beside, so that every test run has it.

PYTHONPATH=operator:jobs:tests python tests/unit/trainer/verl_verdicts.py     # writes verl_verdicts.json
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

from flywheel_api.rljob import AlgorithmSpec, DataSpec, RewardSpec, RLJobSpec
from flywheel_api.verl.settings import RunPaths, settings
from flywheel_api.verl_keys import KEYS

VERDICTS = Path(__file__).with_name("verl_verdicts.json")
DIGEST = "sha256:" + "a" * 64
MODEL = Path(tempfile.gettempdir()) / "flywheel-verdicts-model"
PATHS = RunPaths(str(MODEL), ("/d/train.parquet",), ("/d/val.parquet",), "/w/c", "/w/rollouts", "/p/l.yaml")
_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
_FIXED: dict[str, Any] = {"algorithm": {"micro_batch_size": 2}}
BY_HAND: list[dict[str, Any]] = [
    {},
    {"gpus_per_node": 0},
    {"nodes": 2, "algorithm": {"prompts_per_step": 5, "group_size": 6, "micro_batch_size": 2}},
    {"overrides": {f"{_ROLLOUT}.n": 3}, **_FIXED},
    {"overrides": {f"{_ACTOR}.use_dynamic_bsz": False}},
    {"overrides": {f"{_ACTOR}.ppo_micro_batch_size": 8}, **_FIXED},
    {"overrides": {f"{_ACTOR}.ppo_micro_batch_size_per_gpu": None}, **_FIXED},
    {"overrides": {f"{_ACTOR}.ppo_micro_batch_size": 8, f"{_ACTOR}.ppo_micro_batch_size_per_gpu": None}, **_FIXED},
    {"overrides": {f"{_ACTOR}.ppo_micro_batch_size": 4, f"{_ACTOR}.ppo_micro_batch_size_per_gpu": None}, **_FIXED},
    {"overrides": {f"{_ACTOR}.ppo_micro_batch_size": 7, f"{_ACTOR}.ppo_micro_batch_size_per_gpu": None}, **_FIXED},
    {"overrides": {f"{_ACTOR}.ppo_mini_batch_size": 128}, **_FIXED},
    {"overrides": {f"{_ACTOR}.ppo_mini_batch_size": 128}},
    {"overrides": {f"{_ROLLOUT}.log_prob_micro_batch_size": 8}, **_FIXED},
    {"overrides": {f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu": None}, **_FIXED},
    {"overrides": {"actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": None},
     "algorithm": {"micro_batch_size": 2, "kl_coefficient": "0.01"}},
    {"overrides": {"algorithm.use_kl_in_reward": True}, **_FIXED},
    {"overrides": {f"{_ACTOR}.loss_agg_mode": "mean"}},
    {"overrides": {f"{_ACTOR}.loss_agg_mode": "seq-mean-token-sum"}},
    {"overrides": {f"{_ACTOR}.ulysses_sequence_parallel_size": 2}, **_FIXED},
    {"overrides": {f"{_ACTOR}.ulysses_sequence_parallel_size": 2}},
    {"overrides": {f"{_ACTOR}.ulysses_sequence_parallel_size": 2, "actor_rollout_ref.model.use_remove_padding": True}},
    {"overrides": {f"{_ROLLOUT}.mode": "sync"}},
    {"overrides": {f"{_ROLLOUT}.expert_parallel_size": 4}, "rollout_tensor_parallel": 2},
    {"overrides": {f"{_ROLLOUT}.expert_parallel_size": 2}, "rollout_tensor_parallel": 2},
    {"overrides": {f"{_ROLLOUT}.pipeline_model_parallel_size": 2}},
    {"overrides": {f"{_ROLLOUT}.moe_tensor_parallel_size": 2}},
    {"lora": {"rank": 64, "targets": ["q_proj", "v_proj"]}},
    {"lora": {"rank": 512}, "algorithm": {"type": "GSPO", "kl_coefficient": "0.01"}},
    {"overrides": {f"{_ROLLOUT}.val_kwargs.do_sample": True}},
    {"algorithm": {"type": "PPO"}},
    {"algorithm": {"type": "PPO", "micro_batch_size": 2}},
    {"algorithm": {"type": "PPO", "micro_batch_size": 2}, "overrides": {"critic.ppo_micro_batch_size": 16}},
    {"algorithm": {"type": "PPO", "micro_batch_size": 2},
     "overrides": {"critic.ppo_micro_batch_size": 16, "critic.ppo_micro_batch_size_per_gpu": None}},
    {"algorithm": {"type": "PPO", "micro_batch_size": 2},
     "overrides": {"critic.ppo_micro_batch_size": 5, "critic.ppo_micro_batch_size_per_gpu": None}},
    {"algorithm": {"type": "PPO"}, "overrides": {"critic.use_dynamic_bsz": False}},
    {"algorithm": {"type": "PPO", "micro_batch_size": 2}, "overrides": {"critic.ppo_mini_batch_size": 256}},
    {"overrides": {f"{_ACTOR}.ulysses_sequence_parallel_size": 2, "actor_rollout_ref.model.use_remove_padding": False}},
    {"overrides": {f"{_ROLLOUT}.temperature": 0.0, f"{_ROLLOUT}.val_kwargs.do_sample": True}},
]  # fmt: skip


def cases() -> list[dict[str, Any]]:
    """Specs, as the fields that differ from the defaults."""
    return BY_HAND + [_drawn(random.Random(seed)) for seed in range(60)]


def _drawn(rng: random.Random) -> dict[str, Any]:
    algorithm = {
        "type": rng.choice(["GRPO", "GSPO", "DAPO", "PPO"]),
        "prompts_per_step": rng.choice([5, 8, 12, 64]),
        "group_size": rng.choice([2, 6, 8, 16]),
        "micro_batch_size": rng.choice([None, 2, 3]),
        "kl_coefficient": rng.choice(["0", "0.01"]),
    }
    algorithm["mini_batch_prompts"] = rng.choice([None, 1, algorithm["prompts_per_step"]])
    return {"nodes": rng.choice([1, 2, 3]), "gpus_per_node": rng.choice([0, 1, 6, 8]), "algorithm": algorithm}


def spec(case: dict[str, Any]) -> RLJobSpec:
    """The spec of a case, of Flywheel's own checks only the types of its fields."""
    common: dict[str, Any] = {"model": DIGEST, "data": DataSpec(train=[DIGEST]), "reward": RewardSpec(type="Math")}
    return RLJobSpec(**{**common, **case, "algorithm": AlgorithmSpec(**case.get("algorithm", {}))})


def verdict(case: dict[str, Any]) -> str:
    """What verl says; empty where it has nothing to say."""
    from flywheel_jobs.trainer import run_verl

    try:
        run_verl.check(run_verl.composed(settings(spec(case), PATHS, "job", "team")))
    except run_verl.Refusal as refusal:
        return str(refusal)
    return ""


TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def make_model(folder: Path = MODEL, template: str | None = TEMPLATE) -> None:
    """A model of nothing, which verl reads for its tokenizer and where there is a critic."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    marks = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    words.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **marks)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(hidden_size=8, intermediate_size=8, vocab_size=3, **sizes)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)


if __name__ == "__main__":
    make_model()
    found = [{"case": case, "verl": verdict(case)} for case in cases()]
    lines = ",\n".join(json.dumps(entry) for entry in found)
    VERDICTS.write_text(f'{{"version": "{KEYS.version}", "verdicts": [\n{lines}\n]}}\n')
