"""One held-out item, sampled and scored: a problem with an exact answer, or a task in its environment."""

from __future__ import annotations

import asyncio
from typing import Any

from flywheel_jobs.agentic import drive
from flywheel_jobs.endpoints.llm import ChatClient
from flywheel_jobs.records import ReasoningProblem
from flywheel_jobs.records.agentic import Task
from flywheel_jobs.rewards import math

Row = dict[str, Any]


async def problem(
    item: ReasoningProblem, policy: ChatClient, repeats: int, temperature: float, max_tokens: int | None, seed: int
) -> list[Row]:
    """Repeats of a reasoning problem: success is an exactly right answer; shaping rewards do not count."""
    answer = await policy.chat(item.messages(), n=repeats, temperature=temperature, max_tokens=max_tokens, seed=seed)
    rows = []
    for repeat, (text, finish) in enumerate(zip(answer.texts, answer.finish_reasons, strict=True)):
        scored = math.score(text, item.answer or "")
        rows.append(
            {
                "item": item.id,
                "repeat": repeat,
                "score": float(scored["correct"]),
                "outcome": item.family or "answer",
                "expected": item.answer,
                "finish": finish,
                "messages": [*item.messages(), {"role": "assistant", "content": text}],
            }
        )
    return rows


async def task(
    item: Task, policy: ChatClient, user: ChatClient | None, repeats: int, temperature: float, seed: int
) -> list[Row]:
    """Repeats of a task, each in an environment of its own, scored as in training."""

    async def once(repeat: int) -> Row:
        episode = await drive.run(
            item, policy, user, temperature=temperature, seed=(seed + 104729 * repeat) % (1 << 31)
        )
        done = drive.trajectory(item, episode, "Policy", repeat, item.lineage)
        return {
            "item": item.id,
            "repeat": repeat,
            "score": float(done.score >= 1.0),
            "outcome": item.outcome,
            "expected": " then ".join(c["name"] for c in item.normal_path),
            "finish": done.closed,
            "reason": "" if done.score >= 1.0 else drive.end_group(done),
            "details": done.details,
            "messages": episode.messages,
        }

    return list(await asyncio.gather(*(once(n) for n in range(repeats))))
