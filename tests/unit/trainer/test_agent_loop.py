"""The tool loop against a scripted policy: tokens, masks, settlement, outages.

Needs verl and a tokenizer with Flywheel's chat template: run it in the ML environment with FLYWHEEL_TEST_MODEL set to
the folder of an imported model. Skipped elsewhere.
"""

# ruff: noqa: E402 - the skips must come before the imports that they guard

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("verl", reason="needs the ML environment")
MODEL = os.environ.get("FLYWHEEL_TEST_MODEL", "")
if not MODEL:
    pytest.skip("needs FLYWHEEL_TEST_MODEL, the folder of an imported model", allow_module_level=True)

from transformers import AutoTokenizer
from verl.experimental.agent_loop.agent_loop import DictConfigWrap
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.workers.rollout.replica import TokenOutput

from flywheel_api.common import DomainRef
from flywheel_api.records.agentic import Task
from flywheel_api.records.prompt import of_task
from flywheel_api.records.trajectory import Trajectory
from flywheel_api.rljob import AgentLoopSpec, AlgorithmSpec, DataSpec, RewardSpec, RLJobSpec
from flywheel_api.stages import ROLLOUTS_ENV
from flywheel_api.verl.settings import RunPaths, settings
from flywheel_jobs.agentic.episode import Episode
from flywheel_jobs.core.errors import InfraError
from flywheel_jobs.reading.calls import render
from flywheel_jobs.trainer import agent_loop, run_verl, trajectory
from unit.agentic import world

DIGEST = "sha256:" + "a" * 64
LIMIT = 96


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def config() -> Any:
    spec = RLJobSpec(
        model=DIGEST,
        data=DataSpec(train=[DIGEST]),
        reward=RewardSpec(type="StateDiff"),
        agent_loop=AgentLoopSpec(domains=[DomainRef(name="booking")]),
        gpus_per_node=0,
        algorithm=AlgorithmSpec(max_prompt_tokens=320, max_response_tokens=LIMIT),
    )
    paths = RunPaths(MODEL, ("/t.parquet",), (), "/c", "/r", "/l.yaml")
    return run_verl.composed(settings(spec, paths, "job", "team"))


class Policy:
    """Says given texts, one a turn; counts requests."""

    def __init__(self, tokenizer: Any, texts: list[str], end: bool = True) -> None:
        self.tokenizer, self.texts, self.end, self.prompts = tokenizer, texts, end, []

    async def generate(self, request_id: str, *, prompt_ids: list[int], **_kwargs: Any) -> TokenOutput:
        self.prompts.append(list(prompt_ids))
        ids = self.tokenizer.encode(self.texts[len(self.prompts) - 1], add_special_tokens=False)
        ids += [self.tokenizer.eos_token_id] if self.end else []
        return TokenOutput(
            token_ids=ids,
            log_probs=[-0.5] * len(ids),
            extra_fields={"min_global_steps": len(self.prompts), "max_global_steps": len(self.prompts)},
        )


def task() -> Task:
    return world.task()


async def run(config: Any, tokenizer: Any, texts: list[str], **kwargs: Any) -> tuple[Any, Policy]:
    policy = Policy(tokenizer, texts, **kwargs)
    loop = agent_loop.ToolLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=policy,
        tokenizer=tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type="llama",
    )
    row = {**of_task(task()).row(), "global_steps": 3, "uid": "u", "session_id": 0}
    row["raw_prompt"] = row.pop("prompt")
    return await loop.run({"temperature": 1.0}, **row), policy


def right() -> list[str]:
    return [render(c.name, c.arguments) for c in task().right.calls]


async def test_the_right_branch_settles_with_reward_1(config: Any, tokenizer: Any) -> None:
    output, policy = await run(config, tokenizer, right())
    assert output.reward_score == 1.0
    assert len(policy.prompts) == 2, "the write settles the request: no third turn"
    policy_tokens = [i for i, m in zip(output.response_ids, output.response_mask, strict=True) if m]
    assert tokenizer.decode(policy_tokens, skip_special_tokens=True) == "".join(right())
    assert len(output.response_logprobs) == len(output.response_ids)
    assert (output.extra_fields["min_global_steps"], output.extra_fields["max_global_steps"]) == (1, 2)


async def test_tokens_are_those_of_a_full_rendering(config: Any, tokenizer: Any) -> None:
    """What the policy sees in its second turn is what the chat template makes of the whole conversation."""
    _, policy = await run(config, tokenizer, right())
    answer = {"role": "tool", "content": "cancelable"}
    messages = [*task().messages, {"role": "assistant", "content": right()[0]}, answer]
    whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(policy.prompts[1]) == whole


async def test_the_last_turns_call_takes_effect(config: Any, tokenizer: Any) -> None:
    look_up, write = right()
    output, policy = await run(config, tokenizer, [look_up, look_up, write])
    assert len(policy.prompts) == 3
    assert output.reward_score == 1.0


async def test_an_episode_has_no_more_turns_than_its_domain_gives_where_tasks_are_measured(
    config: Any, tokenizer: Any
) -> None:
    look_up, write = right()
    output, policy = await run(config, tokenizer, [look_up, look_up, look_up, write])
    assert len(policy.prompts) == 3 < AgentLoopSpec(domains=[DomainRef(name="booking")]).max_turns
    assert output.reward_score == 0.0


async def test_a_blind_write_is_reward_0_and_trained_on(config: Any, tokenizer: Any) -> None:
    output, _ = await run(config, tokenizer, [right()[1]])
    assert output.reward_score == 0.0
    assert sum(output.response_mask) > 0


async def test_a_cut_turn_ends_the_episode(config: Any, tokenizer: Any) -> None:
    output, policy = await run(config, tokenizer, ["I think that " * 4], end=False)
    assert len(policy.prompts) == 1
    assert output.reward_score == 0.0


@pytest.mark.parametrize("where", ["env", "score"])
async def test_an_outage_masks_and_is_flagged(
    config: Any, tokenizer: Any, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trajectory, "BACKOFF_BASE", 0.0)
    monkeypatch.setenv(ROLLOUTS_ENV, str(tmp_path))

    def away(*_args: Any, **_kwargs: Any) -> Any:
        raise InfraError("sandbox away")

    if where == "env":
        monkeypatch.setattr(agent_loop, "Episode", away)
    else:
        monkeypatch.setattr(agent_loop, "get_custom_reward_fn", lambda _config: away)
    output, _ = await run(config, tokenizer, right())
    assert sum(output.response_mask) == 0
    assert output.extra_fields["reward_extra_info"]["masked"] == 1.0
    (file,) = (tmp_path / "step-3").iterdir()
    assert Trajectory.model_validate_json(file.read_text()).masked


def raises(*_args: Any, **_kwargs: Any) -> Any:
    raise RecursionError("a thousand brackets")


@pytest.mark.parametrize("where", ["text", "reward", "nan"])
async def test_a_fault_masks_and_is_counted(
    config: Any, tokenizer: Any, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(ROLLOUTS_ENV, str(tmp_path))
    if where == "text":
        monkeypatch.setattr(Episode, "agent_says", raises)
    reward = {"reward": raises, "nan": lambda **_: {"score": float("nan")}}.get(where)
    if reward is not None:
        monkeypatch.setattr(agent_loop, "get_custom_reward_fn", lambda _config: reward)
    output, _ = await run(config, tokenizer, right())
    assert sum(output.response_mask) == 0 and output.reward_score == 0.0
    (file,) = (tmp_path / "step-3").iterdir()
    found = Trajectory.model_validate_json(file.read_text())
    assert found.masked and found.outage is None and found.unscored


async def test_single_turn(config: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        agent_loop, "get_custom_reward_fn", lambda _config: lambda **kw: {"score": float(kw["solution_str"])}
    )
    policy = Policy(tokenizer, ["0.5"])
    loop = agent_loop.SingleTurnLoop(
        trainer_config=DictConfigWrap(config),
        server_manager=policy,
        tokenizer=tokenizer,
        processor=None,
        dataset_cls=RLHFDataset,
        data_config=DictConfigWrap(config.data),
        hf_model_type="llama",
    )
    row = {
        "raw_prompt": [{"role": "user", "content": "half?"}],
        "data_source": "d",
        "reward_model": {"ground_truth": "x"},
    }
    output = await loop.run({}, **row)
    assert output.reward_score == 0.5
    assert all(output.response_mask)


def test_estimator_is_registered() -> None:
    import torch
    from verl.trainer.ppo.core_algos import get_adv_estimator_fn

    from flywheel_jobs.trainer import verl_hooks  # noqa: F401 - its import registers

    rewards = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    fn = get_adv_estimator_fn("flywheel_grpo")
    advantages, returns = fn(
        token_level_rewards=rewards,
        response_mask=mask,
        index=["g", "g", "g"],
        config=SimpleNamespace(get=lambda *_: True),
    )
    assert advantages[0].tolist() == pytest.approx([0.7071, 0.7071], abs=1e-4)
    assert advantages[2].tolist() == [0.0, 0.0]
    assert torch.equal(advantages, returns)
