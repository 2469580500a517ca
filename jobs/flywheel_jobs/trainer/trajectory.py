"""Parts of the agent loops that need no verl: the task of a row, patience with outages, the trajectory's record."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from flywheel_jobs.core.errors import InfraError, ValidationFailure
from flywheel_store.backoff import delay

T = TypeVar("T")
ROLLOUTS_ENV = "FLYWHEEL_ROLLOUTS"
VALIDATION_SPLITS = frozenset({"validation", "val", "test"})
TRIES = 3
BACKOFF_BASE, BACKOFF_CAP = 0.5, 4.0  # seconds; an episode holds a vLLM slot while it waits


def parse_task(row: dict[str, Any]) -> dict[str, Any]:
    """The task in `extra_info.task`. Raises ValidationFailure for a row that has none."""
    info = row.get("extra_info") or {}
    text = info.get("task") if hasattr(info, "get") else None
    if not isinstance(text, str):
        raise ValidationFailure(
            f"row {info.get('index', '?')} has no extra_info.task: agentLoop needs rows with a task; "
            "leave agentLoop out for single-turn data"
        )
    task = json.loads(text)
    if not isinstance(task, dict):
        raise ValidationFailure(f"extra_info.task of row {info.get('index', '?')} is not a JSON object")
    return task


async def patiently(work: Callable[[], Awaitable[T]], tries: int = TRIES) -> T:
    """The result of `work`, tried again after an InfraError; the last one is raised. Anything else passes through."""
    for attempt in range(tries):
        try:
            return await work()
        except InfraError:
            if attempt + 1 == tries:
                raise
            await asyncio.sleep(delay(attempt, BACKOFF_BASE, BACKOFF_CAP))
    raise AssertionError("unreachable")


def record(row: dict[str, Any], context: dict[str, Any], output: Any, result: dict[str, Any]) -> None:
    """Appends a trajectory to `$FLYWHEEL_ROLLOUTS/step-<n>/<pid>.jsonl` on this node; nothing when that is unset.

    Trajectories of verl's own validation go to `validation-<n>/`: they are no part of the curve or of the next round.
    """
    root = os.environ.get(ROLLOUTS_ENV)
    if not root:
        return
    step = int(row.get("global_steps", 0))
    validation = dict(row.get("extra_info") or {}).get("split") in VALIDATION_SPLITS
    folder = Path(root) / f"{'validation' if validation else 'step'}-{step}"
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps(describe(row, context, output, result, step), ensure_ascii=False, default=str)
    with (folder / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def describe(
    row: dict[str, Any], context: dict[str, Any], output: Any, result: dict[str, Any], step: int
) -> dict[str, Any]:
    """The record: whose trajectory it is, what was said and done, how it was scored."""
    info = dict(row.get("extra_info") or {})
    outage = result.get("outage")
    item = context.get("task", {}).get("id") or info.get("id") or str(info.get("index", row.get("index", "")))
    messages = context.get("messages") or [
        *({"role": m["role"], "content": m["content"]} for m in row.get("raw_prompt", [])),
        {"role": "assistant", "content": result.get("response", "")},
    ]
    scored = {k: v for k, v in result.items() if k not in ("score", "response", "outage") and _plain(v)}
    return {
        "id": f"{row.get('uid', '')}-{row.get('session_id', 0)}",
        "item": item,
        "step": step,
        "score": None if outage is not None else result["score"],
        "masked": outage is not None,
        "outage": outage,
        "data_source": row.get("data_source"),
        "messages": messages,
        "turns": output.num_turns,
        "response_tokens": len(output.response_ids),
        "details": scored,
        "truth": (row.get("reward_model") or {}).get("ground_truth"),
        "task": context.get("task"),
        "closed": getattr(context.get("env"), "closed", None),
        "lineage": {"parent_ids": list(info.get("parent_ids") or []) or [item], "operator": "training-rollout"},
    }


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
