"""What the parts that train are given: data sets by the project's own code, and specs of RLJobs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from gpu.notes import FW, Result

DIGEST = "sha256:" + "a" * 64  # a reference of the right form
ARITHMETIC: Result = {
    "group_size": 8,
    "prompts_per_step": 16,
    "mini_batch_prompts": 8,
    "learning_rate": "2e-5",
    "epochs": 10,
    "max_steps": 2,
    "max_prompt_tokens": 128,
    "max_response_tokens": 64,
}
BOOKING: Result = ARITHMETIC | {
    "prompts_per_step": 8,
    "temperature": "0.8",
    "max_prompt_tokens": 512,
    "max_response_tokens": 192,
}
CLIMB: Result = {  # the demo's preset with 16 times its samples: enough steps to learn
    "group_size": 16,
    "prompts_per_step": 32,
    "mini_batch_prompts": 32,
    "warm_up_steps": 2,
    "epochs": 10,
    "max_steps": 28,
    "max_response_tokens": 16,
}
BESIDE: Result = {  # several trainings on one card and 16 cores: what each takes, and how many processes it starts
    "actor_rollout_ref.rollout.gpu_memory_utilization": 0.2,
    "actor_rollout_ref.rollout.engine_kwargs.vllm.kv_cache_memory_bytes": 2 << 30,
    "actor_rollout_ref.rollout.enforce_eager": True,
    "actor_rollout_ref.rollout.agent.num_workers": 2,
}


def arithmetic(seed: int, count: int) -> list[Any]:
    from flywheel_jobs.seeds import numeracy

    return list(numeracy.seeds(random.Random(seed), count, ("add", "sub")))


def reasoning_rows() -> list[Result]:
    from flywheel_api.records.prompt import of_problem

    return rows(map(of_problem, arithmetic(1, 128)))


def validation_rows() -> list[Result]:
    from flywheel_api.records.prompt import of_problem

    return rows(map(of_problem, arithmetic(3, 32)), "validation")


def seed_rows() -> list[Result]:
    """Seeds of all ten families, the easiest of each first: what a first round of the demo mines."""
    from flywheel_api.records.prompt import of_problem
    from flywheel_jobs.seeds import numeracy

    return rows(map(of_problem, numeracy.seeds(random.Random("gpu/climb"), 320, list(numeracy.FAMILIES))))


def suite() -> list[Any]:
    """The problems of the demo's own `numeracy-heldout`."""
    from flywheel_jobs.seeds import numeracy

    return numeracy.suite(random.Random("suite/numeracy-heldout"), 120)


def suite_rows() -> list[Result]:
    from flywheel_api.records.prompt import of_problem

    return rows(map(of_problem, suite()), "validation")


def booking_rows() -> list[Result]:
    from flywheel_api.records.prompt import of_task
    from flywheel_jobs.agentic import heldout
    from flywheel_jobs.domains import packages
    from flywheel_jobs.domains.shelf import Shelf
    from flywheel_jobs.seeds import personas

    shelf, booking = Shelf(FW / "packages"), packages.builtin("booking")
    shelf.put(booking)
    return rows(map(of_task, heldout.build("booking-heldout", 64, personas.builtin(), booking, shelf)))


def rows(prompts: Iterable[Any], split: str = "train") -> list[Result]:
    """A data set's rows as Package writes them."""
    from flywheel_api.results import Split
    from flywheel_jobs.stages import package

    examples = [package.Example(f"row {n}", prompt) for n, prompt in enumerate(prompts)]
    return [p.row() for p in package.numbered(examples, Split(split))]


def shown_rows() -> list[Result]:
    """What a solver would have shown, as Package writes it for a warm-up; other problems than those of RL."""
    from flywheel_jobs.stages import shown

    return [shown.solved(p, str(p.answer)).row() for p in arithmetic(2, 128)]


DATA = {
    "reasoning": reasoning_rows,
    "validation": validation_rows,
    "seeds": seed_rows,
    "suite": suite_rows,
    "booking": booking_rows,
    "shown": shown_rows,
}
KINDS: dict[str, tuple[str, ...]] = {
    "grpo": ("reasoning",),
    "gspo": ("reasoning", "validation"),
    "lora": ("reasoning",),
    "warm_up": ("reasoning", "shown"),
    "agentic": ("booking",),
    "brakes": ("reasoning",),
    "climb": ("seeds", "suite"),
    "resumed": ("reasoning",),
}
"""Which data sets a part reads: its training set first."""
VALIDATED = ("gspo", "climb")


def specification(kind: str, overrides: Result, refs: dict[str, str]) -> Any:
    """One GPU and sizes for minutes; everything else as presets and defaults say. `refs`: digests by name."""
    from flywheel_api import rljob

    algorithm, reward, more = dict(ARITHMETIC), rljob.RewardType.MATH, dict[str, Any]()
    train, *others = [refs.get(name, DIGEST) for name in KINDS[kind]]
    match kind:
        case "grpo":
            algorithm["max_steps"] = 4
        case "gspo":  # as the preset of 30B, and validated at its checkpoint
            algorithm |= {"type": rljob.Algorithm.GSPO, "clip": rljob.Clip(low="0.0003", high="0.0004")}
        case "lora":
            algorithm["learning_rate"] = "5e-4"
            more["lora"] = rljob.LoraSpec(rank=16)
        case "warm_up":
            more["warm_up"] = rljob.WarmUpSpec(data=others, conversations_per_step=16, learning_rate="2e-5")
        case "agentic":
            algorithm, reward = dict(BOOKING), rljob.RewardType.STATE_DIFF
            more["agent_loop"] = rljob.AgentLoopSpec(domains=[{"name": "booking"}], max_turns=3)
        case "brakes":  # what asks for more than a step: a reference model, prompts drawn again, masks, a schedule
            algorithm |= {
                "dynamic_sampling": 2,
                "kl_coefficient": "0.01",
                "entropy_coefficient": "0.001",
                "overlong": rljob.Overlong.MASK,
                "schedule": rljob.Schedule.COSINE,
                "advantage_normalisation": rljob.AdvantageNormalisation.BATCH,
            }
        case "climb":
            algorithm |= CLIMB
        case "resumed":
            algorithm["max_steps"] = 4
    return rljob.RLJobSpec(
        model=refs.get("model", DIGEST),
        data=rljob.DataSpec(train=[train], validation=others if kind in VALIDATED else []),
        nodes=1,
        gpus_per_node=1,
        seed=1,
        reward=rljob.RewardSpec(type=reward),
        algorithm=rljob.AlgorithmSpec(**algorithm),
        checkpoint=rljob.CheckpointSpec(every_steps=7 if kind == "climb" else 2, keep_last=1, keep_best=0),
        overrides=overrides,
        **more,
    )
